"""`Engine`: a sidecar's decisions inside a Python process, without a listener.

It is the sidecar's own path (policy, records, cache, decision log) on an event loop in a thread of its own; whoever
asks waits for the answer of that thread. So a decision in a library is the decision a proxy would get.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
import uvloop

from zt_engine.bootstrap.identity import embedded_credential
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import load
from zt_engine.core.errors import InputError
from zt_engine.embed.ruling import Asked, Ruling
from zt_engine.sidecar.app import END, UNLOGGED, Pending
from zt_engine.sidecar.connection import BROKEN
from zt_engine.sidecar.hooks.embedded import NAME, EmbeddedHook
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.turn import Turn

log = structlog.get_logger()

T = TypeVar("T")
START_SECONDS = 60.0
STOP_SECONDS = 15.0
CONFIG = "zt.toml"


class Engine:
    """Decides requests in this process. `Engine.open("zt.toml")` starts it, `close` stops it; also a context manager.

    Any number of threads and event loops may ask at the same time. One engine for each process: after a fork, open
    another one.
    """

    def __init__(self, program: SidecarProgram, hook: EmbeddedHook, loop: asyncio.AbstractEventLoop) -> None:
        self._program = program
        self._hook = hook
        self._loop = loop
        self._turn = Turn(program.app, loop)
        self._closed = False
        self._closing = threading.Lock()
        """INVARIANT: what is handed to the loop is handed over before the loop is told to stop, or not at all."""
        self._process = os.getpid()

    @classmethod
    def open(cls, config: Path | str = CONFIG, *, proxy: str | None = None, sidecar: str | None = None) -> Self:
        """Start deciding by the settings of a file; `proxy` names its `[[proxies]]` table with `hook = "embedded"`.

        `sidecar` replaces `sidecar.id`: in the log every process of a server has a name of its own.

        Raises ConfigError with every fault of the settings. What cannot be loaded denies and is told by `readiness`.
        """
        settings = load(Path(config))
        if sidecar is not None:
            settings = settings.model_copy(update={"sidecar": settings.sidecar.model_copy(update={"id": sidecar})})
        hook = EmbeddedHook(embedded_credential(settings, proxy))
        loop = uvloop.new_event_loop()
        threading.Thread(target=loop.run_forever, name="zt-engine", daemon=True).start()
        try:
            program = _run(loop, _made(lambda: SidecarProgram(settings)), START_SECONDS)
            engine = cls(program, hook, loop)
            _run(loop, program.start(serve=False), START_SECONDS)
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        return engine

    def decide(self, asked: Asked) -> Ruling:
        """Decide one request. Blocks; never raises: whatever breaks denies."""
        return self.submit(asked).result()

    def submit(self, asked: Asked) -> Future[Ruling]:
        """Decide one request; the future never fails. For an event loop: `await asyncio.wrap_future(...)`."""
        return self._ask(lambda: self._decided(asked), asked)

    def late(self, asked: Asked, ruling: Ruling, labels: tuple[str, ...]) -> Future[Ruling | None]:
        """Judge the labels a response claims: None when none is above the one that was granted, else a denial.

        The denial (LATE_DENY) is in the decision log under the id of the request: the catalogue says less of this
        route than its backend does.
        """
        judged: Future[Ruling | None] = Future()
        if not self._above(ruling, labels):
            judged.set_result(None)
            return judged
        denied = self._ask(lambda: self._exceeded(asked, ruling), asked)
        denied.add_done_callback(lambda done: judged.set_result(done.result()))
        return judged

    def readiness(self) -> dict[str, object]:
        """Return whether decisions can be made, and everything that is missing or refused."""
        return _run(self._loop, _made(self._program.readiness), START_SECONDS)

    def close(self) -> None:
        """Answer what was asked, close the log, and stop."""
        if os.getpid() != self._process:
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            _run(self._loop, self._program.stop(), STOP_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, decide: Callable[[], Pending], asked: Asked) -> Future[Ruling]:
        waiting = _Waiting(asked, self._program.wiring.denials.write)
        if os.getpid() != self._process:  # a fork takes the loop along, and not the thread that runs it
            waiting.fail()
            return waiting.future

        def begin() -> None:
            try:
                self._turn.add(waiting, decide())
            except Exception as error:  # INVARIANT: whatever breaks denies.
                log.exception("decision.failed", request_id=asked.request_id, error=type(error).__name__)
                waiting.fail()

        with self._closing:
            if not self._closed:
                self._loop.call_soon_threadsafe(begin)
                return waiting.future
        waiting.fail()
        return waiting.future

    def _decided(self, asked: Asked) -> Pending:
        number = asked.request_id.encode("ascii", "replace")
        try:
            request = self._hook.read(
                asked.headers,
                target=asked.target,
                method=asked.method.encode("latin-1", "replace"),
                scheme=asked.scheme.encode("latin-1", "replace"),
                address=asked.address.encode("latin-1", "replace"),
                request_id=number,
                certificate=asked.certificate,
            )
        except InputError as error:
            number = b"" if error.code == "REQUEST_ID_INVALID" else number
            return self._program.app.refuse(error.code, hook=NAME, number=number, encode=_encode, unlogged=UNLOGGED)
        return self._program.app.submit(request, number, _encode, UNLOGGED)

    def _exceeded(self, asked: Asked, ruling: Ruling) -> Pending:
        return self._program.app.refuse(
            "LATE_DENY", hook=NAME, number=asked.request_id.encode("ascii", "replace"), encode=_encode,
            unlogged=UNLOGGED, subject=ruling.subject, device=ruling.device, label=ruling.label,
        )  # fmt: skip

    def _above(self, ruling: Ruling, labels: tuple[str, ...]) -> bool:
        policy = self._program.authorizer.policy
        if policy is None or ruling.label not in policy.ranks:
            return True
        granted = policy.ranks[ruling.label]
        return any(policy.ranks.get(label, granted + 1) > granted for label in labels)


class _Waiting:
    """Whoever asked, in the place of a connection: gets the answer of a turn."""

    def __init__(self, asked: Asked, write: Callable[[bytes, bytes, dict[bytes, bytes]], bytes]) -> None:
        self.future: Future[Ruling] = Future()
        self._asked = asked
        self._write = write

    def send(self, answer: bytes, _now: float) -> None:
        """Take the answer of the turn."""
        try:
            self.future.set_result(self._ruling(answer))
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("answer.failed", error=type(error).__name__)
            self.fail()

    def fail(self) -> None:
        """Deny: something broke."""
        if not self.future.done():
            self.future.set_result(_told(BROKEN, self._asked.request_id))

    def _ruling(self, answer: bytes) -> Ruling:
        if answer[9:12] != b"200":
            head, _, number = answer.removesuffix(END).rpartition(b"Zt-Decision: ")
            answer = self._write(head + b"Zt-Decision: ", number, dict(self._asked.headers))
        return _told(answer, self._asked.request_id)


_ANSWER = frozenset({"zt-subject", "zt-device", "zt-groups", "zt-max-label", "zt-trust", "zt-obligations"})


def _told(answer: bytes, request_id: str) -> Ruling:
    """Read an answer of the decision path, which we wrote ourselves, as a ruling."""
    head, _, body = answer.partition(END)
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    told = {name.lower(): value for name, value in headers}
    allowed = status.startswith("HTTP/1.1 200 ")
    return Ruling(
        allowed=allowed,
        status=int(status[9:12]),
        reason=told.get("zt-reason", ""),
        decision_id=told.get("zt-decision", ""),
        request_id=request_id,
        subject=told.get("zt-subject", ""),
        device=told.get("zt-device", ""),
        groups=tuple(filter(None, told.get("zt-groups", "").split(","))),
        label=told.get("zt-max-label", ""),
        trust=int(told.get("zt-trust") or 0),
        obligations=_obligations(told.get("zt-obligations", "")),
        headers=() if allowed else tuple(headers),
        body=b"" if allowed else body,
    )


def _obligations(listed: str) -> dict[str, str]:
    found = {}
    for item in filter(None, listed.split(", ")):
        name, _, value = item.partition(";value=")
        found[name] = value.strip('"')
    return found


def _encode(outcome: Outcome, number: bytes) -> bytes:
    return outcome.head + number + END


async def _made(make: Callable[[], T]) -> T:
    return make()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], seconds: float) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(seconds)
