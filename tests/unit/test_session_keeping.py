"""Which sessions a sidecar has refreshed, how many at once, and that nothing that fails stops it."""

from __future__ import annotations

import asyncio

from tests.fakes.clock import FakeClock
from tests.unit.test_browser_site import NOW, Desk
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.session import SessionRecord
from zt_engine.sidecar.browser.keeping import AHEAD_SECONDS, AT_ONCE, SessionKeeper
from zt_engine.sidecar.replica import Changes, Replica


class Slow(Desk):
    """Notes who is asked for, and how many wait at the same time."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.sids: list[str] = []
        self.waiting = self.most = 0
        self.refusal = failure

    async def refresh(self, sid: str) -> None:
        self.sids.append(sid)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        if self.refusal is not None:
            raise self.refusal


def replica(*sessions: tuple[str, int, int]) -> Replica:
    """Sessions by letter, seconds left, and seconds since they were used."""
    made = Replica()
    records = {
        sid: SessionRecord(
            sid=sid, version=1, host="h", issuer="https://idp.example", subject="t", client_id="p", claims={},
            until=NOW + left,
        )
        for sid, left, _ in sessions
    }  # fmt: skip
    made.state = type(made.state)(made.state.records.changed(Changes(sessions=records)))
    made.used = {sid: float(NOW - ago) for sid, _, ago in sessions}
    return made


def keeper(known: Replica, desk: Desk) -> SessionKeeper:
    return SessionKeeper(known, desk, FakeClock(float(NOW)))


def test_only_what_is_used_and_near_its_time_is_refreshed_the_nearest_first() -> None:
    desk = Slow()
    known = replica(
        ("b" * 43, 300, 10), ("a" * 43, 400, 10), ("c" * 43, 20, 10), ("fresh".ljust(43, "x"), AHEAD_SECONDS + 1, 0),
        ("idle".ljust(43, "x"), 100, AHEAD_SECONDS + 1), ("over".ljust(43, "x"), 0, 0),
    )  # fmt: skip
    known.used["gone"] = float(NOW)

    assert asyncio.run(keeper(known, desk).turn()) == 3
    assert [sid[0] for sid in desk.sids] == ["c", "b", "a"]
    assert "gone" not in known.used


def test_what_came_to_nothing_is_asked_for_again_and_not_in_every_turn() -> None:
    desk, clock = Slow(UnavailableError("STREAM_DOWN", "silent")), FakeClock(float(NOW))
    known = replica(("a" * 43, 400, 0))
    turns = SessionKeeper(known, desk, clock)

    async def work(left: int, count: int) -> list[int]:
        clock.advance(NOW + 400 - left - clock.now())
        known.used = dict.fromkeys(known.used, clock.now())
        found = []
        for _ in range(count):
            found.append(await turns.turn())
            clock.advance(15)
        return found

    assert asyncio.run(work(400, 7)) == [1, 0, 0, 1, 0, 0, 1]
    assert asyncio.run(work(60, 4)) == [1, 1, 1, 1]  # not much is left


def test_many_are_refreshed_side_by_side_and_no_more_than_a_few() -> None:
    desk = Slow()
    known = replica(*((f"{number:043}", 60, 0) for number in range(100)))

    asyncio.run(keeper(known, desk).turn())

    assert (len(set(desk.sids)), desk.most) == (100, AT_ONCE)


def test_what_fails_for_one_session_fails_for_no_other() -> None:
    for failure in (InputError("SESSION_NOT_FOUND", "over"), UnavailableError("STREAM_DOWN", "silent")):
        desk = Slow(failure)
        known = replica(*((f"{number:043}", 60, 0) for number in range(20)))

        assert asyncio.run(keeper(known, desk).turn()) == 20
        assert len(desk.sids) == 20
