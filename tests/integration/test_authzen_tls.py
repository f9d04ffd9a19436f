"""AuthZEN over TLS: whoever asks shows a certificate of its own, and is known by the name in it."""

from __future__ import annotations

import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authzen_support import CASE, GATEWAY, KEY, METADATA, Caller, address, office, question
from tests.sidecar_support import Process, connect, logged, running, wait_for
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.config import load
from zt_engine.core.errors import ConfigError

TLS = """certificate_file = "tls/server.pem"
certificate_key_file = "tls/server.key"
client_ca_file = "tls/callers-ca.pem"
identifier = "https://pdp.example"
"""


@pytest.fixture(scope="module")
def authority() -> DevDeviceCa:

    return DevDeviceCa(now=time.time(), name="CA of callers")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, opa: str, authority: DevDeviceCa) -> Sandbox:
    callers = {"gateway": (None, {"certificate": "urn:zt:device:gateway", **GATEWAY}), "keyed": (KEY, GATEWAY)}
    made = office(tmp_path_factory.mktemp("authzen") / "here", opa, callers, more=TLS)
    write_server_certificate(made.folder / "tls", ["pdp.example"], now=made.now)
    made.write("tls/callers-ca.pem", authority.pem)
    return made


@pytest.fixture(scope="module")
def sidecar(sandbox: Sandbox) -> Iterator[Process]:
    with running(sandbox) as process:
        yield process


def dial(sandbox: Sandbox, sidecar: Process, certificate: DevCertificate | None, key: str | None = None) -> Caller:
    """A caller over TLS."""
    context = ssl.create_default_context(cafile=str(sandbox.folder / "tls/server-ca.pem"))
    if certificate is not None:
        file = sandbox.write("tls/client.pem", certificate.pem + certificate.key_pem)
        context.load_cert_chain(file)
    raw = connect(address(sidecar))
    try:
        return Caller(address(sidecar), key, sock=context.wrap_socket(raw, server_hostname="pdp.example"))
    except ssl.SSLError:
        raw.close()
        raise


def test_a_caller_is_known_by_the_name_in_its_certificate(
    sandbox: Sandbox, sidecar: Process, authority: DevDeviceCa
) -> None:
    with dial(sandbox, sidecar, authority.issue("gateway", now=sandbox.now)) as gateway:
        replies = [gateway.evaluate(question(), headers=[("X-Request-ID", f"tls-{number}")]) for number in range(3)]
        metadata = gateway.ask("GET", METADATA).json

    assert [reply.decision for reply in replies] == [True] * 3
    assert metadata["policy_decision_point"] == "https://pdp.example"
    events = [event for event in logged(sandbox) if event["request_id"].startswith("tls-")]
    assert [event["cache"] for event in events] == ["miss", "hit", "hit"]


def test_the_same_bytes_from_another_certificate_are_nobodys(
    sandbox: Sandbox, sidecar: Process, authority: DevDeviceCa
) -> None:
    body = question("https://portal.example/cases/31")
    with dial(sandbox, sidecar, authority.issue("gateway", now=sandbox.now)) as gateway:
        assert gateway.evaluate(body).decision is True
        assert gateway.evaluate(body).decision is True
    with dial(sandbox, sidecar, authority.issue("stranger", now=sandbox.now)) as stranger:
        assert stranger.evaluate(body).status == 401


def test_a_right_certificate_does_not_forgive_a_wrong_key_and_a_key_works_behind_any_certificate(
    sandbox: Sandbox, sidecar: Process, authority: DevDeviceCa
) -> None:
    with dial(sandbox, sidecar, authority.issue("gateway", now=sandbox.now), key="z" * 40) as gateway:
        assert gateway.evaluate(question()).status == 401
    with dial(sandbox, sidecar, authority.issue("other", now=sandbox.now), key=KEY) as keyed:
        assert keyed.evaluate(question(CASE)).decision is True


def test_without_a_certificate_of_our_ca_there_is_no_connection(
    sandbox: Sandbox, sidecar: Process, authority: DevDeviceCa
) -> None:
    foreign = DevDeviceCa(now=sandbox.now, name="CA of callers").issue("gateway", now=sandbox.now)
    for certificate in (None, foreign):
        with pytest.raises((ssl.SSLError, OSError, AssertionError)):  # noqa: SIM117
            with dial(sandbox, sidecar, certificate) as client:
                client.evaluate(question())
    with connect(address(sidecar)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(65536).startswith(b"HTTP/1.1 2")


def test_rights_are_taken_up_by_a_reload_and_nothing_remembered_outlives_them(
    sandbox: Sandbox, sidecar: Process, authority: DevDeviceCa
) -> None:

    before = (sandbox.folder / "zt.toml").read_bytes()
    body = question("https://portal.example/cases/32")
    with dial(sandbox, sidecar, authority.issue("gateway", now=sandbox.now)) as gateway:
        assert gateway.evaluate(body).decision is True
        sandbox.write("zt.toml", before.replace(b'hosts = ["portal.example"]', b"hosts = []"))
        sidecar.signal(signal.SIGHUP)
        wait_for(lambda: not gateway.evaluate(body).decision, "the reload")
        assert gateway.evaluate(body).reason == "AUTHZEN_FOREIGN"
        sandbox.write("zt.toml", before)
        sidecar.signal(signal.SIGHUP)
        wait_for(lambda: gateway.evaluate(body).decision, "the way back")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('listen = ["0.0.0.0:0"]\n', "mutual TLS"),
        ('listen = ["0.0.0.0:0"]\ncertificate_file = "a"\ncertificate_key_file = "b"\n', "mutual TLS"),
        ('listen = ["127.0.0.1:x"]\n', "no address"),
        ('certificate_file = "a"\n', "belong together"),
        ('client_ca_file = "a"\n', "certificate_file"),
        ('identifier = "http://pdp.example"\n', "https URL"),
        ('[[authzen.peps]]\nname = "a"\n', "key_file"),
        ('[[authzen.peps]]\nname = "a"\ncertificate = "x"\n', "client_ca_file"),
        ('[[authzen.peps]]\nname = "a"\nkey_file = "k"\nenforces = ["no_store"]\ncontext = false\n', "context = true"),
        ('[[authzen.peps]]\nname = "a"\nkey_file = "k"\nstatements = ["clearance"]\n', "clearance"),
        ('[[authzen.types]]\ntype = "http"\nentrypoint = "a/b"\n', "catalogue"),
        ('[[authzen.types]]\ntype = "x"\nentrypoint = "../b"\n', "entrypoint"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(
    sandbox: Sandbox, tmp_path: Path, section: str, said: str
) -> None:
    text = (sandbox.folder / "zt.toml").read_text().partition("\n[authzen]")[0]
    (tmp_path / "zt.toml").write_text(f"{text}\n[authzen]\n{section}")

    with pytest.raises(ConfigError) as error:
        load(tmp_path / "zt.toml", {})
    assert said in str(error.value)
