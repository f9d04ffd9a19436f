"""Thousands of streams and nothing behind them: connections that read watermarks, to see what serving them costs.

    python -m benchmarks.stream_readers FOLDER COUNT CURSOR PORT

Each is a sidecar of its own, with its key in FOLDER, and proves it as sidecars do; it comes back as sidecars do, with
the same pauses. Speaks a line of JSON for each line of input: how many are connected, the oldest last watermark, and
when each was sent its last batch.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from zt_engine.adapters.stream_http import Pace
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.bootstrap.joining import KEY, MEMBERSHIP, Membership
from zt_engine.core.jose import from_base64url

_DATA = re.compile(rb"event: watermark\ndata: [^.]+\.([^.]+)\.")


class Reader(asyncio.Protocol):
    """One stream, for as long as it lasts."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self.ended = asyncio.get_running_loop().create_future()
        self.status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods only.
        cast("asyncio.Transport", transport).write(self._sidecar.head())

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self.status = data[9:12]
        if b"event: batch" in data:
            self._sidecar.batch_at = time.monotonic()
        if b"event: watermark" in data:
            self._sidecar.marked(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Sidecar:
    """One reader's identity, and the newest watermark it was sent."""

    heard: dict[bytes, float]

    def __init__(self, folder: Path, cursor: int, port: int) -> None:
        self.membership = msgspec.json.decode((folder / MEMBERSHIP).read_bytes(), type=Membership)
        self._key = StreamKey.load((folder / KEY).read_bytes(), where=str(folder))
        self._cursor, self._port = cursor, port
        self.issued_at = time.time()
        self.oldest = self.batch_at = 0.0
        self.connected = False

    def head(self) -> bytes:
        """Return the request for the stream."""
        membership = self.membership
        said = statement(self._key, sidecar=membership.id, audience=membership.audience, now=time.time())
        return (
            f"GET /v1/stream?cursor={self._cursor}&least=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {said}\r\n\r\n"
        ).encode()

    def marked(self, data: bytes) -> None:
        """Note when a watermark was issued, and how old the one before had become."""
        found = _DATA.findall(data)
        if found:
            self.oldest = max(self.oldest, time.time() - self.issued_at)
            self.issued_at = issued_at(found[-1])
            self.connected = True

    async def follow(self) -> None:
        """Connect, and again whenever the stream ends."""
        loop, pace = asyncio.get_running_loop(), Pace(random.random)
        while True:
            try:
                transport, reader = await loop.create_connection(lambda: Reader(self), "127.0.0.1", self._port)
                await reader.ended
                transport.close()
                if self.connected:
                    pace.succeeded()
            except OSError:
                pass
            self.connected = False
            await asyncio.sleep(pace.wait())


_TIMES: dict[bytes, float] = {}


def issued_at(payload: bytes) -> float:
    """Return when a watermark was issued; everybody is sent the same bytes."""
    found = _TIMES.get(payload)
    if found is None:
        _TIMES.clear()
        found = _TIMES[payload] = float(msgspec.json.decode(from_base64url(payload))["issued_at"])
    return found


async def main(folder: Path, count: int, cursor: int, port: int) -> None:
    """Follow, and answer."""
    loop = asyncio.get_running_loop()
    everybody = [Sidecar(folder / f"client-{number}", cursor, port) for number in range(count)]
    tasks = [loop.create_task(one.follow()) for one in everybody]
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        now = time.time()
        found: dict[str, object] = {
            "connected": sum(one.connected for one in everybody),
            "issued_at": min(one.issued_at for one in everybody),
            "oldest": max(max(one.oldest, now - one.issued_at) for one in everybody),
            "batches_at": [one.batch_at for one in everybody],
        }
        for one in everybody:
            one.oldest = 0.0
        print(json.dumps(found), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), *(int(one) for one in sys.argv[2:5])))
