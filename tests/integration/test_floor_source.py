"""Reading the floor: a file that is still being opened when its reader is cancelled is not left open."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sidecar_support import wait_for
from zt_engine.adapters import floor_folder
from zt_engine.adapters.floor_folder import FloorSource


def test_a_file_that_is_opened_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # To open a pipe takes until somebody writes into it, so the reader is cancelled while it opens.
    pipe = tmp_path / floor_folder.WATERMARK
    os.mkfifo(pipe)
    monkeypatch.setattr(floor_folder, "CHUNK", 1)

    async def cancelled() -> int:
        looking = asyncio.create_task(FloorSource(tmp_path.as_uri()).watermark())
        begun = asyncio.Event()
        thread = asyncio.to_thread
        loop = asyncio.get_running_loop()

        async def begin(function: Callable[..., bytes], *args: object) -> bytes:
            def work() -> bytes:
                loop.call_soon_threadsafe(begun.set)
                return function(*args)

            return await thread(work)

        monkeypatch.setattr(asyncio, "to_thread", begin)
        await begun.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        writer = os.open(pipe, os.O_WRONLY)
        os.write(writer, b"x")
        return writer

    writer = asyncio.run(cancelled())

    wait_for(lambda: bool(poll(writer) & select.POLLERR), "nobody reads any more")
    os.close(writer)


def poll(descriptor: int) -> int:
    asked = select.poll()
    asked.register(descriptor, select.POLLERR)
    return dict(asked.poll(0)).get(descriptor, 0)
