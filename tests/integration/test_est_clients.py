"""EST over TLS with clients that others wrote: openssl and curl, and strongSwan's `pki`."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from device_inventory.inventory import Device
from device_inventory.operations import approve, revoke
from tests.est_support import CODE, authority_in_memory
from tests.integration.est_server import EstServer
from zt_engine.adapters.tls_client_certificate import trust_also


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
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"the peer `{name}` is missing")
        pytest.skip(reason=f"no `{name}` on this machine: Debian has it in {package}")
    return found


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
