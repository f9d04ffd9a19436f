"""Records that other threads want in the chain; the event loop, which alone may extend it, writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zt_engine.core.decision_log import Chain, Record, record_body


class Notice:
    """A waiting record; `seq` is its place once it has one, and -1 until then."""

    __slots__ = ("record", "seq")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.seq = -1


class Notices:
    """A queue whose entries leave it only when they are written."""

    def __init__(self) -> None:
        self.waiting: deque[Notice] = deque()
        self.wake: Callable[[], None] | None = None
        self._placed: list[Notice] = []

    def add(self, record: Record) -> Notice:
        """Queue a record and, if somebody asked for it, wake the loop. Any thread."""
        notice = Notice(record)
        self.waiting.append(notice)
        if self.wake is not None:
            self.wake()
        return notice

    def place(self, chain: Chain) -> None:
        """Append everything that waits to the chain's pending lines."""
        while self.waiting:
            notice = self.waiting.popleft()
            notice.seq = chain.next_seq
            chain.append(record_body(notice.record))
            self._placed.append(notice)

    def written(self) -> None:
        self._placed.clear()

    def put_back(self) -> None:
        """The write failed: they wait again, in their order."""
        for notice in reversed(self._placed):
            notice.seq = -1
            self.waiting.appendleft(notice)
        self._placed.clear()
