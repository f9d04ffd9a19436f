"""A real Apache httpd with the printed configuration, held to what every hook must do."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import Certificates, EncryptedContract, ForwardingContract, Front
from tests.e2e.lab import HOST, Backend
from tests.hook_support import KEY, GateApp, LoopThread, credential, listening, until_closed
from tests.peers import find_peer
from tests.proxies.apache import ApacheLab
from zt_engine.core.decision import Decision, Effect
from zt_engine.core.request import AccessRequest
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar import fastcgi
from zt_engine.sidecar.app import Pending
from zt_engine.sidecar.fastcgi_listener import FastcgiServer
from zt_engine.sidecar.hooks.answers import Identity, allow_head
from zt_engine.sidecar.hooks.apache import ApacheHook
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.turn import Turn


class Gate(GateApp):
    """The gate of the other hooks behind the entrances for hooks with a listener of their own; it remembers nothing."""

    def submit(self, asked: AccessRequest, number: bytes, encode: Any, unlogged: bytes, *, keep: Any) -> Pending:
        self.calls += 1
        if self.deny is not None:
            outcome = refusal(self.deny, hook="apache", scheme="bearer")
        else:
            self.authorised.append(asked)
            shown = dict(self.identity)
            identity = Identity.of(**{name: shown.pop(name) for name in ("subject", "device", "groups")})
            outcome = Outcome(Decision(effect=Effect.ALLOW), head=allow_head(identity, **shown), members=b"")
        return Pending(outcome, b"d-7", b"", whole=encode(outcome, b"d-7"))

    def refuse(self, code: str, *, hook: str, number: bytes, encode: Any, unlogged: bytes) -> Pending:
        self.calls += 1
        self.refused.append(code)
        outcome = refusal(Decision.deny(code), hook=hook)
        return Pending(outcome, b"d-7", b"", whole=encode(outcome, b"d-7"))

    def seal(self, answers: list[Any]) -> list[bytes]:
        return [answer.whole for answer in answers]


class FastcgiFront(Front):
    """Client -> httpd -> (gate behind a FastCGI listener, backend)."""

    def __init__(self, start: Callable[[str, str], ApacheLab], *, certificates: Certificates | None = None) -> None:
        shown = credential(hook="apache")
        self.app = Gate(shown)
        self.backend = Backend()
        self.certificates = certificates
        self.thread = LoopThread()
        sock = listening()
        page = Denials(DeniedPage(registry(), default_language="en"))
        hook = ApacheHook(self.app, Credentials([shown]), page, Meters())  # type: ignore[arg-type]
        loop = self.thread.loop
        self.server = self.thread.call(lambda: FastcgiServer(hook.ask, Turn(self.app, loop), loop))
        self.thread.run(self.server.listen(sock))
        self.fastcgi = "{}:{}".format(*sock.getsockname())
        try:
            self.proxy = start(self.fastcgi, self.backend.address)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if hasattr(self, "proxy"):
            self.proxy.stop()
        self.backend.close()
        self.thread.run(self.server.close(grace=1.0))
        self.thread.close()


@pytest.fixture(scope="module")
def apache() -> Path:
    found = find_peer("apache")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `apache` is missing")
        pytest.skip(reason="no apache on this machine")
    return found


def started(apache: Path, folder: Path, *, certificates: Certificates | None = None, **lab: Any) -> FastcgiFront:
    config = {"key": KEY, "tls": certificates.tls if certificates is not None else None} | lab
    return FastcgiFront(
        lambda sidecar, backend: ApacheLab(
            apache, folder, sidecar_address=sidecar, backend_address=backend, host=HOST.decode(), **config
        ),
        certificates=certificates,
    )


@pytest.fixture(scope="module")
def front(apache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastcgiFront]:
    with started(apache, tmp_path_factory.mktemp("apache")) as running:
        yield running
    assert running.thread.faults == []


@pytest.fixture(scope="module")
def encrypted(apache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastcgiFront]:
    folder = tmp_path_factory.mktemp("apache-tls")
    with started(apache, folder, certificates=Certificates.made(folder / "tls")) as running:
        yield running


class TestApache(ForwardingContract):
    hook = ApacheHook

    @pytest.mark.parametrize("named", [b"close, Zt-Subject", b"zt-decision", b"keep-alive,X-Forwarded-For", b"Host"])
    def test_nobody_takes_the_identity_away_on_the_way_to_the_backend(self, front: Front, named: bytes) -> None:
        """httpd takes away what a client names in `Connection`, so whoever names one of ours is refused."""
        before = len(front.backend.received)

        answers = [
            front.get(b"/cases/1", b"Connection: " + named),
            front.get(b"/cases/1", b"Connection: close", b"Connection: " + named),
        ]

        assert {(answer.status, *answer.values("zt-reason")) for answer in answers} == {(403, b"HEADER_RESERVED")}
        assert len(front.backend.received) == before

    def test_requests_share_connections_to_the_hook(self, front: FastcgiFront) -> None:  # type: ignore[override]
        """httpd opens one for each question; none of them stays."""
        for _ in range(8):
            assert front.get().status == 200

        assert front.thread.call(lambda: len(front.server._connections)) == 0

    def test_more_headers_than_the_sidecar_reads_are_refused_with_a_reason(self, front: Front) -> None:
        """httpd itself refuses more than 48, the sidecar's own limit."""
        before, calls = len(front.backend.received), front.app.calls

        answer = front.get(b"/cases/1", *(b"X-Filler-%d: 1" % number for number in range(300)))

        assert answer.status == 400 and (len(front.backend.received), front.app.calls) == (before, calls)


