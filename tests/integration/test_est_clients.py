"""EST over TLS with clients that others wrote: openssl and curl, and strongSwan's `pki`."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from device_inventory.inventory import Device
from device_inventory.operations import approve, revoke
from tests.csr import make_csr
from tests.est_support import CODE, authority_in_memory
from tests.fakes.est_ca import FakeEstCa
from tests.hook_support import LoopThread
from tests.integration.est_server import EstServer, server_certificate
from tests.peers import find_peer
from tests.stream_server import free_port
from zt_engine.adapters.ca_est_client import EstCertificateAuthority, EstSettings
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.adapters.tls_client_certificate import server_context, trust_also
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.device_authority import open_authority
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.config import ControlSettings, load_control
from zt_engine.core.errors import UnavailableError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    made = EstServer(tmp_path)
    yield made
    made.close()


def run(*command: str | Path, folder: Path, wanted: int = 0, text: bytes = b"") -> bytes:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, input=text, timeout=60, check=False
    )
    assert done.returncode == wanted, done.stderr.decode()[-2000:]
    return done.stdout


def peer(name: str, package: str) -> str:
    found = find_peer("pki (strongSwan)") if name == "pki" else shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"the peer `{name}` is missing")
        pytest.skip(reason=f"no `{name}` on this machine: Debian has it in {package}")
    return str(found)


# openssl makes the key, the request and reads the answer; curl carries it.


def curl(server: EstServer, path: str, *arguments: str, folder: Path) -> tuple[int, bytes]:
    """Return the status and the body."""
    command = [peer("curl", "curl"), "--silent", "--show-error", "--cacert", str(server.ca_file), *arguments]
    written = run(*command, "-o", "answer", "-w", "%{http_code}", f"{server.url}/.well-known/est/{path}", folder=folder)
    return int(written), (folder / "answer").read_bytes() if (folder / "answer").exists() else b""


def openssl_request(folder: Path, *subject: str, key: str = "device.key") -> None:
    """Write a key, and a request as base64 of DER, which is how EST wants it."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
    run("openssl", "req", "-new", *curve, *subject, "-outform", "DER", "-out", "request.der", folder=folder)
    run("openssl", "base64", "-in", "request.der", "-out", "request.b64", folder=folder)


POST = ("--data-binary", "@request.b64", "-H", "Content-Type: application/pkcs10")


def openssl_certificate(folder: Path, name: str) -> bytes:
    """Read a bag of certificates as EST sends it."""
    run("openssl", "base64", "-d", "-A", "-in", "answer", "-out", "answer.p7", folder=folder)
    pem = run("openssl", "pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs", folder=folder)
    (folder / name).write_bytes(pem)
    return pem


def test_openssl_and_curl_enroll_and_renew(server: EstServer, tmp_path: Path) -> None:
    server.scene.invite()
    assert curl(server, "cacerts", folder=tmp_path)[0] == 200
    openssl_certificate(tmp_path, "device-cas.pem")

    openssl_request(tmp_path, "-subj", "/CN=robot")
    status, _ = curl(server, "simpleenroll", "--user", f"inv-1:{CODE}", *POST, folder=tmp_path)
    assert status == 200
    openssl_certificate(tmp_path, "device.pem")
    said = run(
        "openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "device-cas.pem", "device.pem",
        folder=tmp_path,
    )  # fmt: skip
    assert said == b"device.pem: OK\n"

    device = server.scene.devices()[0].device_id
    names = ("-subj", f"/CN={device}", "-addext", f"subjectAltName=URI:urn:zt:device:{device}")
    openssl_request(tmp_path, *names, key="next.key")
    status, _ = curl(server, "simplereenroll", "--cert", "device.pem", "--key", "device.key", *POST, folder=tmp_path)
    assert status == 200
    pem = openssl_certificate(tmp_path, "next.pem")
    public = run("openssl", "x509", "-in", "next.pem", "-noout", "-pubkey", folder=tmp_path)
    assert public == run("openssl", "pkey", "-in", "next.key", "-pubout", folder=tmp_path)
    assert pem.count(b"BEGIN CERTIFICATE") == 1
    assert len(server.scene.devices()) == 1


def test_curl_answers_the_challenge_by_itself(server: EstServer, tmp_path: Path) -> None:
    """`--anyauth` sends the request without a password first, and reads the 401."""
    server.scene.invite()
    openssl_request(tmp_path, "-subj", "/CN=robot")

    status, _ = curl(server, "simpleenroll", "--anyauth", "--user", f"inv-1:{CODE}", *POST, folder=tmp_path)

    assert status == 200


