"""Decisions as answers: one, several, or what a search found; each with its record for the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from zt_engine.core.decision_event import Timestamps, quoted
from zt_engine.core.errors import InputError
from zt_engine.ports import Clock
from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.evaluation import Evaluated, Evaluator
from zt_engine.sidecar.authzen.pending import Pending, Record
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

    def single(
        self, pep: Pep, done: Evaluated, number: bytes, now: float, started: int, again: Callable[[], Evaluated]
    ) -> Pending:
        """Return the answer to one question; `started` is when it came, in nanoseconds, `again` decides it anew."""
        decided, record = self.recorded(pep, done, number, now, started)
        return Pending(
            replies.success(decided, number),
            lambda: replies.success(self.denial(pep, "LOG_UNAVAILABLE"), number),
            (record,),
            lambda: self.single(pep, again(), number, self.now(), started, again),
        )

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
        size = len(told)
        return Pending(
            replies.success(_listed(told), number),
            lambda: replies.success(_listed([self.denial(pep, "LOG_UNAVAILABLE")] * size), number),
            tuple(records),
        )

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

    def denial(self, pep: Pep, code: str) -> bytes:
        """Return a denial without a decision behind it."""
        return denial(code, self._texts) if pep.context else BARE[False]


def _listed(told: list[bytes]) -> bytes:
    return b'{"evaluations":[%b]}' % b",".join(told)
