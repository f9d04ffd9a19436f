"""The question of a Traefik, written by a test, and an installation that knows one by its certificate."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from tests.proxies.authority import Authority, Issued
from tests.sidecar_support import CASE, Reply, edit, raw_request
from zt_engine.bootstrap.sandbox import Device, Sandbox

NAME = "front.proxy.internal"


class Inside:
    """Certificates between a proxy and the sidecar, and the settings that say so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "inside")
        self.sidecar = self.authority.issue("sidecar", hosts=["127.0.0.1", "localhost"])
        self.front = self.authority.issue("front", hosts=[NAME])

    def configure(self, sandbox: Sandbox) -> None:
        """Let Traefik be the installation's one proxy."""
        edit(
            sandbox,
            "zt.toml",
            ('hook = "nginx"\nkey_file = "keys/pep.key"', f'hook = "traefik"\ncertificate_names = ["{NAME}"]'),
            (
                "[sidecar]\n",
                '[sidecar]\ntls_listen = ["127.0.0.1:0"]\n'
                f'tls_certificate = "{self.sidecar.certificate}"\ntls_key = "{self.sidecar.key}"\n'
                f'tls_client_ca = "{self.authority.path}"\n',
            ),
        )

    def client(self, issued: Issued | None) -> ssl.SSLContext:
        """What somebody with this certificate, or none, connects with."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        if issued is not None:
            context.load_cert_chain(*issued)
        return context


def traefik_question(sandbox: Sandbox, device: Device | None = None, *, path: str = "/cases/1", **more: str) -> bytes:
    """The bytes Traefik would send for a request of tanaka."""
    assert CASE.startswith("https://portal.example/")
    headers = [
        ("X-Forwarded-Uri", path), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Host", "portal.example"),
        ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443"), ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Server", "front"), ("X-Real-Ip", "203.0.113.7"),
    ]  # fmt: skip
    if device is not None:
        headers.append(("X-Forwarded-Tls-Client-Cert", base64_of(device)))
        headers.append(("Authorization", f"Bearer {sandbox.token('tanaka', device=device)}"))
    return raw_request("/v1/hooks/traefik", [*headers, *((name.replace("_", "-"), v) for name, v in more.items())])


def base64_of(device: Device) -> str:
    """A device's certificate as Traefik and Caddy hand it on."""
    return "".join(device.certificate.pem.decode("ascii").splitlines()[1:-1])


def ask_encrypted(address: str, raw: bytes, context: ssl.SSLContext) -> Reply:
    """One question over a connection of its own."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as client,
    ):
        return one_reply(client, raw)


def one_reply(client: Any, raw: bytes) -> Reply:
    """Ask on a connection that stays open; raises ConnectionError where nothing comes back."""
    client.sendall(raw)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError(f"hung up after {data!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    reply = Reply(head.decode("latin-1"))
    length = int(reply.header("Content-Length") or 0)
    while len(body) < length:
        body += client.recv(65536)
    return Reply(reply.head, body)
