"""Who is revoked, for pages: looked up in memory, and read again when what is known is some seconds old."""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.session import SessionRecord

SECONDS: Final = 3.0
_KINDS: Final = ("subject", "session", "device")


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
        self._read_at = float("-inf")
        self._known: dict[str, _Told] = {}
        self._until: dict[tuple[str, str], float] = {}

    def __call__(self, record: SessionRecord, *, now: float) -> bool:
        """Whether a session, its person or its device is revoked."""
        self._refresh()
        named = (
            ("subject", f"{record.issuer}|{record.subject}"),
            ("session", record.sid),
            ("session", record.provider_session),
            ("device", record.device_id),
        )
        return any(self._until.get(one, -1.0) >= now for one in named if one[1])

    def _refresh(self) -> None:
        with self._lock:
            elapsed = self._plane.clock.elapsed()
            if 0 <= elapsed - self._read_at < SECONDS:
                return
            with self._plane.store.reading(self._plane.settings.tenant) as tx:
                held = tx.situation.all("revocation")
            self._known = {name: self._known.get(name) or _told(body) for name, body in held.items()}
            until: dict[tuple[str, str], float] = {}
            for one in self._known.values():
                if one.kind in _KINDS:
                    end = float("inf") if one.until is None else float(one.until)
                    until[one.kind, one.key] = max(end, until.get((one.kind, one.key), -1.0))
            self._until = until
            self._read_at = elapsed
