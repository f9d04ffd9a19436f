"""The floor: a plain folder with the signed messages of the stream, for when nobody serves it.

A file server or an object store serves it, or a disk both sides see. Each file is put in place by a rename, and the
index last, so a reader never finds half of anything; what it finds proves itself by its signature.

    index.json  watermark.jws  snapshot-SEQ.jws (a part a line)  batch-FIRST-LAST.jws

The sequencer's thread only queues; one thread writes. The folder holds one snapshot, the one before it for those who
are reading it, and a bounded number of batches: with more, a new snapshot takes their place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import msgspec
import structlog

from zt_engine.adapters.async_library import settle
from zt_engine.adapters.job_thread import Job, JobThread
from zt_engine.adapters.stream_http import IDLE_SECONDS, lines
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.stream import MAX_MESSAGE_BYTES

log = structlog.get_logger()

INDEX, WATERMARK = "index.json", "watermark.jws"
MAX_BATCHES = 4096
MAX_BATCH_BYTES = 32 << 20
INDEX_BYTES = 1 << 20
SECONDS = 5.0
CHUNK = 1 << 20
_OURS = re.compile(r"(?:snapshot-[0-9]+|batch-[0-9]+-[0-9]+)\.jws")

MakeSnapshot = Callable[[], tuple[int, Iterable[bytes]]]
"""Returns the `seq` of everything that is true now, and its signed parts."""


class Segment(msgspec.Struct, frozen=True):
    """One signed batch: its first and its last event."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Its file."""
        return f"batch-{self.first}-{self.last}.jws"


class Index(msgspec.Struct, frozen=True):
    """What is in the folder. It is not signed: one that lies leads to messages that are refused, or to none."""

    snapshot: int
    segments: tuple[Segment, ...] = ()

    @property
    def snapshot_name(self) -> str:
        """The file of the snapshot."""
        return f"snapshot-{self.snapshot}.jws"


class FloorFolder:
    """Writes the floor. Nothing it does raises or is waited for; what fails is logged and made good by a snapshot."""

    def __init__(self, folder: Path, *, snapshot: MakeSnapshot) -> None:
        self._folder = folder
        self._snapshot = snapshot
        self._jobs = JobThread("floor", self._work)
        self._index: Index | None = None
        self._bytes = 0
        self._before = ""

    def begin(self) -> None:
        """Say that this process is the sequencer from now on: the folder begins anew with a snapshot."""
        self._jobs.do(self._forget)

    def batch(self, first: int, last: int, raw: bytes) -> None:
        """Add a batch."""
        self._jobs.do(lambda: self._add(Segment(first, last), raw))

    def watermark(self, raw: bytes) -> None:
        """Replace the watermark, behind every batch that was added before it."""
        self._jobs.do(lambda: self._mark(raw))

    def close(self) -> None:
        """Write what waits, and end."""
        self._jobs.close()

    def _work(self, job: Job) -> None:
        try:
            job()
        except (OSError, UnavailableError) as error:
            self._index = None
            text = error.code if isinstance(error, UnavailableError) else str(error.strerror)
            log.warning("floor.not_written", problem=text, where=str(self._folder))

    def _forget(self) -> None:
        self._index = None

    def _mark(self, raw: bytes) -> None:
        if self._index is None or not self._is_ours(self._index):
            self._begin()
        self._replace(WATERMARK, (raw,))

    def _is_ours(self, index: Index) -> bool:
        """Whether the folder is as it was left here: a sequencer before this one may have written once more."""
        try:
            found = (self._folder / INDEX).read_bytes().strip()
            return found == msgspec.json.encode(index) and (self._folder / index.snapshot_name).exists()
        except OSError:
            return False

    def _add(self, segment: Segment, raw: bytes) -> None:
        index = self._index
        if index is None:
            return  # the snapshot that comes with the next watermark has it
        at = index.segments[-1].last if index.segments else index.snapshot
        if segment.last <= at:
            return
        if segment.first > at + 1 or len(index.segments) >= MAX_BATCHES or self._bytes > MAX_BATCH_BYTES:
            self._begin()
            return
        self._replace(segment.name, (raw,))
        self._bytes += len(raw)
        self._keep(Index(index.snapshot, (*index.segments, segment)))

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        seq, parts = self._snapshot()
        index = Index(seq)
        self._replace(index.snapshot_name, parts)
        self._keep(index)
        self._bytes = 0
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in (index.snapshot_name, self._before):
                path.unlink()
        self._before = index.snapshot_name

    def _keep(self, index: Index) -> None:
        self._replace(INDEX, (msgspec.json.encode(index),))
        self._index = index

    def _replace(self, name: str, lines: Iterable[bytes]) -> None:
        new = self._folder / f".{name}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.writelines(line + b"\n" for line in lines)
        os.replace(new, self._folder / name)


class FloorSource:
    """Reads the floor where it is served: `file:///...` or an https address. Believes nothing of it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._client: httpx.AsyncClient | None = None

    async def index(self) -> Index:
        """Return what there is; UnavailableError FLOOR_DOWN, InputError FLOOR_MALFORMED."""
        try:
            return msgspec.json.decode(await self._whole(INDEX, INDEX_BYTES), type=Index)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InputError("FLOOR_MALFORMED", f"`{self.url}/{INDEX}` does not read") from None

    async def watermark(self) -> bytes:
        """Return the newest watermark."""
        return (await self._whole(WATERMARK, INDEX_BYTES)).strip()

    async def batch(self, segment: Segment) -> bytes:
        """Return a batch."""
        return (await self._whole(segment.name, MAX_MESSAGE_BYTES + 1)).strip()

    async def parts(self, index: Index) -> AsyncIterator[bytes]:
        """Yield the parts of the snapshot."""
        async with contextlib.aclosing(self._chunks(index.snapshot_name)) as chunks:
            async for part in lines(chunks):
                yield part

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    async def _whole(self, name: str, most: int) -> bytes:
        found = bytearray()
        async with contextlib.aclosing(self._chunks(name)) as chunks:
            async for data in chunks:
                found += data
                if len(found) > most:
                    raise InputError("STREAM_TOO_LARGE", f"`{self.url}/{name}` is longer than {most} bytes")
        return bytes(found)

    async def _chunks(self, name: str) -> AsyncGenerator[bytes, None]:
        if self._folder is not None:
            blocks = _blocks(self._folder / name)
            try:
                # Read in threads: the folder may be another machine's. Whoever is cancelled meanwhile leaves the file
                # to the thread, which closes it.
                while data := await asyncio.to_thread(next, blocks, b""):
                    yield data
            except OSError as error:
                raise UnavailableError("FLOOR_DOWN", f"`{self.url}/{name}`: {error.strerror}") from None
            return
        if self._client is None:
            settle()
            self._client = httpx.AsyncClient(
                timeout=SECONDS,
                limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
                follow_redirects=False,
                trust_env=False,
            )
        try:
            headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
            async with self._client.stream("GET", f"{self.url}/{name}", headers=headers) as response:
                if response.status_code != 200:
                    raise UnavailableError("FLOOR_DOWN", f"`{self.url}/{name}` answers {response.status_code}")
                async for data in response.aiter_raw():
                    yield data
        except httpx.HTTPError as error:
            raise UnavailableError("FLOOR_DOWN", f"`{self.url}`: {type(error).__name__}") from error


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data
