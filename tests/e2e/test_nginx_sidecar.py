"""The whole path: a client, a real nginx with what `zt hook nginx` prints, the whole sidecar with its pack, a backend.

Everything is real but the people: tokens, certificates, the signed bundle, the decision log.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.e2e.lab import Answer, Backend, request
from tests.e2e.proxied_sidecar import SidecarContract, serving
from tests.hook_support import LoopThread, one_answer
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.demo_world import HEALTHY, STAFF
from zt_engine.bootstrap.nginx_hook import find_proxy, nginx_block, write_key_include
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.bootstrap.sandbox import Device, Sandbox
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.cli import hook
from zt_engine.config import load
from zt_engine.sidecar.hooks.snippet import render

PORTAL = b"portal.ministry.example"
HTML, JSON = b"Accept: text/html", b"Accept: application/json"


class World:
    """One installation with its proxy and its backend."""

    def __init__(self, nginx: Path, folder: Path, *, host: str = "127.0.0.1", printed: bool = True) -> None:
        self.folder = folder
        installation = folder / "zt"
        listen = f"unix:{folder}/zt.sock" if printed else f"[{host}]:0"
        admin = f"unix:{folder}/admin.sock"
        bundle = compiled_bundle("jp-gov")
        self.sandbox = Sandbox(installation, pack="jp-gov", listen=listen, admin_listen=admin, bundle=bundle)
        self.sandbox.subject("tanaka", **{**STAFF, "compartments": ["case:123"]})
        self.laptop = self.sandbox.device("laptop-1", assigned=["tanaka"], facts=HEALTHY)
        self.stale = self.sandbox.device(
            "laptop-2", assigned=["tanaka"], facts=HEALTHY, report_received_at=self.sandbox.now - 3 * 86_400
        )
        for device in (self.laptop, self.stale):
            self.sandbox.write(f"clients/{device.device_id}.pem", device.certificate.pem + device.certificate.key_pem)
        self.backend = Backend()
        self.thread = LoopThread()
        settings = load(self.sandbox.config)
        self.program = self.thread.call(lambda: SidecarProgram(settings))
        self.thread.run(self.program.start())
        front = reserve(host)
        self.address = front.getsockname()[:2]
        self.authority, certificate, key = write_server_certificate(
            folder / "tls", [PORTAL.decode()], now=self.sandbox.now
        )
        text = self._printed(front, certificate, key) if printed else self._made(front, certificate, key)
        prefix = folder / "nginx"
        prefix.mkdir()
        self.nginx = NginxProcess.start(nginx, http=text, folder=prefix, sockets=[front])

    def _printed(self, front: Any, certificate: Path, key: Path) -> str:
        arguments = ["--config", str(self.sandbox.config), "--service", "portal", "--backend", self.backend.address]
        arguments += ["--listen", listen_text(front), "--certificate", str(certificate), "--certificate-key", str(key)]
        result = CliRunner().invoke(hook.app, ["nginx", *arguments])
        assert result.exit_code == 0
        return result.stdout

    def _made(self, front: Any, certificate: Path, key: Path) -> str:
        """The same from the function behind the command: the command does not know a port that was given by chance."""
        settings = load(self.sandbox.config)
        proxy = find_proxy(settings, None)
        write_key_include(settings, proxy)
        return render(
            nginx_block(
                settings, proxy, service="portal", backend=self.backend.address, listen=[listen_text(front)],
                sidecar=self.program.addresses, certificate=certificate, certificate_key=key,
            )
        )  # fmt: skip

    def close(self) -> None:
        self.nginx.stop()
        self.thread.run(self.program.stop())
        self.thread.close()
        self.backend.close()
        assert self.thread.faults == []

    def bearer(self, device: Device | None) -> bytes:
        return b"Authorization: Bearer " + self.sandbox.token("tanaka", device=device).encode()

    def send(self, raw: bytes, *, device: Device | None = None) -> Answer:
        context = ssl.create_default_context(cafile=str(self.authority))
        if device is not None:
            context.load_cert_chain(self.sandbox.folder / f"clients/{device.device_id}.pem")
        with (
            socket.create_connection(self.address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=PORTAL.decode()) as client,
        ):
            client.sendall(raw)
            return Answer(*one_answer(client, bodiless=raw.startswith(b"HEAD ")))

    def get(self, target: bytes, *headers: bytes, device: Device | None = None, **options: Any) -> Answer:
        """As tanaka, on a device of hers, or signed in nowhere."""
        token = [self.bearer(device)] if device is not None else []
        return self.send(request(target, *token, *headers, **{"host": PORTAL, **options}), device=device)

    def events(self) -> list[dict[str, Any]]:
        """All decisions in the log, oldest first."""
        lines: list[str] = []
        for path in sorted((self.sandbox.folder / "log").glob("decisions*.jsonl")):
            lines += path.read_text().splitlines()
        return [event for event in map(json.loads, lines) if "effect" in event]


@pytest.fixture(scope="module")
def world(nginx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The whole path over a Unix socket to the sidecar, with TLS in front."""
    running = World(nginx, tmp_path_factory.mktemp("world"))
    yield running
    running.close()