class TestApacheWithTls(EncryptedContract):
    pass


@pytest.mark.parametrize(
    "target", [b"/a%40b", b"/%E7%A7%98/%e7%a7%98.pdf", b"/a%20b", b"/a:b@c", b"/a'(b)*!$&+,=", b"/a?x=%00%2e%2e/&y={}"]
)
def test_the_backend_gets_the_bytes_that_were_authorised_and_not_httpds_spelling(front: Front, target: bytes) -> None:
    assert front.get(target).status == 200
    assert front.backend.received[-1].line[1] == target


def test_the_same_without_nocanon_would_be_another_target(apache: Path, tmp_path: Path) -> None:
    with started(apache, tmp_path, edit=lambda text: text.replace(" nocanon", "")) as front:
        front.get(b"/a%40b")

        assert front.backend.received[-1].line[1] == b"/a@b"


@pytest.mark.parametrize("name", [b"Zt_Subject", b"zt.subject", b"Zt_Max.Label", b"X_Forwarded_For", b"X.Real_IP"])
def test_an_alias_without_a_value_does_not_arrive_either(front: Front, name: bytes) -> None:
    before = len(front.backend.received)

    front.get(b"/cases/1", name + b":")

    assert not [item for item in front.backend.received[before:] if name.lower() in item.head.lower()]


def test_h5_without_a_sidecar_nothing_passes(apache: Path, tmp_path: Path) -> None:
    with started(apache, tmp_path) as front:
        assert front.get().status == 200
        front.thread.run(front.server.close(grace=0.1))
        reached = len(front.backend.received)

        assert {front.get(b"/cases/%d" % number).status for number in range(3)} <= {500, 503}
        assert len(front.backend.received) == reached


@pytest.mark.parametrize(
    "output", [b"", b"Status: 204 No Content\r\n\r\n", b"Variable-ZT_USER: a", b"\r\n", b"x" * 70_000]
)
def test_h5_an_answer_that_is_no_decision_is_none(apache: Path, tmp_path: Path, output: bytes) -> None:
    with started(apache, tmp_path) as front:
        front.server.ask = lambda _: output
        answer = front.get()

        assert answer.status >= 204 and front.backend.received == []


def test_an_error_in_the_hook_is_a_refusal(apache: Path, tmp_path: Path) -> None:
    def broken(_: dict[bytes, bytes]) -> bytes:
        raise RuntimeError("broken")

    with started(apache, tmp_path) as front:
        front.server.ask = broken
        answer = front.get()

        assert (answer.status, answer.values("zt-reason")) == (403, [b"INTERNAL_ERROR"])
        assert front.backend.received == []


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0"])
def test_who_does_not_speak_as_httpd_does_is_told_nothing(front: FastcgiFront, said: bytes) -> None:
    host, _, port = front.fastcgi.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)

        assert until_closed(client) == b""


def test_a_stranger_who_speaks_fastcgi_learns_that_he_is_one(front: FastcgiFront) -> None:
    params = b"".join(
        bytes([len(name), len(value)]) + name + value
        for name, value in ((b"REQUEST_URI", b"/"), (b"ZT_PEP_KEY", b"x" * 32), (b"HTTP_ZT_PEP_KEY", KEY))
    )
    record = fastcgi.RECORD
    stream = record.pack(1, fastcgi.BEGIN, 1, 8, 0) + b"\0\2\0\0\0\0\0\0"
    stream += record.pack(1, fastcgi.PARAMS, 1, len(params), 0) + params + record.pack(1, fastcgi.PARAMS, 1, 0, 0)
    host, _, port = front.fastcgi.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(stream)

        assert b"Status: 403" in (answer := until_closed(client)) and b"PEP_UNKNOWN" in answer
