"""Bundles that are fetched beside each other: each keeps what came of it, and none is taken for another."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from zt_engine.adapters.release_fetch import KEPT, BundleFetcher
from zt_engine.core.errors import UnavailableError

RAW = {hashlib.sha256(raw).hexdigest(): raw for raw in (b"first" * 10, b"second" * 10, b"third" * 10)}
FIRST, SECOND, THIRD = RAW
SIZES = {digest: len(raw) for digest, raw in RAW.items()}


class Thin:
    """Sends `piece` bytes at a time, each in a turn of its own, and breaks off after `most` of a request."""

    urls = ("one",)

    def __init__(self, piece: int = 5, most: int = 1000) -> None:
        self.piece, self.most = piece, most
        self.sent = 0

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        raw, end = RAW[path.rpartition("/")[2]], len(into) + self.most
        while len(into) < len(raw):
            if len(into) >= end:
                raise UnavailableError("STREAM_DOWN", "cut")
            await asyncio.sleep(0)
            piece = raw[len(into) : len(into) + self.piece]
            into += piece
            self.sent += len(piece)


def test_two_that_are_fetched_at_once_do_not_disturb_each_other() -> None:
    async def work() -> None:
        line = Thin()
        fetcher = BundleFetcher(line)
        got = await asyncio.gather(*(fetcher.fetch(digest, SIZES[digest]) for digest in (FIRST, SECOND, FIRST)))
        assert list(got) == [RAW[FIRST], RAW[SECOND], RAW[FIRST]]
        assert line.sent == 2 * SIZES[FIRST] + SIZES[SECOND]

    asyncio.run(work())


def test_what_came_of_either_is_gone_on_with() -> None:
    async def work() -> None:
        line = Thin(most=20)
        fetcher = BundleFetcher(line)
        found: dict[str, bytes] = {}
        while len(found) < 2:
            for digest in {FIRST, SECOND} - found.keys():
                try:
                    found[digest] = await fetcher.fetch(digest, SIZES[digest])
                except UnavailableError as error:
                    assert error.code == "RELEASE_FETCH"
        assert line.sent == SIZES[FIRST] + SIZES[SECOND]

    asyncio.run(work())


def test_what_is_cut_off_by_whoever_asked_is_gone_on_with_too() -> None:
    async def work() -> None:
        line = Thin()
        fetcher = BundleFetcher(line)
        asking = asyncio.ensure_future(fetcher.fetch(FIRST, SIZES[FIRST]))
        while line.sent < 20:  # noqa: ASYNC110  (a turn for each piece)
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        assert await fetcher.fetch(FIRST, SIZES[FIRST]) == RAW[FIRST]
        assert line.sent == SIZES[FIRST]

    asyncio.run(work())


def test_no_more_is_kept_than_the_one_that_was_told_and_the_one_that_was_offered() -> None:
    async def work() -> None:
        fetcher = BundleFetcher(Thin(most=20))
        for digest in (FIRST, SECOND, THIRD):
            with pytest.raises(UnavailableError):
                await fetcher.fetch(digest, SIZES[digest])
        assert list(fetcher._got) == [SECOND, THIRD]
        assert len(fetcher._got) == KEPT

    asyncio.run(work())
