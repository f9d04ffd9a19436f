"""Decisions as answers: one, several, or what a search found; each with its record for the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from zt_engine.core.decision_event import Timestamps, quoted
from zt_engine.core.errors import InputError
from zt_engine.ports import Clock
from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.evaluation import Evaluated, Evaluator
from zt_engine.sidecar.authzen.pending import NONE, ONE, Denied, Pending, Record, Warm
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.rendering import BARE, Renderings, Texts, denial, faulty
from zt_engine.sidecar.authzen.wire import Batch, Question
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers

STOPS: Mapping[str, bool | None] = {
    "execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True,
}  # fmt: skip
"""The decision that ends a batch."""
TOGETHER = 16
"""Items of a batch that are decided before others have their turn."""


class Answering:
    """Decides and writes down."""

    def __init__(
        self, evaluator: Evaluator, texts: Texts, *, clock: Clock, numbers: Numbers, meters: Meters, origin: bytes
    ) -> None:
        self.evaluator = evaluator
        self.now = clock.now
        self._texts = texts
        self._renderings = Renderings(texts)
        self._number = numbers.next
        self._stamp = Timestamps().format
        self._meters = meters
        self._origin = origin

    def repeat(self, warm: Warm, number: bytes, started: int) -> Pending:
        """Answer what was read before; `started` is when it came, in nanoseconds."""
        now, memory = self.now(), warm.memory
        if not self.evaluator.stands(memory, now):
            return self._renewed(warm, number, now, started)
        if not warm.middle:
            self._write_out(warm)
        outcome, spent = memory.outcome, time.perf_counter_ns() - started
        self._meters.decided(outcome, spent, hit=True)
        decision_id = self._number()
        line = b'"ts":"%b","decision_id":"%b","request_id":"%b"%b%d' % (
            self._stamp(now), decision_id, number, warm.middle, spent // 1000,
        )  # fmt: skip
        told = decision_id if warm.pep.context else b""
        response = (replies.NUMBERED if number else replies.PLAIN) % (
            warm.length + len(told), number, warm.before, told, warm.after,
        )  # fmt: skip
        return Pending(response, outcome, line, warm, number)

    def _renewed(self, warm: Warm, number: bytes, now: float, started: int) -> Pending:
        done = self.evaluator.again(warm.memory, now, number.decode("ascii"))
        if done.memory is not None:
            warm.memory, warm.middle = done.memory, b""
        told, (outcome, line) = self.recorded(warm.pep, done, number, now, started)
        return Pending(replies.success(told, number), outcome, line, warm, number)

    def _write_out(self, warm: Warm) -> None:
        outcome = warm.memory.outcome
        if warm.pep.context:
            warm.before, warm.after = self._renderings.around(outcome)
        else:
            warm.before, warm.after = BARE[outcome.decision.opens], b""
        warm.length = len(warm.before) + len(warm.after)
        warm.middle = b',%b,%b,%b,"cache":"hit","latency_us":' % (
            self._origin, warm.memory.place_log, outcome.members,
        )  # fmt: skip

    def single(self, pep: Pep, question: Question, number: bytes) -> tuple[Pending, Evaluated]:
        """Answer one question."""
        started, now = time.perf_counter_ns(), self.now()
        done = self.evaluator.decide(pep, question, now, number.decode("ascii"))
        told, (outcome, line) = self.recorded(pep, done, number, now, started)
        pending = Pending(
            replies.success(told, number), outcome, line, denied=Denied(pep.context, number),
            again=lambda: self.single(pep, question, number)[0],
        )  # fmt: skip
        return pending, done

    def redone(self, pending: Pending) -> Pending:
        """Decide again what was decided for another file of the log."""
        if pending.warm is not None:
            return self.repeat(pending.warm, pending.number, time.perf_counter_ns())
        return pending if pending.again is None else pending.again()

    def unlogged(self, pending: Pending) -> bytes:
        """Return the answer without a record: a denial, or what was no decision anyway."""
        denied = pending.denied
        if pending.warm is not None:
            denied = Denied(pending.warm.pep.context, pending.number)
        if denied is None:
            return pending.response
        body = denial("LOG_UNAVAILABLE", self._texts) if denied.context else BARE[False]
        if denied.items == NONE:
            body = b'{"page":{"count":0,"next_token":""},"results":[]}'
        elif denied.items != ONE:
            body = _listed([body] * denied.items)
        return replies.success(body, denied.number)

    async def batch(self, pep: Pep, batch: Batch, number: bytes) -> Pending:
        """Decide the items in their order, a few at a time; what follows the one that ends it is not decided."""
        told: list[bytes] = []
        records: list[Record] = []
        stop = STOPS[batch.semantic]
        for count, item in enumerate(batch.items, 1):
            if isinstance(item, InputError):
                opens = False
                told.append(faulty(item.message) if pep.context else BARE[False])
            else:
                opens, text, record = self.one(pep, item, number)
                told.append(text)
                records.append(record)
            if opens is stop:
                break
            if count % TOGETHER == 0:
                await asyncio.sleep(0)
        denied = Denied(pep.context, number, len(told))
        return Pending(replies.success(_listed(told), number), records=tuple(records), denied=denied)

    def one(self, pep: Pep, question: Question, number: bytes) -> tuple[bool, bytes, Record]:
        """Decide one question of several: whether it opens, what is told, and its record."""
        started, now = time.perf_counter_ns(), self.now()
        done = self.evaluator.decide(pep, question, now, number.decode("ascii"))
        return (done.outcome.decision.opens, *self.recorded(pep, done, number, now, started))

    def recorded(self, pep: Pep, done: Evaluated, number: bytes, now: float, started: int) -> tuple[bytes, Record]:
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


def _listed(told: list[bytes]) -> bytes:
    return b'{"evaluations":[%b]}' % b",".join(told)
