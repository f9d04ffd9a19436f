"""The programs behind the two listeners: decisions for proxies, health and metrics for operators.

INVARIANT: the answers of a turn leave after their records were appended; if the append fails they leave as denials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import Timestamps
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.request import AccessRequest, request_id
from zt_engine.ports import Clock, DecisionLog
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.hooks.nginx import NginxHook, Sent
from zt_engine.sidecar.hooks.pages import NO_PAGE
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.recorder import Numbers
from zt_engine.sidecar.repeats import Repeats
from zt_engine.sidecar.targets import NO_PLACE

log = structlog.get_logger()

Pages = Callable[[bytes, dict[bytes, bytes], tuple[bytes, ...], int | None], bytes | None]

END = b"\r\n\r\n"
UNLOGGED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nCache-Control: no-store\r\nZt-Reason: LOG_UNAVAILABLE\r\n"
    b"Zt-Decision: \r\n\r\n"
)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nZt-Reason: HOOK_UNKNOWN\r\n\r\n"
NO_PEP = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
    b'WWW-Authenticate: Zt-Pep-Key realm="zt"\r\nZt-Reason: PEP_UNKNOWN\r\n\r\n'
)


class Pending(msgspec.Struct, gc=False):
    """One decided request, waiting for the end of its turn."""

    outcome: Outcome | None
    number: bytes
    body: bytes
    raw: bytes = b""
    """A complete answer that is no decision: a page, or a refusal to talk."""


class DecisionApp:
    """Answers proxies. One event loop, no awaiting: a decision is one call."""

    strangers = frozenset((NO_PEP, NOT_FOUND, NO_PAGE))
    """What whoever shows no credential is answered: nothing that would let a connection stay."""

    def __init__(
        self,
        *,
        hooks: Iterable[NginxHook],
        pages: Pages,
        authorizer: Authorizer,
        decision_log: DecisionLog,
        clock: Clock,
        numbers: Numbers,
        meters: Meters,
        origin: bytes,
    ) -> None:
        self._hooks = {hook.path: hook for hook in hooks}
        self._pages = pages
        self._authorizer = authorizer
        self._log = decision_log
        self._now = clock.now
        self._number = numbers.next
        self._stamp = Timestamps().format
        self._meters = meters
        self._origin = origin
        self._generation = decision_log.generation
        self._repeats = Repeats()

    def rewire(self, hooks: Iterable[NginxHook], pages: Pages) -> None:
        """Replace who may ask and what people are told, between two requests."""
        self._hooks = {hook.path: hook for hook in hooks}
        self._pages = pages
        self._repeats.clear()

    def repeat(self, head: bytes, uid: int | None) -> Pending | None:
        """Decide a request whose very bytes were read before, without reading them again; None for all others."""
        started = time.perf_counter_ns()
        found = self._repeats.find(head, uid)
        if found is None:
            return None
        memory, number = found
        now = self._now()
        if self._authorizer.stands(memory, now):
            return self._pending(memory.outcome, memory.place_log, b"hit", number, now, started)
        request = msgspec.structs.replace(memory.request, request_id=number.decode("ascii"))
        return self._decide(request, head, uid, number, now, started)

    def answer(
        self,
        path: bytes,
        method: bytes,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        uid: int | None,
        head: bytes = b"",
    ) -> Pending:
        """Decide one request; the answer leaves with `seal`. `head` are the request's bytes, if they came as one."""
        started = time.perf_counter_ns()
        hook = self._hooks.get(path)
        if hook is None:
            page = self._pages(path, headers, names, uid)
            return Pending(None, b"", b"", NOT_FOUND if page is None else page)
        now = self._now()
        sent: Sent | None = None
        request: AccessRequest | None = None
        try:
            sent, credential = hook.read(headers, names, uid)
            if method != b"GET":
                raise InputError("HOOK_FRAMING", "a hook is asked with GET")
            request = hook.prove(sent, credential)
        except InputError as error:
            if error.code == "PEP_UNKNOWN":
                self._meters.stranger()
                return Pending(None, b"", b"", NO_PEP)
            refused = refusal(Decision.deny(error.code), hook=hook.name)
            return self._pending(refused, NO_PLACE, b"miss", sent_id(sent), now, started)
        return self._decide(request, head, uid, sent.request_id, now, started)

    def _decide(
        self, request: AccessRequest, head: bytes, uid: int | None, number: bytes, now: float, started: int
    ) -> Pending:
        answer = self._authorizer.decide(request, now)
        if answer.memory is not None and head:
            self._repeats.keep(head, uid, answer.memory)
        cache = b"hit" if answer.remembered else b"miss"
        return self._pending(answer.outcome, answer.place_log, cache, number, now, started)

    def _pending(
        self, outcome: Outcome, place_log: bytes, cache: bytes, number: bytes, now: float, started: int
    ) -> Pending:
        """Count a decision and write its line; `started` is when its request came, in nanoseconds."""
        spent = time.perf_counter_ns() - started
        self._meters.decided(outcome, spent, hit=cache == b"hit")
        decision_id = self._number()
        body = b'"ts":"%b","decision_id":"%b","request_id":"%b",%b,%b,%b,"cache":"%b","latency_us":%d' % (
            self._stamp(now),
            decision_id,
            number,
            self._origin,
            place_log,
            outcome.members,
            cache,
            spent // 1000,
        )
        return Pending(outcome, decision_id, body)

    def seal(self, answers: list[Pending]) -> list[bytes]:
        """Append the records of a turn to the log, then give the answers; without the records, denials."""
        try:
            fresh = []
            for pending in answers:
                outcome = pending.outcome
                if outcome is not None:
                    self._log.append(pending.body, sync=outcome.sync)
                    if outcome.document:
                        self._log.store_input(outcome.digest, outcome.document)
                        fresh.append(outcome)
            self._log.flush()
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))
            return [pending.raw or UNLOGGED for pending in answers]
        except Exception as error:
            self._log.discard()
            log.exception("log.failed", error=type(error).__name__)
            return [pending.raw or UNLOGGED for pending in answers]
        for outcome in fresh:
            # The input is in the companion segment now; a remembered decision need not hold it any longer.
            outcome.document = b""
        if self._log.generation != self._generation:
            # The companion of a new segment holds no inputs yet, so nothing may rest on one that was stored before.
            self._generation = self._log.generation
            self._authorizer.forget()
        return [p.raw if p.outcome is None else p.outcome.head + p.number + END for p in answers]


def sent_id(sent: Sent | None) -> bytes:
    """Return the request id of a refused request, empty if even that is not readable."""
    if sent is None:
        return b""
    try:
        return request_id(sent.request_id).encode()
    except InputError:
        return b""
