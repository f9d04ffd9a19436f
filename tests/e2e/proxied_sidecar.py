"""A whole sidecar behind a proxy: what the command prints, people and devices, and what becomes of their clients when
that sidecar is killed, stopped in its tracks and started again. One contract, and files of tests for several proxies.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from tests.sidecar_support import Process, edit, installation, laptop, logged, wait_for
from zt_engine.adapters.nginx_process import main_config
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.sandbox import Device
from zt_engine.cli import hook

HOST = b"portal.example"
SERVED, REFUSED = frozenset({200}), frozenset({401, 403, 500, 502, 503, 504})


class World:
    """One installation, its sidecar, its proxy as the command prints it, its backend; `serving` starts it all."""

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
        made = {"caddy": self._caddy, "traefik": self._traefik, "haproxy": self._haproxy, "apache": self._apache}
        made |= dict.fromkeys(("nginx (Debian)", "nginx (wheel)"), self._nginx)
        command = made[kind](executable, own)
        self._command = command
        self.proxy: ProxyProcess | None = None
        self.sidecar: Process | None = None

    def _printed(self, *arguments: str) -> str:
        result = CliRunner().invoke(hook.app, [*arguments, "--config", str(self.sandbox.config)])
        assert result.exit_code == 0, (result.output, result.exception)
        self.notes = result.stderr
        return result.stdout

    def _nginx(self, executable: Path, own: list[str]) -> list[str]:
        root = self.folder / "nginx"
        root.mkdir()
        text = main_config(executable, http=self._printed("nginx", *own), folder=root)
        (root / "nginx.conf").write_text(text, encoding="utf-8")
        return [str(executable), "-p", f"{root}/", "-e", f"{root}/error.log", "-c", "nginx.conf"]

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

    def serve(self) -> None:
        """Start the sidecar; one that ran before must have ended."""
        if self.sidecar is not None:
            self.sidecar.close()
        self.sidecar = Process(self.sandbox)
        self.sidecar.started()

    def begin(self) -> None:
        """Start the proxy, whether or not it gets anywhere; the one that ran before is stopped."""
        if self.proxy is not None:
            self.proxy.stop()
        self.proxy = ProxyProcess(self._command, folder=self.folder, address=self.address)

    def start(self) -> None:
        """Start the proxy, and wait until it asks."""
        self.begin()
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
        if self.sidecar is not None:
            self.sidecar.close()
        self.backend.close()


@contextmanager
def serving(kind: str, folder: Path, opa: str) -> Iterator[World]:
    """A world whose sidecar and proxy run."""
    made = World(kind, folder, opa)
    try:
        made.serve()
        made.start()
        yield made
    finally:
        made.close()


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
            self._stop.wait(0.02)  # clients, not a benchmark: the machine is shared

    def await_one_of(self, wanted: frozenset[int], count: int = 5) -> None:
        start = len(self.statuses)
        wait_for(lambda: sum(s in wanted for s in self.statuses[start:]) >= count, f"{count} of {sorted(wanted)}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


class SidecarContract:
    """What holds for a whole sidecar behind every proxy; `world` is its proxy, running."""

    def test_a_healthy_laptop_gets_through_and_the_log_knows_it(self, world: World) -> None:
        answer = world.get(device=world.laptop)

        received, event = world.backend.received[-1], logged(world.sandbox)[-1]
        assert (answer.status, answer.body) == (200, b"backend")
        assert received.values("zt-subject") == [b"tanaka"] and received.values("zt-device") == [b"laptop-1"]
        assert received.values("zt-decision") == [event["decision_id"].encode()]
        if world.kind != "traefik":  # it names no request: the sidecar does
            assert received.values("zt-request-id") == [event["request_id"].encode()]
        assert (event["hook"], event["effect"], event["host"]) == (world.kind, "allow", HOST.decode())
        assert not [name for name in received.names if "cert" in name.lower() or "pep-key" in name.lower()]

    def test_a_stolen_token_without_its_certificate_is_no_sign_in(self, world: World) -> None:
        before = len(world.backend.received)

        answer = world.get()

        assert answer.status == 401 and len(answer.values("www-authenticate")) == 1
        assert len(world.backend.received) == before

    @pytest.mark.parametrize(("language", "word"), [("ja", "サインイン"), ("en", "ign in")])
    def test_a_person_who_has_not_signed_in_is_told_so_in_her_language(
        self, world: World, language: str, word: str
    ) -> None:
        answer = world.get(b"/cases/1", HTML, b"Accept-Language: " + language.encode(), token=False)

        assert answer.status == 401 and answer.values("www-authenticate") == [b'Bearer realm="zt"']
        assert word in answer.body.decode() and answer.values("content-type") == [b"text/html; charset=utf-8"]

    def test_a_forged_identity_is_refused_and_recorded(self, world: World) -> None:
        before = len(world.backend.received)

        answer = world.get(b"/cases/1", b"Zt-Subject: minister", device=world.laptop)

        assert (answer.status, answer.values("zt-reason")) == (403, [b"HEADER_RESERVED"])
        assert logged(world.sandbox)[-1]["reasons"] == ["HEADER_RESERVED"]
        assert len(world.backend.received) == before

    def test_h16_a_preflight_without_a_rule_is_denied(self, world: World) -> None:
        lines = (b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT")

        answer = world.get(b"/cases/1", *lines, method=b"OPTIONS", token=False)

        assert answer.status in (401, 403) and answer.values("access-control-allow-origin") == []

    def test_what_was_asked_before_is_decided_from_memory(self, world: World) -> None:
        bearer = b"Authorization: Bearer " + world.sandbox.token("tanaka", device=world.laptop).encode()
        for _ in range(12):
            assert world.get(b"/cases/1", bearer, device=world.laptop, token=False).status == 200

        assert "hit" in {event["cache"] for event in logged(world.sandbox)[-6:]}

    def is_not_let_past_a_broken_sidecar(self, world: World, *, silent: int, gone: int) -> None:
        """Stop, kill and start the sidecar again under load; `silent` and `gone`: how many refusals are waited for.

        `silent` is 0 for a proxy that waits longer for a silent sidecar than a test does. Service is back after it.
        """
        sidecar = world.sidecar
        assert sidecar is not None
        clients = Clients(world)
        try:
            clients.await_one_of(SERVED)

            sidecar.signal(signal.SIGSTOP)
            if silent:
                clients.await_one_of(REFUSED, count=silent)
            sidecar.signal(signal.SIGCONT)
            clients.await_one_of(SERVED)

            sidecar.signal(signal.SIGKILL)
            sidecar.ended()
            clients.await_one_of(REFUSED, count=gone)
            reached = len(world.backend.received)
            clients.await_one_of(REFUSED, count=1)
            assert len(world.backend.received) == reached

            world.serve()
            clients.await_one_of(SERVED)
        finally:
            clients.stop()

        allowed = {event["decision_id"] for event in logged(world.sandbox) if event["effect"] == "allow"}
        assert set(clients.statuses) <= SERVED | REFUSED
        assert {item.values("zt-decision")[0].decode() for item in world.backend.received} <= allowed

    def opens_nothing(self, world: World, wrong: Mapping[Path, bytes], refused: frozenset[int]) -> None:
        """Ask through a proxy whose proof is another one's than the sidecar has read; it has its own again after it."""
        right = {path: path.read_bytes() for path in wrong}
        before = len(world.backend.received)
        try:
            for path, content in wrong.items():
                path.write_bytes(content)
            world.begin()
            seen = {wait_for(lambda: world.status() not in (0, 404) and world.status(), "an answer") for _ in range(3)}
            reached = len(world.backend.received) - before
        finally:
            for path, content in right.items():
                path.write_bytes(content)
            world.start()

        assert seen <= refused and reached == 0