def test_openssl_reads_the_suggested_attributes(server: EstServer, tmp_path: Path) -> None:
    status, _ = curl(server, "csrattrs", folder=tmp_path)
    run("openssl", "base64", "-d", "-A", "-in", "answer", "-out", "attributes.der", folder=tmp_path)

    shown = run("openssl", "asn1parse", "-inform", "DER", "-in", "attributes.der", folder=tmp_path)

    assert status == 200
    assert b":id-ecPublicKey" in shown
    assert b":prime256v1" in shown


def test_openssls_s_client_shows_that_a_certificate_is_asked_for_and_not_demanded(
    server: EstServer, tmp_path: Path
) -> None:
    where = ("-connect", f"127.0.0.1:{server.port}", "-CAfile", str(server.ca_file), "-verify_return_error")

    shown = run("openssl", "s_client", *where, folder=tmp_path, text=b"GET /.well-known/est/cacerts HTTP/1.0\r\n\r\n")

    assert b"Verify return code: 0 (ok)" in shown
    assert b"No client certificate CA names sent" in shown


def test_a_revoked_device_cannot_renew_though_its_certificate_still_opens_the_connection(
    server: EstServer, tmp_path: Path
) -> None:
    server.scene.invite()
    openssl_request(tmp_path, "-subj", "/CN=robot")
    curl(server, "simpleenroll", "--user", f"inv-1:{CODE}", *POST, folder=tmp_path)
    openssl_certificate(tmp_path, "device.pem")
    device = server.scene.devices()[0].device_id
    server.scene.change(device, lambda held: revoke(held, now=int(server.scene.clock.at), reason="stolen"))
    names = ("-subj", f"/CN={device}", "-addext", f"subjectAltName=URI:urn:zt:device:{device}")
    openssl_request(tmp_path, *names, key="next.key")

    status, body = curl(server, "simplereenroll", "--cert", "device.pem", "--key", "device.key", *POST, folder=tmp_path)

    assert status == 400
    assert body.startswith(b"RENEWAL_REFUSED\n")


def test_a_certificate_of_another_ca_ends_the_handshake(server: EstServer, tmp_path: Path) -> None:
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "own.key", "-out", "own.pem", "-subj", "/CN=me", "-days", "1", folder=tmp_path,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(server.ca_file))
    context.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")

    with pytest.raises(httpx.TransportError), httpx.Client(verify=context) as client:
        client.post(f"{server.url}/.well-known/est/simplereenroll")


def test_a_listener_takes_up_a_new_ca_without_a_restart(server: EstServer, tmp_path: Path) -> None:
    (old,) = server.scene.ca._authorities
    new = authority_in_memory(int(server.scene.clock.at))
    server.scene.ca.replace([old, new])
    trust_also(server.context, new.pem)
    server.scene.invite()
    openssl_request(tmp_path, "-subj", "/CN=robot")
    curl(server, "simpleenroll", "--user", f"inv-1:{CODE}", *POST, folder=tmp_path)
    first = openssl_certificate(tmp_path, "device.pem")
    device = server.scene.devices()[0].device_id
    names = ("-subj", f"/CN={device}", "-addext", f"subjectAltName=URI:urn:zt:device:{device}")
    openssl_request(tmp_path, *names, key="next.key")

    status, _ = curl(server, "simplereenroll", "--cert", "device.pem", "--key", "device.key", *POST, folder=tmp_path)

    assert status == 200
    assert x509.load_pem_x509_certificate(first).issuer == new.certificate.subject


# The control plane as a client of another CA.


class _Handler(BaseHTTPRequestHandler):
    """An external CA over HTTP/1.1; who the client is was proven by TLS."""

    far: FakeEstCa

    def do_GET(self) -> None:
        self._do(b"")

    def do_POST(self) -> None:
        self._do(self.rfile.read(int(self.headers["Content-Length"])))

    def _do(self, body: bytes) -> None:
        certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
        status, answer = (403, b"") if not certificate else self.far.answer(self.command, self.path, "", body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def external(tmp_path: Path) -> Iterator[tuple[FakeEstCa, str, Path]]:
    """An external CA that wants a client certificate: its address, and the folder with all keys."""
    now = time.time()
    far = FakeEstCa(X509CertificateAuthority([authority_in_memory(int(now))]), now=now)
    _, certificate, key = server_certificate(tmp_path, now)
    ra = DevDeviceCa(now=now)
    client = ra.issue("registration-authority", now=now)
    (tmp_path / "ra.pem").write_bytes(client.pem)
    (tmp_path / "ra.key").write_bytes(client.key_pem)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"far": far}))
    context = server_context(certificate=str(certificate), key=str(key), authorities=ra.pem)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield far, f"https://127.0.0.1:{listener.server_address[1]}/.well-known/est/{{device}}", tmp_path
    listener.shutdown()
    thread.join(20)
    listener.server_close()


