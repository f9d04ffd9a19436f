"""The EST server on a real TLS listener, for clients nobody of us wrote."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import threading
import time
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.est_support import Scene
from zt_engine.adapters.tls_client_certificate import ClientCertificateProtocol, server_context


def server_certificate(folder: Path, now: float) -> tuple[Path, Path, Path]:
    """Write a CA for servers, and a certificate for 127.0.0.1 and localhost; return CA, certificate and key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test server CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    times = [dt.datetime.fromtimestamp(int(now) + offset, dt.UTC) for offset in (-3600, 86_400)]

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(times[0])
            .not_valid_after(times[1])
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    ca = (
        begin(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    leaf = (
        begin(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    paths = folder / "server-ca.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(ca.public_bytes(Encoding.PEM))
    paths[1].write_bytes(leaf.public_bytes(Encoding.PEM))
    paths[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


class EstServer:
    """A listener on a free loopback port, in a thread of its own, until `close`."""

    def __init__(self, folder: Path) -> None:
        self.scene = Scene(now=time.time(), retry_after=1)
        self.ca_file, certificate, key = server_certificate(folder, self.scene.clock.at)
        self.context = server_context(
            certificate=str(certificate), key=str(key), authorities=self.scene.ca.authorities()
        )
        config = uvicorn.Config(
            self.scene.app,
            http=ClientCertificateProtocol,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_context_factory=lambda _config, _default: self.context,
        )
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(16)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        self.scene.store.close()

    def _run(self) -> None:
        # The socket listens already: whoever connects before the server takes over waits in its queue.
        asyncio.run(self._server.serve(sockets=[self._socket]))
