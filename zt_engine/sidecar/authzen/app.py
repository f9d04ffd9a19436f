"""The program behind the AuthZEN listener: callers, their questions, and the record of every decision.

INVARIANT: the answers of a turn leave after their records were appended; if the append fails they leave as denials.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from zt_engine.core.decision_event import Timestamps, quoted
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.ports import Clock
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.evaluation import Evaluated, Evaluator
from zt_engine.sidecar.authzen.metadata import EVALUATION, EVALUATIONS, SEARCHES, WELL_KNOWN
from zt_engine.sidecar.authzen.peps import Pep, Peps
from zt_engine.sidecar.authzen.rendering import BARE, Renderings, Texts, denial, faulty
from zt_engine.sidecar.authzen.repeats import Repeats, Warm
from zt_engine.sidecar.authzen.wire import Batch, Question, read_batch, read_body, read_question
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.recorder import Numbers

log = structlog.get_logger()

_JSON_TYPE = re.compile(rb"application/json[ \t]*(;.*)?", re.IGNORECASE)
_NUMBER = re.compile(rb"[!-~](?:[ -~]{0,198}[!-~])?")
"""A request id as it is logged and given back: what is no visible ASCII has no business in a header."""
TOGETHER = 16
"""Items of a batch that are decided before others have their turn."""

STOPS: Mapping[str, bool | None] = {
    "execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True,
}  # fmt: skip
"""The decision that ends a batch."""


class Journal(Protocol):
    """The decision log, as `ports.DecisionLog`, that somebody else may write as well."""

    @property
    def generation(self) -> int: ...

    def append(self, body: bytes, *, sync: bool = False) -> None: ...

    def store_input(self, digest: str, canonical: bytes) -> None: ...

    def discard(self) -> None: ...

    def flush(self) -> None: ...


class Asked(NamedTuple):
    """One request, read; nothing of it is proven yet."""

    path: bytes
    method: bytes
    headers: dict[bytes, bytes]
    """By names in lower case, each of those that are read once."""
    body: bytes
    names: tuple[str, ...]
    """The names of the client certificate, verified by TLS."""
    raw: bytes = b""
    """All its bytes, when they came as one and the connection goes on."""


class Pending(msgspec.Struct, gc=False):
    """One answer, waiting for the end of its turn."""

    response: bytes
    unlogged: Callable[[], bytes] | None = None
    """Makes the answer that leaves if the log cannot be written."""
    records: tuple[tuple[Outcome, bytes], ...] = ()
    redo: Callable[[], Pending] | None = None
    """Decides again, for records that must be made anew."""


class AuthzenApp:
    """Answers callers on the event loop of the decisions: an evaluation is one call."""

    def __init__(
        self,
        *,
        peps: Peps,
        evaluator: Evaluator,
        texts: Texts,
        authorizer: Authorizer,
        decision_log: Journal,
        clock: Clock,
        numbers: Numbers,
        meters: Meters,
        origin: bytes,
        metadata: bytes,
    ) -> None:
        self._peps = peps
        self._evaluator = evaluator
        self._texts = texts
        self._renderings = Renderings(texts)
        self._authorizer = authorizer
        self._log = decision_log
        self._now = clock.now
        self._number = numbers.next
        self._stamp = Timestamps().format
        self._meters = meters
        self._origin = origin
        self._metadata = replies.success(metadata)
        self._generation = decision_log.generation
        self._repeats = Repeats()

    def rewire(self, peps: Peps, evaluator: Evaluator) -> None:
        """Replace who may ask and what for, between two requests."""
        self._peps, self._evaluator = peps, evaluator
        self._repeats.clear()

    # -- one request

    def repeat(self, raw: bytes, names: tuple[str, ...]) -> Pending | None:
        """Decide a request whose very bytes were read before; None for all others."""
        started = time.perf_counter_ns()
        found = self._repeats.find(raw, names)
        if found is None:
            return None
        warm, number = found
        now, memory = self._now(), warm.memory
        if self._evaluator.stands(memory, now):
            done = Evaluated(memory.outcome, True, memory.place_log)
        else:
            done = self._evaluator.again(memory, now, number.decode())
            if done.memory is not None:
                warm.memory = done.memory
        return self._single(
            warm.pep, done, number, now, started,
            lambda: self._evaluator.again(memory, self._now(), number.decode()),
        )  # fmt: skip

    def answer(self, asked: Asked) -> Pending | Coroutine[Any, Any, Pending]:
        """Answer one request; what takes longer than a turn may is given as a coroutine."""
        path, search = asked.path, SEARCHES.get(asked.path)
        if path not in (EVALUATION, EVALUATIONS, WELL_KNOWN) and search is None:
            return Pending(replies.NOT_FOUND)
        number = asked.headers.get(b"x-request-id", b"")
        if number and _NUMBER.fullmatch(number) is None:
            return Pending(replies.refusal(400, "AUTHZEN_FRAMING", "`X-Request-ID` is 1 to 200 visible characters"))
        wanted = b"GET" if path == WELL_KNOWN else b"POST"
        if asked.method != wanted:
            message, more = f"only {wanted.decode()} is served here", b"Allow: %b\r\n" % wanted
            return Pending(replies.refusal(405, "AUTHZEN_METHOD", message, number=number, more=more))
        if path == WELL_KNOWN:
            return Pending(self._metadata)
        pep = self._pep(asked)
        if pep is None:
            self._meters.stranger()
            return Pending(replies.NO_PEP)
        try:
            if _JSON_TYPE.fullmatch(asked.headers.get(b"content-type", b"")) is None:
                raise InputError("AUTHZEN_BODY", "the content type is not `application/json`")
            body = read_body(asked.body)
            if path == EVALUATION:
                return self._evaluate(pep, read_question(body), number, asked)
            questions = read_batch(body)
            if isinstance(questions, Question):
                return self._evaluate(pep, questions, number, asked)
            return self._batch(pep, questions, number)
        except InputError as error:
            return Pending(replies.refusal(400, error.code, error.message, number=number))

    def _pep(self, asked: Asked) -> Pep | None:
        """Return who asks. A right certificate never forgives a wrong key."""
        key, other = asked.headers.get(b"authorization", b""), asked.headers.get(b"zt-pep-key", b"")
        if key and other:
            return None
        if key or other:
            scheme, _, rest = key.partition(b" ")
            return self._peps.of_key(other or (rest.strip() if scheme.lower() == b"bearer" else b""))
        return self._peps.of_certificate(asked.names) if asked.names else None

    def _evaluate(self, pep: Pep, question: Question, number: bytes, asked: Asked) -> Pending:
        started, now = time.perf_counter_ns(), self._now()

        def decide() -> Evaluated:
            return self._evaluator.decide(pep, question, now, number.decode())

        done = decide()
        if done.memory is not None and asked.raw:
            self._repeats.keep(asked.raw, asked.names, Warm(done.memory, pep))
        return self._single(pep, done, number, now, started, decide)

    def _single(
        self, pep: Pep, done: Evaluated, number: bytes, now: float, started: int, again: Callable[[], Evaluated]
    ) -> Pending:
        decided, record = self._recorded(pep, done, number, now, started)
        return Pending(
            replies.success(decided, number),
            lambda: replies.success(self._denial(pep, "LOG_UNAVAILABLE"), number),
            (record,),
            lambda: self._single(pep, again(), number, now, started, again),
        )

    def _recorded(
        self, pep: Pep, done: Evaluated, number: bytes, now: float, started: int
    ) -> tuple[bytes, tuple[Outcome, bytes]]:
        """Return a decision as its caller reads it, and its record."""
        outcome, spent = done.outcome, time.perf_counter_ns() - started
        self._meters.decided(outcome, spent, hit=done.remembered)
        decision_id = self._number()
        body = b'"ts":"%b","decision_id":"%b","request_id":%b,%b,%b,%b,"cache":"%b","latency_us":%d' % (
            self._stamp(now),
            decision_id,
            quoted(number.decode("ascii")),
            self._origin,
            done.place_log,
            outcome.members,
            b"hit" if done.remembered else b"miss",
            spent // 1000,
        )
        told = self._renderings.of(outcome, decision_id) if pep.context else BARE[outcome.decision.opens]
        return told, (outcome, body)

    def _denial(self, pep: Pep, code: str) -> bytes:
        return denial(code, self._texts) if pep.context else BARE[False]

    # -- several questions

    async def _batch(self, pep: Pep, batch: Batch, number: bytes) -> Pending:
        """Decide the items in their order, a few at a time; what follows the one that ends it is not decided."""
        told: list[bytes] = []
        records: list[tuple[Outcome, bytes]] = []
        stop = STOPS[batch.semantic]
        for count, item in enumerate(batch.items, 1):
            if isinstance(item, InputError):
                opens = False
                told.append(faulty(item.message) if pep.context else BARE[False])
            else:
                started, now = time.perf_counter_ns(), self._now()
                done = self._evaluator.decide(pep, item, now, number.decode())
                opens = done.outcome.decision.opens
                text, record = self._recorded(pep, done, number, now, started)
                told.append(text)
                records.append(record)
            if opens is stop:
                break
            if count % TOGETHER == 0:
                await asyncio.sleep(0)
        size = len(told)
        return Pending(
            replies.success(listed(told), number),
            lambda: replies.success(listed([self._denial(pep, "LOG_UNAVAILABLE")] * size), number),
            tuple(records),
        )

    # -- the end of a turn

    def seal(self, answers: list[Pending]) -> list[bytes]:
        """Append the records of a turn to the log, then give the answers; without the records, denials."""
        if self._log.generation != self._generation:
            # The file was changed since these were decided: what they rest on has to stand in the new one as well.
            self._renew()
            answers = [pending if pending.redo is None else pending.redo() for pending in answers]
        fresh = []
        try:
            for pending in answers:
                for outcome, body in pending.records:
                    self._log.append(body, sync=outcome.sync)
                    if outcome.document:
                        self._log.store_input(outcome.digest, outcome.document)
                        fresh.append(outcome)
            self._log.flush()
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))
            return [unlogged(pending) for pending in answers]
        except Exception as error:
            self._log.discard()
            log.exception("log.failed", error=type(error).__name__)
            return [unlogged(pending) for pending in answers]
        for outcome in fresh:
            outcome.document = b""
        if self._log.generation != self._generation:
            self._renew()
        return [pending.response for pending in answers]

    def _renew(self) -> None:
        self._generation = self._log.generation
        self._authorizer.forget()


def unlogged(pending: Pending) -> bytes:
    """Return the answer without a record: a denial, or what was no decision anyway."""
    return pending.response if pending.unlogged is None else pending.unlogged()


def listed(told: list[bytes]) -> bytes:
    """Return the answer to a batch."""
    return b'{"evaluations":[%b]}' % b",".join(told)