def settings(url: str, folder: Path, **changes: object) -> EstSettings:
    named = {
        "url": url, "trusted": folder / "server-ca.pem", "certificate": folder / "ra.pem", "key": folder / "ra.key",
    }  # fmt: skip
    return EstSettings(**(named | changes))  # type: ignore[arg-type]


def test_certificates_come_from_an_external_ca_over_tls(external: tuple[FakeEstCa, str, Path]) -> None:
    far, url, folder = external
    near = EstCertificateAuthority(settings(url, folder))
    try:
        near.refresh()
        issued = near.issue(make_csr(), device_id="d-1", protection="hw", seconds=3600, now=far.now)
    finally:
        near.close()

    assert near.authorities() == issued.chain == far.ca.authorities()
    assert x509.load_pem_x509_certificate(issued.pem).subject.rfc4514_string() == "CN=d-1"


@pytest.mark.parametrize("changes", [{"certificate": None, "key": None}, {"trusted": "ra.pem"}])
def test_an_external_ca_is_believed_and_believes_only_over_the_right_tls(
    external: tuple[FakeEstCa, str, Path], changes: dict[str, object]
) -> None:
    _, url, folder = external
    if "trusted" in changes:
        changes = {"trusted": folder / "ra.pem"}
    near = EstCertificateAuthority(settings(url, folder, **changes))

    with pytest.raises(UnavailableError) as caught:
        near.refresh()

    near.close()
    assert caught.value.code in {"CA_DOWN", "CA_REFUSED"}


def elsewhere(url: str, keys: Path, folder: Path) -> ControlSettings:
    """An installation whose certificates come from a CA elsewhere."""
    install(folder, Choices(pack="corp", control_listen=f"127.0.0.1:{free_port()}"), now=time.time())
    config = folder / "zt.toml"
    config.write_text(
        config.read_text(encoding="utf-8")
        + f"""
[certificate_authority]
url = "{url}"
ca_file = "{keys}/server-ca.pem"
cert_file = "{keys}/ra.pem"
key_file = "{keys}/ra.key"
""",
        encoding="utf-8",
    )
    return load_control(config, {})


def test_an_installation_takes_its_certificates_from_the_ca_it_names(
    external: tuple[FakeEstCa, str, Path], tmp_path: Path
) -> None:
    far, url, keys = external
    authority = open_authority(elsewhere(url, keys, tmp_path / "zt"))
    assert isinstance(authority, EstCertificateAuthority)
    issued = authority.issue(make_csr(), device_id="d-1", protection="hw", seconds=3600, now=far.now)
    authority.close()

    assert authority.authorities() == far.ca.authorities()
    assert issued.chain == far.ca.authorities()


def test_while_that_ca_is_away_what_it_published_still_counts_and_nothing_is_issued(
    external: tuple[FakeEstCa, str, Path], tmp_path: Path
) -> None:
    far, url, keys = external
    chosen = elsewhere(url, keys, tmp_path / "zt")
    open_authority(chosen).close()
    away = chosen.model_copy(
        update={
            "certificate_authority": chosen.certificate_authority.model_copy(
                update={"url": f"https://127.0.0.1:{free_port()}/est/{{device}}"}
            )
        }
    )
    authority = open_authority(away)
    with pytest.raises(UnavailableError) as caught:
        authority.issue(make_csr(), device_id="d-1", protection="hw", seconds=3600, now=far.now)
    authority.close()

    assert caught.value.code == "CA_DOWN"
    assert authority.authorities() == far.ca.authorities()


def test_a_ca_elsewhere_that_was_never_reached_keeps_no_program_from_starting(
    external: tuple[FakeEstCa, str, Path], tmp_path: Path
) -> None:
    _, _, keys = external
    chosen = elsewhere(f"https://127.0.0.1:{free_port()}/est/{{device}}", keys, tmp_path / "zt")
    program = ControlProgram(chosen)
    thread = LoopThread()
    thread.run(program.start())
    try:
        answer = httpx.get(f"{chosen.control.public_url}/healthz", trust_env=False)
    finally:
        thread.run(program.stop())
        thread.close()

    assert answer.status_code == 200


