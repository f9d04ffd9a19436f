"""The collector comes by when nobody asks, or when there is far too much to find."""

from __future__ import annotations

import asyncio
import gc

import pytest

from zt_engine.bootstrap.collector import TOO_MANY, WORTH_A_ROUND, Collector


class Desk:
    """How many requests came, and how many objects there are more than at the last round."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.grown = 0
        self.collector = Collector(lambda: self.asked)
        monkeypatch.setattr(gc, "get_count", lambda: (self.grown, 0, 0))
        monkeypatch.setattr(gc, "collect", self.collect)

    def collect(self) -> int:
        self.grown = 0
        return 0

    def look(self, *, asked: int, grown: int) -> int:
        self.asked += asked
        self.grown += grown
        self.collector.look()
        return self.collector.rounds


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_it_never_comes_while_somebody_asks(desk: Desk) -> None:
    assert [desk.look(asked=1, grown=WORTH_A_ROUND) for _ in range(10)] == [0] * 10


def test_it_comes_in_a_quiet_second_when_it_is_worth_it(desk: Desk) -> None:
    assert desk.look(asked=5, grown=WORTH_A_ROUND + 1) == 0
    assert [desk.look(asked=0, grown=0) for _ in range(3)] == [1, 1, 1]
    assert desk.look(asked=0, grown=WORTH_A_ROUND) == 1


def test_it_comes_whoever_asks_before_the_memory_is_full(desk: Desk) -> None:
    assert desk.look(asked=1, grown=TOO_MANY) == 0
    assert desk.look(asked=1, grown=1) == 1


async def kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    async def stop(_seconds: float) -> None:
        during.append(gc.isenabled())
        raise InterruptedError

    during: list[bool] = []
    monkeypatch.setattr(asyncio, "sleep", stop)
    with pytest.raises(InterruptedError):
        await Collector(lambda: 0).keep()
    return during[0], gc.isenabled()


def test_python_s_own_schedule_is_off_meanwhile_and_on_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    assert asyncio.run(kept_for_a_moment(monkeypatch)) == (False, True)
