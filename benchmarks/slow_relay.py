"""A bad line between sidecars and their control plane: a relay of TCP connections that delays and loses.

    python -m benchmarks.slow_relay PORT TARGET

Every packet takes half a round trip of 800 ms. One of twenty is lost: it comes a round trip later, and whatever is
behind it waits, as TCP has it; of those lost one in fifty ends the connection. Nothing here needs a privilege.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections import deque

import uvloop

ROUND_TRIP = 0.8
LOSS = 0.05
RESET = 0.02
"""Of what is lost."""
PACKET = 1460


class Line:
    """One direction of a connection."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._due = 0.0
        self._more = asyncio.Event()
        self._ended = False

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Take what comes, until the line breaks."""
        with contextlib.suppress(OSError):
            while data := await reader.read(PACKET):
                due = time.monotonic() + ROUND_TRIP / 2
                while self._draw.random() < LOSS:
                    due += ROUND_TRIP
                    if self._draw.random() < RESET:
                        self._waiting.clear()
                        data = b""
                if not data:
                    break
                self._due = max(self._due, due)
                self._waiting.append((self._due, data))
                self._more.set()
        self._ended = True
        self._more.set()

    async def give(self, writer: asyncio.StreamWriter) -> None:
        """Hand it on when it is due."""
        while True:
            while not self._waiting:
                if self._ended:
                    return
                self._more.clear()
                await self._more.wait()
            due, data = self._waiting.popleft()
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)
            await writer.drain()


async def main(port: int, target: int) -> None:
    """Relay until killed."""
    draw = random.Random(port)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        up, down = Line(draw), Line(draw)
        taking = [asyncio.ensure_future(work) for work in (up.take(reader), down.take(there))]
        giving = [asyncio.ensure_future(work) for work in (up.give(back), down.give(writer))]
        # Neither side closes one direction only, so the end of one is the end of both.
        await asyncio.wait(giving, return_when=asyncio.FIRST_COMPLETED)
        for task in taking + giving:
            task.cancel()
        await asyncio.gather(*taking, *giving, return_exceptions=True)
        writer.transport.abort()
        back.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print('"ready"', flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