def test_a_healthy_laptop_gets_the_document_and_the_backend_knows_who_asks(world: World) -> None:
    before = len(world.backend.received)

    answer = world.get(b"/cases/123", device=world.laptop)

    (received,) = world.backend.received[before:]
    event = world.events()[-1]
    assert (answer.status, answer.body) == (200, b"backend")
    assert answer.values("cache-control") == [b"no-store"]
    assert received.line == (b"GET", b"/cases/123", b"HTTP/1.1")
    assert received.values("zt-subject") == [b"tanaka"]
    assert received.values("zt-device") == [b"laptop-1"]
    assert received.values("zt-max-label") == [b"C2"]
    assert received.values("zt-trust") == [b"%d" % event["trust"]]
    assert received.values("zt-decision") == [event["decision_id"].encode()]
    assert received.values("zt-request-id") == [event["request_id"].encode()]
    assert received.values("zt-client-cert") == received.values("zt-pep-key") == []
    assert (event["effect"], event["label"], event["route"]) == ("allow", "C2", "/cases/{case_id}")


def test_without_a_sign_in_the_answer_is_401_with_a_challenge(world: World) -> None:
    answer = world.get(b"/cases/123", HTML, b"Accept-Language: ja")

    assert answer.status == 401
    assert answer.values("www-authenticate") == [b'Bearer realm="zt"']
    assert "サインイン" in answer.body.decode()


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_stale_laptop_is_told_in_her_language_what_to_fix(world: World, language: str) -> None:
    answer = world.get(b"/cases/123", HTML, b"Accept-Language: " + language.encode(), device=world.stale)

    event = world.events()[-1]
    (reason,) = answer.values("zt-reason")
    assert answer.status == 403
    assert event["effect"] == "deny" and event["reasons"][0] == reason.decode()
    assert f'<html lang="{language}">'.encode() in answer.body
    assert reason in answer.body and event["decision_id"].encode() in answer.body
    assert b"DENIED" not in answer.body


def test_a_program_is_told_the_same_in_json_and_neither_threshold_nor_rule(world: World) -> None:
    answer = world.get(b"/cases/123", JSON, device=world.stale)

    problem = json.loads(answer.body)
    assert problem.keys() == {"type", "title", "status", "detail", "code", "decision"}
    assert problem["status"] == answer.status == 403
    assert not {"threshold", "trust", "score"} & set(answer.body.decode().lower().replace('"', " ").split())


def test_invariant_4_a_forged_identity_is_refused_and_recorded(world: World) -> None:
    before = len(world.backend.received)

    answer = world.get(b"/cases/123", b"Zt-Subject: minister", JSON, device=world.laptop)

    assert (answer.status, json.loads(answer.body)["code"]) == (403, "HEADER_RESERVED")
    assert world.events()[-1]["reasons"] == ["HEADER_RESERVED"]
    assert len(world.backend.received) == before


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (b"/cases/123/..%2fadmin", "PATH_AMBIGUOUS"),
        (b"/cases/123/../124", "PATH_AMBIGUOUS"),
        (b"//cases/123", "PATH_AMBIGUOUS"),
        (b"/unlisted", "ROUTE_UNKNOWN"),
    ],
)
def test_invariant_3_what_is_ambiguous_or_unlisted_is_refused(world: World, target: bytes, code: str) -> None:
    before = len(world.backend.received)

    answer = world.get(target, JSON, device=world.laptop)

    assert (answer.status, json.loads(answer.body)["code"]) == (403, code)
    assert len(world.backend.received) == before


@pytest.mark.parametrize("host", [b"www.ministry.example", b"papers.ministry.example", b"other.example"])
def test_invariant_3_a_host_that_is_not_this_backends_is_refused_even_if_the_catalogue_has_it(
    world: World, host: bytes
) -> None:
    before, decided = len(world.backend.received), len(world.events())

    named = world.get(b"/", device=world.laptop, host=host)
    absolute = world.get(b"http://%b/" % host, device=world.laptop)

    assert named.status == 421 and absolute.status in (400, 421)
    assert (len(world.backend.received), len(world.events())) == (before, decided)


