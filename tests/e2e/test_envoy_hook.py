"""A client, a real Envoy with what `zt hook envoy` prints, the whole sidecar, a backend: over HTTP and gRPC."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.e2e.envoy_world import PORTAL, EnvoyWorld
from tests.e2e.lab import HOST, request
from tests.e2e.multiplexed import HOSTILE, all_at_once
from tests.hook_support import one_answer, status
from tests.peers import find_peer
from tests.proxies.asking import Inside
from tests.proxies.envoy import EnvoyLab
from tests.sidecar_support import Process, wait_for
from zt_engine.cli import hook
from zt_engine.sidecar.hooks.envoy import EnvoyHook
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.hooks.reading import Paths

HTML, JSON = b"Accept: text/html", b"Accept: application/json"
CASE = b"/cases/123"


@pytest.fixture(scope="module")
def envoy() -> Path:
    found = find_peer("envoy")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `envoy` is missing")
        pytest.skip(reason="no envoy on this machine")
    return found


@pytest.fixture(scope="module")
def both(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyWorld]:
    running = EnvoyWorld(envoy, tmp_path_factory.mktemp("envoy"))
    yield running
    running.close()


@pytest.fixture(params=["http", "grpc"])
def world(request: pytest.FixtureRequest, both: EnvoyWorld) -> EnvoyWorld:
    """One sidecar, asked over HTTP and over gRPC."""
    both.lab = both.labs[request.param]
    return both


def test_a_healthy_laptop_gets_the_document_and_the_backend_knows_who_asks(world: EnvoyWorld) -> None:
    answer = world.get(CASE, device=world.laptop)

    received, event = world.backend.received[-1], world.events()[-1]
    assert (answer.status, answer.body) == (200, b"backend")
    assert received.line == (b"GET", CASE, b"HTTP/1.1")
    assert received.values("zt-subject") == [b"tanaka"]
    assert received.values("zt-device") == [b"laptop-1"]
    assert received.values("zt-trust") == [b"%d" % event["trust"]]
    assert received.values("zt-decision") == [event["decision_id"].encode()]
    assert received.values("zt-request-id") == received.values("x-request-id") == [event["request_id"].encode()]
    assert received.values("x-forwarded-for") == received.values("x-real-ip") == [b"127.0.0.1"]
    assert received.values("zt-pep-key") == received.values("x-forwarded-client-cert") == []
    assert event["effect"] == "allow" and event["hook"] in ("envoy", "envoy_grpc")


def test_identity_headers_that_are_empty_take_the_place_of_whatever_was_there(world: EnvoyWorld) -> None:
    world.get(CASE, device=world.laptop)

    assert world.backend.received[-1].values("zt-assertion") in ([], [b""])


def test_without_a_sign_in_the_answer_is_401_with_a_challenge(world: EnvoyWorld) -> None:
    answer = world.get(CASE, HTML, b"Accept-Language: ja")

    assert answer.status == 401
    assert answer.values("www-authenticate") == [b'Bearer realm="zt"']
    assert "サインイン" in answer.body.decode()


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_stale_laptop_is_told_in_her_language_what_to_fix(world: EnvoyWorld, language: str) -> None:
    answer = world.get(CASE, HTML, b"Accept-Language: " + language.encode(), device=world.stale)

    (reason,), (decision,) = answer.values("zt-reason"), answer.values("zt-decision")
    assert answer.status == 403
    assert answer.values("cache-control") == [b"no-store"]
    assert f'<html lang="{language}">'.encode() in answer.body
    assert reason in answer.body and decision in answer.body
    assert decision == world.events()[-1]["decision_id"].encode()


def test_a_program_is_told_the_same_in_json(world: EnvoyWorld) -> None:
    answer = world.get(CASE, JSON, device=world.stale)

    problem = json.loads(answer.body)
    assert answer.values("content-type") == [b"application/problem+json"]
    assert problem.keys() == {"type", "title", "status", "detail", "code", "decision"}
    assert problem["status"] == answer.status == 403


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"Zt-Subject: minister"], b"HEADER_RESERVED"),
        ([b"Zt.Subject: minister"], b"HEADER_RESERVED"),
        ([b"Zt-Pep-Key: guess"], b"HEADER_RESERVED"),
        ([b"X-Original-URI: /public"], b"HEADER_RESERVED"),
        ([b"X.Forwarded.Uri: /public"], b"HEADER_RESERVED"),
        ([b"X-Forwarded-Uri: /public"], b"HEADER_RESERVED"),
        ([b"X-Envoy-Original-Path: /public", b"X-Envoy-Anything: 1"], b"HEADER_RESERVED"),
        ([b"Client-Cert: :aaaa:"], b"HEADER_RESERVED"),
        ([b"X-HTTP-Method-Override: DELETE"], b"METHOD_OVERRIDE"),
        ([b"Authorization: Bearer other"], b"HEADER_DOUBLED"),
        ([b"DPoP: a", b"DPoP: b"], b"HEADER_DOUBLED"),
        ([b"Host: evil.example"], b"HOST_AMBIGUOUS"),
    ],
)
def test_what_is_forged_or_doubled_is_refused_with_its_reason(
    world: EnvoyWorld, lines: list[bytes], code: bytes
) -> None:
    before = len(world.backend.received)
    expected = code
    if lines == [b"Zt-Pep-Key: guess"] and not world.lab.grpc:
        expected = b""  # over HTTP Envoy writes its own key over it

    answer = world.get(CASE, *lines, device=world.laptop)

    if not expected:
        assert answer.status == 200
        assert world.backend.received[-1].values("zt-pep-key") == []
        return
    assert (answer.status, answer.values("zt-reason")) == (403, [expected])
    assert len(world.backend.received) == before


@pytest.mark.parametrize("line", [b"Zt_Subject: minister", b"X_Forwarded_Uri: /public"])
def test_a_name_with_an_underscore_reaches_nobody(world: EnvoyWorld, line: bytes) -> None:
    decided = len(world.events())

    assert world.get(CASE, line, device=world.laptop).status == 400
    assert len(world.events()) == decided


@pytest.mark.parametrize(
    "line",
    [b"X-Forwarded-For: 192.0.2.66", b"X-Real-IP: 192.0.2.66", b"X-Forwarded-Proto: http", b"X-Forwarded-Port: 1",
     b"X-Forwarded-Host: evil.example", b"Forwarded: for=192.0.2.66", b"X-Request-Id: chosen",
     b"X-Envoy-Internal: true", b'X-Forwarded-Client-Cert: Hash=00;Cert="x"'],
)  # fmt: skip
def test_what_envoy_vouches_for_is_written_over_what_a_client_says(world: EnvoyWorld, line: bytes) -> None:
    answer = world.get(CASE, line, device=world.laptop)

    if answer.status == 403:
        assert answer.values("zt-reason") == [b"HEADER_RESERVED"]
        return
    received = world.backend.received[-1].head
    assert answer.status == 200
    assert b"192.0.2.66" not in received and b"chosen" not in received and b"evil.example" not in received
    assert b"x-forwarded-proto: https\r\n" in received and b"x-forwarded-client-cert" not in received
    assert b"x-forwarded-port: %d\r\n" % world.lab.port in received


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (b"/cases/123/..%2fadmin", 400),
        (b"/cases/123%5cadmin", 400),
        (b"/cases/12%003", 400),
        (b"/cases/%252e%252e/admin", 403),
        (b"/cases/12%zz", 403),
        (b"/cases/123;x=1", 403),
        (b"/unlisted", 403),
    ],
)
def test_what_servers_read_differently_is_refused(world: EnvoyWorld, target: bytes, code: int) -> None:
    before = len(world.backend.received)

    assert world.get(target, device=world.laptop).status == code
    assert len(world.backend.received) == before


@pytest.mark.parametrize("target", [b"/x/../cases/123", b"//cases/123", b"/cases/%31%32%33", b"/cases/./123"])
def test_a_path_is_put_right_once_and_the_backend_gets_what_was_judged(world: EnvoyWorld, target: bytes) -> None:
    answer = world.get(target, device=world.laptop)

    assert EnvoyHook.paths is EnvoyGrpcHook.paths is Paths.TIDIED
    assert answer.status == 200
    assert world.backend.received[-1].line[1] == CASE
    assert world.events()[-1]["route"] == "/cases/{case_id}"


@pytest.mark.parametrize("host", [b"www.ministry.example", b"papers.ministry.example", b"other.example"])
def test_a_host_that_is_not_this_backends_never_reaches_it(world: EnvoyWorld, host: bytes) -> None:
    before = len(world.backend.received)

    named = world.get(b"/", device=world.laptop, host=host)
    absolute = world.get(b"http://%b/" % host, device=world.laptop)

    assert named.status in (403, 421) and absolute.status in (403, 421)
    assert len(world.backend.received) == before


def test_head_and_get_are_decided_alike(world: EnvoyWorld) -> None:
    answers = [world.get(CASE, device=world.laptop, method=method) for method in (b"GET", b"HEAD")]

    one, other = world.events()[-2:]
    assert [answer.status for answer in answers] == [200, 200]
    assert [one[name] for name in ("effect", "label", "obligations")] == [
        other[name] for name in ("effect", "label", "obligations")
    ]


def test_the_next_request_after_a_refused_head_gets_its_own_answer(world: EnvoyWorld) -> None:
    with world.connect() as client:
        heads = []
        for method in (b"HEAD", b"GET", b"HEAD"):
            client.sendall(request(CASE, method=method, host=PORTAL))
            heads.append(one_answer(client, bodiless=method == b"HEAD")[0])

    assert [status(head) for head in heads] == [401, 401, 401]


def test_a_preflight_without_a_rule_is_denied(world: EnvoyWorld) -> None:
    preflight = [b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT"]

    answer = world.get(CASE, *preflight, method=b"OPTIONS")

    assert answer.status in (401, 403)
    assert answer.values("access-control-allow-origin") == []


def test_a_stolen_token_is_no_device_and_a_certificate_no_sign_in(world: EnvoyWorld) -> None:
    token = world.bearer(world.laptop)

    only_certificate = world.send(request(CASE, host=PORTAL), device=world.laptop)
    only_token = world.send(request(CASE, token, host=PORTAL))
    other_device = world.send(request(CASE, token, host=PORTAL), device=world.stale)

    assert [a.status for a in (only_certificate, only_token, other_device)] == [401, 401, 401]


def test_a_body_waits_for_the_answer_and_arrives_whole(world: EnvoyWorld) -> None:
    body = os.urandom(300_000)
    length = b"Content-Length: %d" % len(body)

    refused = world.get(CASE, length, method=b"PUT", body=body)
    before = len(world.backend.received)
    token = world.bearer(world.laptop)
    answer = world.send(request(CASE, token, length, method=b"PUT", body=body, host=PORTAL), device=world.laptop)

    assert refused.status == 401
    assert world.events()[-1]["method"] == "PUT"
    assert (answer.status, len(world.backend.received)) == (200, before + 1)
    assert world.backend.received[-1].body == body


@pytest.mark.parametrize("signed_in", [True, False])
def test_an_upgrade_is_asked_about_like_any_request(world: EnvoyWorld, signed_in: bool) -> None:
    world.backend.answers[CASE + b"?ws"] = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    device = world.laptop if signed_in else None
    token = [world.bearer(device)] if device is not None else []
    wish = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: YQ=="]
    before = len(world.backend.received)

    with world.connect(device) as client:
        client.sendall(request(CASE + b"?ws", *token, *wish, host=PORTAL))
        first = client.recv(65536)

    assert status(first) == (101 if signed_in else 401)
    assert len(world.backend.received) == before + signed_in


def test_too_many_headers_and_an_old_protocol_are_refused(world: EnvoyWorld) -> None:
    many = [b"A%d: 1" % n for n in range(300)]
    before = len(world.backend.received)

    with world.connect(world.laptop) as client:
        client.sendall(request(CASE, *many, host=PORTAL))
        crowded = one_answer(client)[0]
    with world.connect(world.laptop) as client:
        client.sendall(request(CASE, host=PORTAL, version=b"1.0"))
        old = one_answer(client)[0]

    assert status(crowded) == 431 and status(old) == 426
    assert len(world.backend.received) == before


def test_the_obligation_no_store_overrules_the_backend(world: EnvoyWorld) -> None:
    world.backend.answers[CASE + b"?kept"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nCache-Control: max-age=600\r\n\r\na"
    )

    assert world.get(CASE + b"?kept", device=world.laptop).values("cache-control") == [b"no-store"]


def test_over_http_2_nothing_reaches_the_backend_but_what_was_allowed_for_who_asks(both: EnvoyWorld) -> None:
    """Asked over gRPC; over HTTP it is held to the same by `test_envoy_front.py`."""
    world, both.lab = both, both.labs["grpc"]
    token = (b"authorization", world.bearer(world.laptop).partition(b": ")[2])
    before, logged = len(world.backend.received), len(world.events())

    told = [
        [*((key, value.replace(HOST, PORTAL).replace(b"/cases/1", CASE)) for key, value in sent), token]
        for sent in HOSTILE.values()
    ]
    with contextlib.ExitStack() as stack:
        answers = all_at_once(told, lambda: stack.enter_context(world.connect(world.laptop, protocols=("h2",))))

    reached = world.backend.received[before:]
    allowed = [event for event in world.events()[logged:] if event["effect"] == "allow"]
    assert {item.values("zt-decision")[0].decode() for item in reached} == {event["decision_id"] for event in allowed}
    for item in reached:
        assert (item.line[0], item.line[1], item.values("host")) == (b"GET", CASE, [PORTAL])
        assert item.values("zt-subject") == [b"tanaka"] and b"evil" not in item.head
    assert answers.count(200) == len(reached)


def test_invariant_1_whatever_reached_the_backend_was_allowed_in_the_log(world: EnvoyWorld) -> None:
    world.get(CASE, device=world.laptop)

    allowed = {event["decision_id"] for event in world.events() if event["effect"] in ("allow", "observe")}
    reached = [received.values("zt-decision")[0].decode() for received in world.backend.received]
    assert reached
    assert set(reached) <= allowed and len(set(reached)) == len(reached)


class Asking:
    """A client that asks one Envoy again and again, and what it was answered."""

    def __init__(self, world: EnvoyWorld, lab: EnvoyLab) -> None:
        self.seen: list[int] = []
        self._world, self._lab, self._done = world, lab, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._done.is_set():
            try:
                self.seen.append(self._world.get(CASE, device=self._world.laptop, lab=self._lab).status)
            except OSError:
                self.seen.append(0)
            self._done.wait(0.02)  # a client, not a benchmark

    def next(self) -> int:
        """What a request is answered that begins from now on."""
        count = len(self.seen)
        wait_for(lambda: len(self.seen) > count + 1, "the next answer")
        return self.seen[count + 1]

    def served(self) -> bool:
        return wait_for(lambda: self.seen and self.seen[-1] == 200, "service")

    def stop(self) -> None:
        self._done.set()
        self._thread.join(20)


def test_a_sidecar_that_is_stopped_or_killed_lets_nobody_in_and_service_comes_back_by_itself(
    envoy: Path, tmp_path: Path
) -> None:
    world = EnvoyWorld(envoy, tmp_path, apart=True)
    assert world.process is not None
    clients = [Asking(world, lab) for lab in world.labs.values()]
    try:
        assert all(client.served() for client in clients)
        world.process.signal(signal.SIGSTOP)
        stopped = [client.next() for client in clients]
        world.process.signal(signal.SIGCONT)
        assert all(client.served() for client in clients)
        world.process.close()
        killed = [client.next() for client in clients]
        world.process = Process(world.sandbox, name="again").started()
        assert all(client.served() for client in clients)
    finally:
        for client in clients:
            client.stop()
        world.close()

    assert set(stopped) | set(killed) <= {403, 503}
    allowed = {event["decision_id"] for event in world.events() if event["effect"] == "allow"}
    assert {received.values("zt-decision")[0].decode() for received in world.backend.received} <= allowed


def test_an_envoy_that_shows_nothing_is_answered_nothing(envoy: Path, tmp_path: Path) -> None:
    world = EnvoyWorld(envoy, tmp_path, user=os.getuid() + 1)
    assert world.program is not None
    try:
        world.sandbox.write("keys/pep.key", b"another-key-of-the-sidecar-0123456789\n")
        assert world.thread.run(world.program.reload(world.sandbox.config))
        answers = {name: world.get(CASE, device=world.laptop, lab=lab).status for name, lab in world.labs.items()}
    finally:
        world.close()

    # Over HTTP Envoy hands on what the sidecar says to whoever it does not know; over gRPC that is no answer.
    assert answers == {"http": 401, "grpc": 503}
    assert world.events() == [] and world.backend.received == []
    assert world.program.meters.strangers >= 2


def test_over_tcp_envoy_is_known_by_its_certificate_and_another_one_is_nobody(envoy: Path, tmp_path: Path) -> None:
    answers = {}
    for name in ("ours", "stranger"):
        folder = tmp_path / name
        folder.mkdir()
        inside = Inside(folder)
        shown = inside.front if name == "ours" else inside.authority.issue("stranger", hosts=["other.internal"])
        world = EnvoyWorld(envoy, folder, inside=inside, shown=shown, asking=("grpc",))
        try:
            answers[name] = world.get(CASE, device=world.laptop, lab=world.labs["grpc"]).status, len(world.events())
        finally:
            world.close()

    assert answers == {"ours": (200, 1), "stranger": (503, 0)}


def test_what_the_command_prints_is_what_runs_here(world: EnvoyWorld) -> None:
    arguments = ["--config", str(world.sandbox.config), "--service", "portal", "--backend", world.backend.address]
    arguments += ["--listen", f"127.0.0.1:{world.lab.port}", "--certificate", world.lab.config.certificate]
    arguments += ["--certificate-key", world.lab.config.certificate_key]
    arguments += ["--proxy", "mesh", "--grpc"] if world.lab.grpc else ["--proxy", "front"]

    result = CliRunner().invoke(hook.app, ["envoy", *arguments])

    assert result.exit_code == 0
    assert result.stdout == world.lab.text
    assert world.sandbox.pep_key not in result.stdout
    environment = world.sandbox.folder / "keys/pep.envoy.env"
    if not world.lab.grpc:
        assert environment.read_text() == f"ZT_PEP_KEY={world.sandbox.pep_key}\n"
        assert environment.stat().st_mode & 0o077 == 0
