"""A real HAProxy with the printed configuration, held to what every hook must do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import Certificates, EncryptedContract, ForwardingContract, Front
from tests.e2e.lab import HOST, request
from tests.hook_support import KEY, GateApp, credential, listening_at, one_answer
from tests.peers import find_peer
from tests.proxies.haproxy import HaproxyLab
from zt_engine.sidecar.hooks.haproxy import HaproxyHook


@pytest.fixture(scope="module")
def haproxy() -> Path:
    found = find_peer("haproxy")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `haproxy` is missing")
        pytest.skip(reason="no haproxy on this machine")
    return found


def started(haproxy: Path, folder: Path, *, certificates: Certificates | None = None, **lab: Any) -> Front:
    config = {"key": KEY, "tls": certificates.tls if certificates is not None else None} | lab
    return Front(
        lambda sidecar, backend: HaproxyLab(
            haproxy, folder, sidecar_address=sidecar, backend_address=backend, host=HOST.decode(), **config
        ),
        GateApp(hook=HaproxyHook),
        certificates=certificates,
    )


@pytest.fixture(scope="module")
def front(haproxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with started(haproxy, tmp_path_factory.mktemp("haproxy")) as running:
        yield running
    assert running.hook.faults == []


@pytest.fixture(scope="module")
def encrypted(haproxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("haproxy-tls")
    with started(haproxy, folder, certificates=Certificates.made(folder / "tls")) as running:
        yield running


class TestHaproxy(ForwardingContract):
    hook = HaproxyHook

    def test_more_headers_than_the_sidecar_reads_are_refused_with_a_reason(self, front: Front) -> None:
        """HAProxy itself refuses more than 101; the question never grows with what a client sends."""
        before, calls = len(front.backend.received), front.app.calls

        answer = front.get(b"/cases/1", *(b"X-Filler-%d: 1" % number for number in range(300)))

        assert answer.status == 400 and (len(front.backend.received), front.app.calls) == (before, calls)


class TestHaproxyWithTls(EncryptedContract):
    pass


def test_only_what_the_sidecar_needs_is_sent_to_it(front: Front) -> None:
    session = b"__Host-zt-session=" + b"a" * 43

    front.get(b"/cases/1", b"Cookie: sid=1; " + session, b"X-Private: 1", b"Accept: text/html", b"Origin: null")

    asked = front.app.asked[-1]
    assert asked[b"cookie"] == session and front.app.authorised[-1].session == b"a" * 43
    assert b"x-private" not in asked and (asked[b"accept"], asked[b"origin"]) == (b"text/html", b"null")
    assert front.backend.received[-1].values("cookie") == [b"sid=1; " + session]


def test_a_proof_of_the_device_beside_a_session_is_sent_to_it_as_well(front: Front) -> None:
    session = b"__Host-zt-session=" + b"a" * 43

    front.get(b"/cases/1", b"Cookie: sid=1; " + session + b"; __Host-zt-proof=none of ours")

    assert front.app.refused[-1] == "DEVICE_PROOF_MALFORMED"


def test_a_session_that_comes_twice_is_refused_in_one_line_and_in_two(front: Front) -> None:
    session = b"Cookie: __Host-zt-session=" + b"a" * 43

    answers = [front.get(b"/cases/1", session + b"; " + session[8:]), front.get(b"/cases/1", session, session)]

    assert [answer.status for answer in answers] == [403, 403]


def test_names_come_in_one_order_so_that_a_question_is_recognised(front: Front) -> None:
    orders = set()
    for _ in range(12):
        front.get(b"/cases/1", b"Authorization: Bearer a", b"Accept: */*")
        orders.add(tuple(name for name in front.app.asked[-1]))

    assert len(orders) <= (os.cpu_count() or 1)  # each thread has its own


def test_the_absolute_form_arrives_as_a_path(front: Front) -> None:
    assert front.get(b"http://%b/cases/2?a=1" % HOST).status == 200
    assert front.backend.received[-1].line[1] == b"/cases/2?a=1"


def test_h5_without_a_sidecar_nothing_passes(haproxy: Path, tmp_path: Path) -> None:
    with started(haproxy, tmp_path) as front:
        assert front.get().status == 200
        front.hook.thread.run(front.hook.server.close(grace=0.1))
        reached = len(front.backend.received)

        assert front.get().status == 503
        assert len(front.backend.received) == reached


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\nZt-Decision: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nZt-Decision: a\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)  # fmt: skip
def test_h5_an_answer_that_is_no_decision_is_none(front: Front, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(front.app, "answer", lambda *_: answer or b"x")
    reached = len(front.backend.received)

    with front.connected() as client:
        client.sendall(request())
        head, _ = one_answer(client)

    assert head.startswith(b"HTTP/1.1 503") and len(front.backend.received) == reached


def test_an_error_in_the_action_is_no_way_past_it(haproxy: Path, tmp_path: Path) -> None:
    with started(haproxy, tmp_path, lua=lambda text: text.replace("local sent =", "error('x') local sent =")) as front:
        assert front.get().status == 503
        assert front.backend.received == []


def test_h2_with_another_key_haproxy_is_nobody(haproxy: Path, tmp_path: Path) -> None:
    with started(haproxy, tmp_path, key=b"x" * 32) as front:
        answer = front.get()

        assert answer.status == 503 and answer.values("www-authenticate") == []
        assert front.app.refused == ["PEP_UNKNOWN"] and front.backend.received == []


@pytest.mark.parametrize("known", [True, False])
def test_over_a_unix_socket_haproxy_needs_no_key(haproxy: Path, tmp_path: Path, known: bool) -> None:
    sock = listening_at(tmp_path / "zt.sock")
    app = GateApp(credential(hook="haproxy", uids=[os.getuid() + (not known)]), hook=HaproxyHook)

    def start(sidecar: str, backend: str) -> HaproxyLab:
        place = {"sidecar_address": sidecar, "backend_address": backend, "host": HOST.decode()}
        return HaproxyLab(haproxy, tmp_path / "haproxy", key=b"", **place)

    with Front(start, app, hook_socket=sock, sidecar_address=f"unix:{tmp_path}/zt.sock") as front:
        assert front.get().status == (200 if known else 503)
        assert [item.proof for item in app.authorised] == (["socket"] if known else [])
        assert len(front.backend.received) == known
