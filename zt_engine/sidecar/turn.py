"""One event-loop turn: what was decided in it is recorded with one append, and then answered.

INVARIANT: no answer leaves before the application has sealed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog

log = structlog.get_logger()

MOST_TOGETHER = 8
"""Answers that wait for each other: so many share a write of the log, and the proxy has work while we go on."""


class Sealer(Protocol):
    """What makes answers durable."""

    def seal(self, answers: list[Any]) -> list[bytes]:
        """Make the answers of one turn durable, in order, and return their bytes; if it raises, all are refused."""
        ...


class Waiting(Protocol):
    """Whoever waits for an answer of a turn."""

    def send(self, response: bytes, now: float) -> None:
        """Take the sealed answer."""
        ...

    def fail(self) -> None:
        """Learn that there is none; it is for the asker to be refused."""
        ...


class Turn:
    """The answers of one event-loop turn: sealed with one append to the log, then written."""

    __slots__ = ("_after", "_answers", "_app", "_loop", "_waiting")

    def __init__(self, app: Sealer, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._answers: list[Any] = []
        self._waiting: list[Waiting] = []
        self._after: list[Callable[[], None]] = []

    @property
    def waiting(self) -> bool:
        """Whether something was decided that is not in the log yet."""
        return bool(self._waiting)

    def add(self, connection: Waiting, answer: Any) -> None:
        """Queue an answer; the first of a turn schedules the seal behind everything that is readable now."""
        if not self._waiting:
            self._loop.call_soon(self._seal)
        self._waiting.append(connection)
        self._answers.append(answer)
        if len(self._waiting) >= MOST_TOGETHER:
            self._seal()

    def after(self, call: Callable[[], None]) -> None:
        """Have something done once all who wait were answered: for whoever is given an answer to write with others."""
        self._after.append(call)

    def _seal(self) -> None:
        if self._waiting:
            self._answer()
            if self._after:
                after, self._after = self._after, []
                for call in after:
                    call()

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        answers, self._answers = self._answers, []
        try:
            responses = self._app.seal(answers)
        except Exception as error:
            _fail(waiting)
            log.exception("turn.failed", error=type(error).__name__)
            return
        if len(responses) != len(waiting):
            _fail(waiting)
            log.error("turn.failed", error="an answer is missing")
            return
        now = self._loop.time()
        for connection, response in zip(waiting, responses, strict=True):
            connection.send(response, now)


def _fail(connections: Iterable[Waiting]) -> None:
    for connection in connections:
        connection.fail()
