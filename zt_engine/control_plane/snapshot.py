"""Everything a sidecar that knows nothing has to be told, signed in parts of about a megabyte.

Made once for many: after a restart of the control plane five hundred sidecars may ask at the same time. The parts wait
in a file that has no name, so that the records of 75,000 devices do not stay in memory.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import IO

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.inventory import publish
from zt_engine.control_plane.fleet import EVENT, freeze_data, remembered
from zt_engine.control_plane.rollout_data import release_notice, staged_data
from zt_engine.core.stream import Announced, SnapshotPart
from zt_engine.ports.inventory import DeviceFilter, InventoryStore, Transaction

PART_BYTES = 1 << 20
PAGE = 500
KEPT_SECONDS = 300
"""After so long a new one is made rather than the events since told."""

Sign = Callable[[SnapshotPart], bytes]


class Snapshot:
    """Signed parts, each to be read any number of times."""

    def __init__(
        self, seq: int, fence: int, made_at: float, file: IO[bytes], places: Sequence[tuple[int, int]]
    ) -> None:
        self.seq = seq
        self.fence = fence
        self.made_at = made_at
        self._file = file
        self._places = places
        self._lock = threading.Lock()
        # Whoever still reads it keeps it; the file has no name, and goes with the last of them.
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._places)

    def part(self, number: int) -> bytes:
        """Return a part, counted from 0."""
        start, length = self._places[number]
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    @property
    def size(self) -> int:
        """How many bytes all parts have."""
        return sum(length for _, length in self._places)


class Snapshots:
    """Makes snapshots of one tenant. For use by many threads; one of them makes, the others wait."""

    def __init__(self, store: InventoryStore, *, tenant: str, names: Sequence[str]) -> None:
        """`names` are the facts that sidecars are told."""
        self._store = store
        self._tenant = tenant
        self._names = tuple(names)
        self._lock = threading.Lock()
        self._newest: Snapshot | None = None

    def of(self, *, seq: int, fence: int, least: int, sign: Sign, now: float) -> Snapshot:
        """Return a snapshot of at least `least`, made at `seq` now unless there is a recent one of this fence."""
        with self._lock:
            found = self._newest
            if (
                found is None
                or found.fence != fence
                or found.seq < least
                or not 0 <= now - found.made_at <= KEPT_SECONDS
            ):
                found = self._newest = self._make(seq, fence, sign, now)
            return found

    def forget(self) -> None:
        """Have the next one made anew."""
        with self._lock:
            self._newest = None

    def _make(self, seq: int, fence: int, sign: Sign, now: float) -> Snapshot:
        # The order was read before the records: what changed since comes again as an event, and brings nothing.
        unsigned: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed below, or with the snapshot)
        with unsigned:
            pages = []
            for page in self._pages(now):
                pages.append((unsigned.tell(), len(page)))
                unsigned.write(page)
            signed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
            places = []
            for number, (start, length) in enumerate(pages, 1):
                unsigned.seek(start)
                events = msgspec.json.decode(unsigned.read(length), type=tuple[Announced, ...])
                part = sign(
                    SnapshotPart(tenant=self._tenant, fence=fence, seq=seq, part=number, of=len(pages), events=events)
                )
                places.append((signed.tell(), len(part)))
                signed.write(part)
            signed.flush()
        return Snapshot(seq, fence, now, signed, places)

    def _pages(self, now: float) -> Iterator[bytes]:
        """Yield JSON lists of what has to be told; at least one."""
        with self._store.reading(self._tenant) as tx:
            waiting: list[bytes] = []
            size = 0
            for type_, data in self._told(tx, int(now)):
                waiting.append(b'{"type":"%b","data":%b}' % (type_.encode(), data))
                size += len(waiting[-1])
                if size >= PART_BYTES:
                    yield b"[" + b",".join(waiting) + b"]"
                    waiting, size = [], 0
            yield b"[" + b",".join(waiting) + b"]"

    def _told(self, tx: Transaction, now: int) -> Iterator[tuple[str, bytes]]:
        yield from situation_data(tx, now)
        yield from release_data(tx)
        after = ""
        while page := tx.devices.page(DeviceFilter(), after=after, limit=PAGE):
            for device in page:
                yield "device.changed", device_data(publish(device, names=self._names, now=now))
            after = page[-1].device_id
        place = ("", "")
        while people := tx.situation.subjects(after=place, limit=PAGE):
            for record in people:
                yield "subject.changed", msgspec.json.encode(record)
            place = (people[-1].issuer, people[-1].id)
        after = ""
        while held := tx.sessions.page(after=after, limit=PAGE):
            for session in held:
                if session.record.until > now:
                    yield "session.changed", msgspec.json.encode(session.record)
            after = held[-1].record.sid


def release_data(tx: Transaction) -> Iterator[tuple[str, bytes]]:
    """Yield the newest release that everybody is to have, and one after it that is on its way."""
    settled, newest = tx.releases.last("released", settled=True), tx.releases.last("released")
    if settled is not None:
        yield "bundle.released", release_notice(tx, bytes(settled.notice), settled=True)
    if newest is not None and newest != settled:
        yield "bundle.released", release_notice(tx, bytes(newest.notice), settled=False)


class _Ending(msgspec.Struct):
    until: int | str | None = None


def situation_data(tx: Transaction, now: int) -> Iterator[tuple[str, bytes]]:
    """Yield what is going on, as events say it. Calm is said, never left out; a revocation that has ended is."""
    levels = tx.situation.all("threat_level")
    yield "threat_level.changed", next(iter(levels.values()), b'{"threat_level":0}')
    for kind in ("overlay", "grant", "continuity"):
        for body in tx.situation.all(kind).values():
            yield f"{kind}.changed", body
    freeze = freeze_data(remembered(tx), now=now)
    if freeze is not None:
        yield EVENT, freeze
    yield from staged_data(tx)
    for body in tx.situation.all("revocation").values():
        until = msgspec.json.decode(body, type=_Ending).until
        if not isinstance(until, int) or until >= now:
            yield "revocation.added", body


def device_data(record: DeviceRecord) -> bytes:
    """Return the `data` of `device.changed`."""
    return msgspec.json.encode(record, enc_hook=_plain)


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(type(value).__name__)