def test_h13_head_and_get_are_decided_alike(world: World) -> None:
    get = world.get(b"/cases/123", device=world.laptop)
    head = world.get(b"/cases/123", device=world.laptop, method=b"HEAD")

    one, other = world.events()[-2:]
    assert get.status == head.status == 200
    assert [one[name] for name in ("effect", "label", "trust", "obligations")] == [
        other[name] for name in ("effect", "label", "trust", "obligations")
    ]


def test_h16_a_preflight_without_a_rule_is_denied(world: World) -> None:
    preflight = [b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT"]

    answer = world.get(b"/cases/123", *preflight, method=b"OPTIONS")

    assert answer.status == 403
    assert answer.values("access-control-allow-origin") == []


def test_a_certificate_alone_is_no_sign_in_and_a_stolen_token_no_device(world: World) -> None:
    token = world.bearer(world.laptop)

    only_certificate = world.send(request(b"/cases/123", host=PORTAL), device=world.laptop)
    only_token = world.send(request(b"/cases/123", token, host=PORTAL))
    other_device = world.send(request(b"/cases/123", token, host=PORTAL), device=world.stale)

    assert [a.status for a in (only_certificate, only_token, other_device)] == [401, 401, 401]


def test_a_client_reaches_neither_hook_nor_page(world: World) -> None:
    answers = [world.get(target, device=world.laptop) for target in (b"/_zt/auth", b"/_zt/denied")]

    assert [answer.status for answer in answers] == [404, 404]
    assert all(answer.values("zt-subject") == [] for answer in answers)


def test_invariant_1_whatever_reached_the_backend_was_allowed_in_the_log(world: World) -> None:
    world.get(b"/cases/123", device=world.laptop)

    allowed = {event["decision_id"] for event in world.events() if event["effect"] in ("allow", "observe")}
    reached = [received.values("zt-decision")[0].decode() for received in world.backend.received]
    assert reached
    assert set(reached) <= allowed and len(set(reached)) == len(reached)


def test_invariant_10_nothing_secret_stands_in_the_log(world: World) -> None:
    token = world.bearer(world.laptop)
    headers = [token, b"Cookie: sid=in-a-cookie"]

    answer = world.send(request(b"/cases/123?secret=in-the-query", *headers, host=PORTAL), device=world.laptop)

    written = b"".join(path.read_bytes() for path in (world.sandbox.folder / "log").rglob("*") if path.is_file())
    certificate = world.laptop.certificate.pem.splitlines()[3]
    secrets = (b"in-the-query", b"in-a-cookie", token.split(b".")[2], certificate, world.sandbox.pep_key.encode())
    assert answer.status == 200 and b"tanaka" in written
    assert [secret for secret in secrets if secret in written] == []


def test_what_the_command_prints_holds_no_key(world: World) -> None:
    include = world.sandbox.folder / "keys/pep.nginx.conf"

    assert world.sandbox.pep_key not in (world.folder / "nginx/nginx.conf").read_text()
    assert world.sandbox.pep_key in include.read_text()
    assert include.stat().st_mode & 0o077 == 0


def test_the_whole_path_runs_over_ipv6_loopback_alone(nginx: Path, tmp_path: Path) -> None:
    world = World(nginx, tmp_path, host="::1", printed=False)

    answer = world.get(b"/cases/123", device=world.laptop)
    sidecar = world.program.addresses
    world.close()

    assert answer.status == 200
    assert [address.rpartition(":")[0] for address in sidecar] == ["[::1]"]


def test_when_the_sidecar_has_stopped_nobody_gets_in(nginx: Path, tmp_path: Path) -> None:
    world = World(nginx, tmp_path)
    allowed = world.get(b"/cases/123", device=world.laptop)
    world.thread.run(world.program.stop())
    reached = len(world.backend.received)

    refused = world.get(b"/cases/123", device=world.laptop)

    assert (allowed.status, refused.status) == (200, 500)
    assert len(world.backend.received) == reached
    world.nginx.stop()
    world.thread.close()
    world.backend.close()


def test_h5_a_sidecar_that_is_stopped_killed_and_started_again_lets_nobody_pass(tmp_path: Path, opa: str) -> None:
    with serving("nginx (Debian)", tmp_path / "nginx", opa) as printed:
        SidecarContract().is_not_let_past_a_broken_sidecar(printed, silent=5, gone=5)
