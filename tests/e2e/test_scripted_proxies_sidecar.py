"""The whole path behind HAProxy and Apache: what the command prints, a whole sidecar, people and devices.

And what becomes of their clients when that sidecar is killed, stopped in its tracks and started again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.forwarding import HTML
from tests.e2e.test_forwarding_sidecar import HOST, REFUSED, SERVED, Clients, World
from tests.proxies.process import ProxyProcess, free_port
from tests.sidecar_support import Process, edit, logged, running, wait_for

KINDS = ("haproxy", "apache")


class ScriptedWorld(World):
    """The world of the other proxies, with one of these in front."""

    def _traefik(self, executable: Path, own: list[str]) -> list[str]:
        return self._haproxy(executable, own) if self.kind == "haproxy" else self._apache(executable, own)

    def _haproxy(self, executable: Path, own: list[str]) -> list[str]:
        edit(self.sandbox, "zt.toml", ('hook = "nginx"', 'hook = "haproxy"'))
        certificate, key = own[1], own[3]
        both = self.folder / "server.pem"
        both.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
        both.chmod(0o600)
        file = self.folder / "haproxy.cfg"
        file.write_text(self._printed("haproxy", "--certificate", str(both), "--user", "", *own[4:]), encoding="utf-8")
        return [str(executable), "-W", "-f", str(file)]

    def _apache(self, executable: Path, own: list[str]) -> list[str]:
        listen = f'[sidecar]\nfastcgi_listen = ["127.0.0.1:{free_port()}"]\n'
        edit(self.sandbox, "zt.toml", ('hook = "nginx"', 'hook = "apache"'), ("[sidecar]\n", listen))
        root = self.folder / "httpd"
        root.mkdir()
        (root / "httpd.conf").write_text(self._printed("apache", *own, "--root", str(root)), encoding="utf-8")
        return [str(executable), "-f", str(root / "httpd.conf"), "-DFOREGROUND"]


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[World]:
    made = ScriptedWorld(request.param, tmp_path_factory.mktemp(request.param), opa)
    with running(made.sandbox):
        made.start()
        yield made
    made.close()


def test_a_healthy_laptop_gets_through_and_the_log_knows_it(world: World) -> None:
    answer = world.get(device=world.laptop)

    received, event = world.backend.received[-1], logged(world.sandbox)[-1]
    assert (answer.status, answer.body) == (200, b"backend")
    assert received.values("zt-subject") == [b"tanaka"] and received.values("zt-device") == [b"laptop-1"]
    assert received.values("zt-decision") == [event["decision_id"].encode()]
    assert received.values("zt-request-id") == [event["request_id"].encode()]
    assert (event["hook"], event["effect"], event["host"]) == (world.kind, "allow", HOST.decode())
    assert not [name for name in received.names if "cert" in name.lower() or "pep-key" in name.lower()]


def test_what_was_asked_before_is_decided_from_memory(world: World) -> None:
    bearer = b"Authorization: Bearer " + world.sandbox.token("tanaka", device=world.laptop).encode()
    for _ in range(12):
        assert world.get(b"/cases/1", bearer, device=world.laptop, token=False).status == 200

    assert "hit" in {event["cache"] for event in logged(world.sandbox)[-6:]}


def test_a_stolen_token_without_its_certificate_is_no_sign_in(world: World) -> None:
    before = len(world.backend.received)

    answer = world.get()

    assert answer.status == 401 and len(answer.values("www-authenticate")) == 1
    assert len(world.backend.received) == before


@pytest.mark.parametrize(("language", "word"), [("ja", "サインイン"), ("en", "ign in")])
def test_a_person_who_has_not_signed_in_is_told_so_in_her_language(world: World, language: str, word: str) -> None:
    answer = world.get(b"/cases/1", HTML, b"Accept-Language: " + language.encode(), token=False)

    assert answer.status == 401 and answer.values("www-authenticate") == [b'Bearer realm="zt"']
    assert word in answer.body.decode() and answer.values("content-type") == [b"text/html; charset=utf-8"]


def test_a_forged_identity_is_refused_and_recorded(world: World) -> None:
    before = len(world.backend.received)

    answer = world.get(b"/cases/1", b"Zt-Subject: minister", device=world.laptop)

    assert (answer.status, answer.values("zt-reason")) == (403, [b"HEADER_RESERVED"])
    assert logged(world.sandbox)[-1]["reasons"] == ["HEADER_RESERVED"]
    assert len(world.backend.received) == before


def test_h16_a_preflight_without_a_rule_is_denied(world: World) -> None:
    lines = (b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT")

    answer = world.get(b"/cases/1", *lines, method=b"OPTIONS", token=False)

    assert answer.status in (401, 403) and answer.values("access-control-allow-origin") == []


def test_the_key_stands_in_no_printed_text(world: World) -> None:
    texts = [path for path in world.folder.rglob("*") if path.suffix in (".cfg", ".lua") or path.name == "httpd.conf"]

    assert texts and not [path for path in texts if world.sandbox.pep_key in path.read_text()]
    for include in world.sandbox.folder.glob("keys/*.apache.conf"):
        assert include.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_h5_a_sidecar_that_is_stopped_killed_and_started_again_lets_nobody_pass_meanwhile(
    kind: str, tmp_path_factory: pytest.TempPathFactory, opa: str
) -> None:
    world = ScriptedWorld(kind, tmp_path_factory.mktemp(kind), opa)
    first = Process(world.sandbox, name="first").started()
    try:
        world.start()
        clients = Clients(world)
        clients.await_one_of(SERVED)

        first.signal(signal.SIGSTOP)
        if kind == "haproxy":  # four tries of half a second; httpd's patience of 30 s is its own
            clients.await_one_of(REFUSED, count=1)
        first.signal(signal.SIGCONT)
        clients.await_one_of(SERVED)

        first.signal(signal.SIGKILL)
        first.ended()
        clients.await_one_of(REFUSED, count=2)
        reached = len(world.backend.received)
        clients.await_one_of(REFUSED, count=1)
        assert len(world.backend.received) == reached

        with running(world.sandbox, name="second"):
            clients.await_one_of(SERVED)
            clients.stop()
    finally:
        first.close()
        world.close()

    allowed = {event["decision_id"] for event in logged(world.sandbox) if event["effect"] == "allow"}
    assert set(clients.statuses) <= SERVED | REFUSED
    assert {item.values("zt-decision")[0].decode() for item in world.backend.received} <= allowed


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_key_of_the_proxy_opens_nothing(kind: str, tmp_path_factory: pytest.TempPathFactory, opa: str) -> None:
    world = ScriptedWorld(kind, tmp_path_factory.mktemp(kind), opa)
    key = world.sandbox.folder / "keys/pep.key"
    wrong = "x" * 32
    with running(world.sandbox):
        if kind == "haproxy":
            key.write_text(wrong)
        else:
            include = next(world.sandbox.folder.glob("keys/*.apache.conf"))
            include.write_text(f'SetEnvIfExpr "true" ZT_PEP_KEY={wrong}\n')
        world.proxy = ProxyProcess(world._command, folder=world.folder, address=world.address)
        seen = {wait_for(world.status, "an answer") for _ in range(3)}
    world.close()

    assert seen <= {403, 503} and world.backend.received == []
