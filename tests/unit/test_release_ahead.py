"""What is offered before it is told is got ready, decides nothing, and holds nothing else up."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.release_world import OTHER, World, sketch
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.release import Release, ReleaseNotice
from zt_engine.core.stream import MAX_MESSAGE_BYTES


class Asked(World):
    """Counts how often a bundle is asked for."""

    asked = 0

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        self.asked += 1
        await super().content(path, into, size=size, url=url)

    def serve(self, seq: int, **members: Any) -> ReleaseNotice:
        """Have a bundle served, and tell nobody of its release."""
        notice, raw = sketch(self, seq, **members)
        self.served[hashlib.sha256(raw).hexdigest()] = raw
        return notice

    async def offer(self, notice: ReleaseNotice) -> None:
        """Offer it, and let everything happen that comes of it."""
        self.follower.offered(notice.record.encode())
        await quiet()


async def quiet() -> None:
    while rest := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(rest)


@pytest.fixture
def world(tmp_path: Path) -> Asked:
    return Asked(tmp_path, light=True)


def test_a_release_that_was_offered_only_has_to_be_switched_to_when_it_is_told(world: Asked) -> None:
    async def work() -> None:
        notice = world.serve(1)
        await world.offer(notice)
        assert (world.warmed, world.asked, world.active, world.switched) == ([1], 1, 0, [])

        world.served.clear()
        world.notices[1] = notice
        await world.follower.step()
        assert (world.active, world.switched, world.asked) == (1, [1], 1)

    asyncio.run(work())


@pytest.mark.parametrize(
    "members",
    [
        {"key": OTHER}, {"key": BundleSigningKey.generate("nobody")}, {"tenant": "another"}, {"seq": 2},
        {"not_after": 1_700_000_000},
    ],
)  # fmt: skip
def test_what_nobody_of_ours_signed_or_is_over_is_not_even_asked_for(world: Asked, members: Any) -> None:
    world.tell(*sketch(world, 2))
    asked = world.asked

    asyncio.run(world.offer(world.serve(members.pop("seq", 3), **members)))

    assert (world.warmed, world.asked, world.codes) == ([], asked, set())


@pytest.mark.parametrize("record", [b"", b"a.b.c", b"\xff" * 100, b"x" * MAX_MESSAGE_BYTES])
def test_an_offer_that_does_not_read_is_passed_over(world: Asked, record: bytes) -> None:
    async def work() -> None:
        world.follower.offered(record)
        await quiet()

    asyncio.run(work())
    assert (world.asked, world.codes) == (0, set())


def test_an_offer_is_asked_for_once_however_often_it_comes(world: Asked) -> None:
    async def work() -> None:
        notice = world.serve(1)
        for _ in range(3):
            await world.offer(notice)

    asyncio.run(work())
    assert (world.asked, world.warmed) == (1, [1])


def test_an_offer_that_hangs_does_not_hold_up_another_release(world: Asked) -> None:
    async def work() -> None:
        hanging = asyncio.Event()
        content = world.content

        async def slow(path: str, into: bytearray, *, size: int, url: str) -> None:
            await hanging.wait()

        world.content = slow  # type: ignore[method-assign]
        offered = world.serve(1)
        world.follower.offered(offered.record.encode())
        await asyncio.sleep(0)
        world.content = content  # type: ignore[method-assign]
        world.notices[2] = world.serve(2)
        await world.follower.step()
        assert world.active == 2
        await quiet()

    asyncio.run(work())


def test_an_offer_that_fails_is_tried_again_when_it_is_told(world: Asked) -> None:
    def down(url: str, into: bytearray, raw: bytes) -> None:
        raise UnavailableError("STREAM_DOWN", "cut")

    async def work() -> None:
        answers, world.answers = world.answers, down
        notice = world.serve(1)
        await world.offer(notice)
        assert (world.warmed, world.codes) == ([], set())
        world.answers = answers
        world.notices[1] = notice
        await world.follower.step()

    asyncio.run(work())
    assert world.active == 1


def test_a_bundle_that_does_not_hold_is_refused_when_it_is_told_and_not_before(tmp_path: Path) -> None:
    class Bad(Asked):
        def warm(self, release: Release, raw: bytes, trust: Any) -> object:
            raise BundleError("BUNDLE_HASH", "not the bytes")

    world = Bad(tmp_path, light=True)

    async def work() -> None:
        notice = world.serve(1, approvals_needed=2)
        await world.offer(notice)
        assert world.codes == set()
        world.notices[1] = notice
        await world.follower.step()

    asyncio.run(work())
    assert (world.active, world.codes) == (0, {"APPROVAL_MISSING"})


def test_whoever_hands_over_gets_nothing_ready(world: Asked) -> None:
    world.follower.let_go()

    asyncio.run(world.offer(world.serve(1)))

    assert world.asked == 0


def test_an_offer_that_takes_the_place_of_another_does_not_end_who_waits_for_that(world: Asked) -> None:
    async def work() -> None:
        slow = asyncio.Event()
        content = world.content

        async def thin(path: str, into: bytearray, *, size: int, url: str) -> None:
            await slow.wait()
            await content(path, into, size=size, url=url)

        world.content = thin  # type: ignore[method-assign]
        following = asyncio.ensure_future(world.follower.follow())
        first = world.serve(1)
        world.follower.offered(first.record.encode())
        world.notices[1] = first
        world.follower.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        world.follower.offered(world.serve(2).record.encode())
        slow.set()
        async with asyncio.timeout(30):
            while world.active != 1 and not following.done():  # noqa: ASYNC110  (a thread of the follower's switches it)
                await asyncio.sleep(0)
        assert (world.active, following.done()) == (1, False)
        following.cancel()
        await quiet()

    asyncio.run(work())


def test_a_follower_ends_when_it_is_cancelled_and_not_when_something_else_is(
    world: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        steps: list[int] = []

        async def step() -> float:
            steps.append(len(steps))
            if len(steps) == 1:
                raise asyncio.CancelledError
            await asyncio.Event().wait()
            return 0.0

        monkeypatch.setattr(world.follower, "step", step)
        following = asyncio.ensure_future(world.follower.follow())
        async with asyncio.timeout(30):
            while len(steps) < 2 and not following.done():
                world.follower.wake()
                await asyncio.sleep(0)
        assert len(steps) == 2
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following

    asyncio.run(work())
