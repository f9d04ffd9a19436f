"""The whole path behind Caddy and Traefik: what the command prints, a whole sidecar, people and devices.

And what becomes of their clients when that sidecar is killed, stopped in its tracks and started again.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.e2e.forwarding import HTML
from tests.e2e.lab import Answer, Backend, request
from tests.hook_support import one_answer
from tests.peers import find_peer
from tests.proxies.asking import Inside
from tests.proxies.process import ProxyProcess, free_port
from tests.sidecar_support import Process, edit, installation, laptop, logged, running, wait_for
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.sandbox import Device
from zt_engine.cli import hook

HOST = b"portal.example"
SERVED, REFUSED = frozenset({200}), frozenset({401, 403, 500, 502, 503, 504})


class World:
    """One installation, its proxy as the command prints it, its backend; the sidecar is started by a test."""

    def __init__(self, kind: str, folder: Path, opa: str) -> None:
        executable = find_peer(kind)
        if executable is None:
            if os.environ.get("CI"):
                pytest.fail(f"the peer `{kind}` is missing")
            pytest.skip(reason=f"no {kind} on this machine")
        self.kind = kind
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.sandbox = installation(folder / "zt", opa, listen=f"unix:{folder}/zt.sock")
        self.laptop = laptop(self.sandbox)
        self.client = self.sandbox.write("client.pem", self.laptop.certificate.pem + self.laptop.certificate.key_pem)
        self.backend = Backend()
        self.authority, *server = write_server_certificate(folder / "tls", [HOST.decode()], now=self.sandbox.now)
        port = free_port()
        self.address = ("127.0.0.1", port)
        own = ["--certificate", str(server[0]), "--certificate-key", str(server[1]), "--backend", self.backend.address]
        own += ["--server-name", HOST.decode(), "--listen", f"127.0.0.1:{port}"]
        command = self._caddy(executable, own) if kind == "caddy" else self._traefik(executable, own)
        self._command = command
        self.proxy: ProxyProcess | None = None

    def _printed(self, *arguments: str) -> str:
        result = CliRunner().invoke(hook.app, [*arguments, "--config", str(self.sandbox.config)])
        assert result.exit_code == 0, (result.output, result.exception)
        self.notes = result.stderr
        return result.stdout

    def _caddy(self, executable: Path, own: list[str]) -> list[str]:
        edit(self.sandbox, "zt.toml", ('hook = "nginx"', 'hook = "caddy"'))
        file = self.folder / "Caddyfile"
        file.write_text(self._printed("caddy", *own), encoding="utf-8")
        return [str(executable), "run", "--config", str(file), "--adapter", "caddyfile"]

    def _traefik(self, executable: Path, own: list[str]) -> list[str]:
        inside, port = Inside(self.folder / "inside"), free_port()
        inside.configure(self.sandbox)
        edit(self.sandbox, "zt.toml", ('tls_listen = ["127.0.0.1:0"]', f'tls_listen = ["127.0.0.1:{port}"]'))
        services, static = self.folder / "services", self.folder / "traefik.yaml"
        services.mkdir()
        own += ["--sidecar-ca", str(inside.authority.path), "--client-certificate", str(inside.front.certificate)]
        own += ["--client-key", str(inside.front.key), "--folder", str(services)]
        (services / "portal.yaml").write_text(self._printed("traefik", *own), encoding="utf-8")
        static.write_text(self._printed("traefik", *own, "--static"), encoding="utf-8")
        return [str(executable), f"--configfile={static}"]

    def start(self) -> None:
        """Start the proxy, and wait until it asks."""
        self.proxy = ProxyProcess(self._command, folder=self.folder, address=self.address)
        wait_for(lambda: self.status() in SERVED, "the proxy's first allow")

    def status(self) -> int:
        """What Tanaka on her laptop is answered; 0 when the connection ends without an answer."""
        try:
            return self.get(device=self.laptop).status
        except OSError:
            return 0

    def get(
        self, target: bytes = b"/cases/1", *headers: bytes, device: Device | None = None, token: bool = True, **how: Any
    ) -> Answer:
        context = ssl.create_default_context(cafile=str(self.authority))
        if device is not None:
            context.load_cert_chain(self.sandbox.folder / "client.pem")
        bearer = self.sandbox.token("tanaka", device=self.laptop).encode()
        lines = [b"Authorization: Bearer " + bearer] if token else []
        with (
            socket.create_connection(self.address, timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=HOST.decode()) as client,
        ):
            client.sendall(request(target, *lines, *headers, **{"host": HOST, **how}))
            return Answer(*one_answer(client, bodiless=how.get("method") == b"HEAD"))

    def close(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
        self.backend.close()


@pytest.fixture(scope="module", params=["caddy", "traefik"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[World]:
    made = World(request.param, tmp_path_factory.mktemp(request.param), opa)
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
    assert (event["hook"], event["effect"], event["host"]) == (world.kind, "allow", HOST.decode())
    assert not [name for name in received.names if "cert" in name.lower() or "pep-key" in name.lower()]


def test_a_stolen_token_without_its_certificate_is_no_sign_in(world: World) -> None:
    before = len(world.backend.received)

    answer = world.get()

    assert answer.status == 401 and len(answer.values("www-authenticate")) == 1
    assert len(world.backend.received) == before


@pytest.mark.parametrize(("language", "word"), [("ja", "サインイン"), ("en", "ign in")])
def test_a_person_who_has_not_signed_in_is_told_so_in_her_language(world: World, language: str, word: str) -> None:
    answer = world.get(b"/cases/1", HTML, b"Accept-Language: " + language.encode(), token=False)

    assert answer.status == 401 and answer.values("www-authenticate") == [b'Bearer realm="zt"']
    assert word in answer.body.decode()


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
    texts = [path for path in world.folder.rglob("*") if path.name in ("Caddyfile", "traefik.yaml", "portal.yaml")]

    assert texts and not [path for path in texts if world.sandbox.pep_key in path.read_text()]
    for copy in world.sandbox.folder.glob("keys/*.caddy.key"):
        assert copy.stat().st_mode & 0o077 == 0


# -- when the sidecar breaks


class Clients:
    """Threads that ask over new connections until they are told to stop, and what they were answered."""

    def __init__(self, world: World, *, clients: int = 3) -> None:
        self.statuses: list[int] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(world,), daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, world: World) -> None:
        while not self._stop.is_set():
            self.statuses.append(world.status())

    def await_one_of(self, wanted: frozenset[int], count: int = 5) -> None:
        start = len(self.statuses)
        wait_for(lambda: sum(s in wanted for s in self.statuses[start:]) >= count, f"{count} of {sorted(wanted)}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


@pytest.mark.parametrize("kind", ["caddy", "traefik"])
def test_h5_a_sidecar_that_is_stopped_killed_and_started_again_lets_nobody_pass_meanwhile(
    kind: str, tmp_path: Path, opa: str
) -> None:
    world = World(kind, tmp_path / kind, opa)
    first = Process(world.sandbox, name="first").started()
    try:
        world.start()
        clients = Clients(world)
        clients.await_one_of(SERVED)

        first.signal(signal.SIGSTOP)
        if kind == "caddy":  # waits for half a second; Traefik's patience of 30 s is its own
            clients.await_one_of(REFUSED)
        first.signal(signal.SIGCONT)
        clients.await_one_of(SERVED)

        first.signal(signal.SIGKILL)
        first.ended()
        clients.await_one_of(REFUSED)
        reached = len(world.backend.received)
        clients.await_one_of(REFUSED)
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


@pytest.mark.parametrize("kind", ["caddy", "traefik"])
def test_a_wrong_key_or_certificate_of_the_proxy_opens_nothing(kind: str, tmp_path: Path, opa: str) -> None:
    world = World(kind, tmp_path / kind, opa)
    if kind == "caddy":
        next(world.sandbox.folder.glob("keys/*.caddy.key")).write_text("x" * 32)
    else:
        other = Inside(tmp_path / "other")
        (world.folder / "inside/front.crt").write_bytes(other.front.certificate.read_bytes())
        (world.folder / "inside/front.key").write_bytes(other.front.key.read_bytes())
    with running(world.sandbox):
        world.proxy = ProxyProcess(world._command, folder=world.folder, address=world.address)
        seen = {wait_for(lambda: world.status() not in (0, 404) and world.status(), "an answer") for _ in range(3)}
    world.close()

    assert seen <= {401, 500} and world.backend.received == []