# strongSwan's `pki` speaks EST from end to end, with a TLS of its own.


def pki(*arguments: str | Path, folder: Path, wanted: int = 0) -> bytes:
    return run(peer("pki", "strongswan-pki"), *arguments, folder=folder, wanted=wanted)


@pytest.fixture
def swan(server: EstServer, tmp_path: Path) -> Path:
    """strongSwan's folder, with the server's CA in the form it reads."""
    peer("pki", "strongswan-pki")
    return tmp_path


def est(server: EstServer, folder: Path, *arguments: str, wanted: int = 0) -> bytes:
    return pki(
        "--est", "--url", server.url, "--cacert", "device-ca.pem", "--cacert", server.ca_file, "--outform", "pem",
        *arguments, folder=folder, wanted=wanted,
    )  # fmt: skip


def test_strongswan_fetches_the_cas(server: EstServer, swan: Path) -> None:
    pki("--estca", "--url", server.url, "--cacert", server.ca_file, "--caout", "ca.pem", "--outform", "pem",
        folder=swan)  # fmt: skip

    (found,) = x509.load_pem_x509_certificates(b"".join(path.read_bytes() for path in swan.glob("ca*.pem")))
    assert found.public_bytes(Encoding.PEM) == server.scene.ca.authorities()


def request_by_pki(folder: Path, name: str, *, key: str) -> None:
    (folder / key).write_bytes(pki("--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem", folder=folder))
    (folder / key).chmod(0o600)
    csr = pki("--req", "--type", "priv", "--in", key, "--dn", f"CN={name}", folder=folder)
    (folder / "request.der").write_bytes(csr)


def test_strongswan_enrolls_and_renews(server: EstServer, swan: Path) -> None:
    server.scene.invite()
    (swan / "device-ca.pem").write_bytes(server.scene.ca.authorities())
    request_by_pki(swan, "robot", key="swan.key")

    pem = est(server, swan, "--in", "request.der", "--userpass", f"inv-1:{CODE}")

    (swan / "device.pem").write_bytes(pem)
    device = server.scene.devices()[0].device_id
    assert x509.load_pem_x509_certificate(pem).subject.rfc4514_string() == f"CN={device}"
    # Its own `--req` cannot ask for a URI, so openssl writes the request that is renewed with.
    openssl_request(swan, "-subj", f"/CN={device}", "-addext", f"subjectAltName=URI:urn:zt:device:{device}")
    renewed = est(server, swan, "--in", "request.der", "--cert", "device.pem", "--key", "swan.key")
    assert x509.load_pem_x509_certificate(renewed).subject.rfc4514_string() == f"CN={device}"
    assert len(server.scene.devices()[0].keys) == 2


def test_strongswan_polls_until_the_robot_is_approved(server: EstServer, swan: Path) -> None:
    server.scene.invite(approval=True)
    (swan / "device-ca.pem").write_bytes(server.scene.ca.authorities())
    request_by_pki(swan, "robot", key="device.key")
    command = [
        peer("pki", "strongswan-pki"), "--est", "--url", server.url, "--cacert", "device-ca.pem",
        "--cacert", str(server.ca_file), "--outform", "pem", "--in", "request.der", "--userpass", f"inv-1:{CODE}",
        "--interval", "1",
    ]  # fmt: skip

    with subprocess.Popen(command, cwd=swan, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        (device,) = wait_for(server.scene.devices)
        server.scene.change(device.device_id, lambda held: approve(held, by="sato", now=int(server.scene.clock.at)))
        pem, said = waiting.communicate(timeout=60)

    assert waiting.returncode == 0, said
    assert x509.load_pem_x509_certificate(pem).subject.rfc4514_string() == f"CN={device.device_id}"


def wait_for(look: Callable[[], list[Device]]) -> list[Device]:
    """Look until there is something: another process makes it."""
    for _ in range(600):
        found = look()
        if found:
            return found
        threading.Event().wait(0.05)
    pytest.fail("the other process did not come this far")


def test_strongswan_is_refused_with_a_wrong_secret(server: EstServer, swan: Path) -> None:
    server.scene.invite()
    (swan / "device-ca.pem").write_bytes(server.scene.ca.authorities())
    request_by_pki(swan, "robot", key="device.key")

    est(server, swan, "--in", "request.der", "--userpass", "inv-1:wrong", wanted=1)

    assert server.scene.devices() == []
