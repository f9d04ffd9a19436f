"""Who is revoked, for pages: looked up in memory, and brought up to date with what was announced since.

There may be two hundred thousand revocations, so all of them are read rarely. What is announced is followed in between;
should nobody sequence what is announced, the next reading of all still finds it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import msgspec

from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.revocable import RevocationName, session_names
from zt_engine.core.session import SessionRecord

SECONDS: Final = 2.0
"""How old what is known may be."""
WHOLE_SECONDS: Final = 60.0
"""How long announcements are relied on."""
_EVENTS: Final = 1000
_KINDS: Final = ("subject", "session", "jti", "device")
_FOREVER: Final = float("inf")


class _Told(msgspec.Struct):
    kind: str
    key: str
    until: int | None = None


_told: Final = msgspec.json.Decoder(_Told).decode


class Revoked:
    """The revocations that concern people. For use by many threads."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._looked_at = self._read_at = float("-inf")
        self._cursor = 0
        self._until: dict[tuple[str, str], float] = {}

    def __call__(self, record: SessionRecord, *, now: float) -> RevocationName | None:
        """Return the first name of a session by which it, its person or its device is revoked; None for none."""
        self._refresh()
        return next((name for name in session_names(record) if self._until.get(name, -1.0) >= now), None)

    def _refresh(self) -> None:
        with self._lock:
            elapsed = self._plane.clock.elapsed()
            if 0 <= elapsed - self._looked_at < SECONDS:
                return
            if not 0 <= elapsed - self._read_at < WHOLE_SECONDS or not self._follow():
                self._read()
                self._read_at = elapsed
            self._looked_at = elapsed

    def _read(self) -> None:
        """Read all of them, and where to go on from: what is announced meanwhile is told twice."""
        tenant = self._plane.settings.tenant
        self._cursor = self._plane.changes.span(tenant)[1]
        with self._plane.store.reading(tenant) as tx:
            held = tx.situation.all("revocation")
        self._until = {}
        self._add(held.values())

    def _follow(self) -> bool:
        """Take in what was announced; whether nothing of it is forgotten already."""
        tenant = self._plane.settings.tenant
        first, last = self._plane.changes.span(tenant)
        if not first - 1 <= self._cursor <= last:
            return False
        while events := self._plane.changes.events(tenant, after=self._cursor, limit=_EVENTS):
            self._add(event.data for event in events if event.type == "revocation.added")
            self._cursor = events[-1].seq
        return True

    def _add(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            one = _told(body)
            if one.kind in _KINDS:
                until = _FOREVER if one.until is None else float(one.until)
                self._until[one.kind, one.key] = max(until, self._until.get((one.kind, one.key), -1.0))
