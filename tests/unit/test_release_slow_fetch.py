"""While a release is on its way, and however long that takes, what is in force is judged as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from tests.release_world import KEY, OTHER, TRUST, World, sketch
from zt_engine.bootstrap import following_releases
from zt_engine.bootstrap.release_opening import Opened
from zt_engine.core.release import ReleaseNotice, read_release
from zt_engine.core.rollout import Ring, Staged

ALL = (Ring(name="all", percent=100),)


class Slow(World):
    """A control plane that begins an answer and does not go on with it until it is let."""

    def begin(self) -> None:
        self.asked, self.let, self.changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.hold = False
        super().begin()

    def switch(self, opened: Opened) -> None:
        super().switch(opened)
        self.changed.set()

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        if self.hold:
            self.asked.set()
            await self.let.wait()
        await super().content(path, into, size=size, url=url)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(following_releases, "CHECK_SECONDS", 0.01)
    return Slow(tmp_path, light=True)


def digest_of(notice: ReleaseNotice) -> str:
    return read_release(notice.record, {"site-1": KEY.public()}).bundle_digest


def while_fetching(world: Slow, act: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        world.hold = True
        step = asyncio.create_task(world.follower.step())
        await world.asked.wait()
        async with asyncio.timeout(10):
            await act()
        world.let.set()
        await step

    asyncio.run(run())


def test_a_rollout_is_taken_back_while_the_next_release_is_on_its_way(slow: Slow) -> None:
    slow.tell(*sketch(slow, 1)).tell(*sketch(slow, 2, staged=Staged(ref_seq=7, rings=ALL)))
    slow.notices[3], _ = sketch(slow, 3)
    seen: list[int] = []

    async def abort() -> None:
        slow.aborted.add(7)
        del slow.notices[2]
        slow.changed.clear()
        await slow.changed.wait()
        seen.append(slow.active)

    while_fetching(slow, abort)

    assert seen == [1]


def test_a_key_that_is_believed_no_more_ends_what_it_signed_while_another_release_is_on_its_way(slow: Slow) -> None:
    slow.tell(*sketch(slow, 1))
    slow.notices[2], _ = sketch(slow, 2)

    async def withdraw() -> None:
        slow.trust = msgspec.structs.replace(TRUST, keys={"site-1": OTHER.public()})
        await slow.follower.believe()
        assert (slow.active, slow.code) == (0, "BUNDLE_KEY_WITHDRAWN")

    while_fetching(slow, withdraw)


def test_what_is_taken_back_on_its_way_never_decides(slow: Slow) -> None:
    slow.tell(*sketch(slow, 1))
    notice, raw = sketch(slow, 2, staged=Staged(ref_seq=7, rings=ALL))
    slow.notices[2] = notice
    slow.served[digest_of(notice)] = raw

    async def abort() -> None:
        slow.aborted.add(7)
        del slow.notices[2]

    while_fetching(slow, abort)

    assert (slow.active, slow.switched) == (1, [1])
