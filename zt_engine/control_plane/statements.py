"""How a sidecar proves who it is: signed with the key it joined with, for a minute, for this control plane, once.

Hundreds prove it in the same second, so the records of all sidecars are read together and count for a second. Whoever
is cut off here is known to be at once; whoever another control plane cuts off, within that second.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.errors import InputError
from zt_engine.core.jose import MAX_TOKEN_BYTES, split_compact
from zt_engine.core.stream import SIDECAR_TYPE
from zt_engine.ports.inventory import SidecarRecord

STATEMENT_SECONDS: Final = 60
SKEW_SECONDS: Final = 60
MAX_STATEMENTS: Final = 250_000
RECORDS_SECONDS: Final = 1.0


class Statements:
    """Judges the statements of a tenant's sidecars. For use by many threads."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._reading = threading.Lock()
        self._records: Mapping[str, SidecarRecord] = {}
        self._good_until = 0.0
        self._turn = 0

    def forget(self) -> None:
        """Ask the database again who there is."""
        with self._lock:
            self._turn += 1
            self._good_until = 0.0

    def identify(self, statement: bytes) -> SidecarRecord:
        """Return the sidecar that signed this; InputError AUTH_REFUSED, also for one that was revoked."""
        claimed = _claimed(statement)
        if not self._fresh:
            self._read()
        record = self._records.get(claimed)
        if record is None:  # it may have joined just now
            with self._plane.store.reading(self._plane.settings.tenant) as tx:
                record = tx.sidecars.get(claimed)
        return self._proven(statement, record)

    def at_once(self, statement: bytes) -> SidecarRecord | None:
        """Do the same without asking the database; None when it has to be asked."""
        if not self._fresh:
            return None
        record = self._records.get(_claimed(statement))
        return None if record is None else self._proven(statement, record)

    @property
    def _fresh(self) -> bool:
        return self._plane.clock.elapsed() < self._good_until

    def _read(self) -> None:
        with self._reading:
            if self._fresh:
                return
            turn, began = self._turn, self._plane.clock.elapsed()
            with self._plane.store.reading(self._plane.settings.tenant) as tx:
                records = {record.id: record for record in tx.sidecars.all()}
            with self._lock:
                self._records = records
                if turn == self._turn:
                    self._good_until = began + RECORDS_SECONDS

    def _proven(self, statement: bytes, record: SidecarRecord | None) -> SidecarRecord:
        settings, now = self._plane.settings, self._plane.clock.now()
        if record is None or record.revoked_at is not None:
            raise InputError("AUTH_REFUSED", "no sidecar of this tenant, or one that was revoked")
        try:
            signed = self._plane.jws.verify(statement, jwk=record.public_key, typ=SIDECAR_TYPE)
        except InputError as error:
            raise InputError("AUTH_REFUSED", error.message) from error
        match signed.claims:
            case {"iss": str() as issuer, "aud": str() as audience, "iat": int(iat), "exp": int(exp), "jti": str(jti)}:
                if issuer != record.id or audience != settings.url:
                    raise InputError("AUTH_REFUSED", "the statement is addressed to somebody else")
                if not (iat - SKEW_SECONDS <= now < exp + SKEW_SECONDS and exp - iat <= STATEMENT_SECONDS):
                    raise InputError("AUTH_REFUSED", "the statement is not for this time")
                self._use(f"{issuer}\n{jti}", exp + SKEW_SECONDS, int(now))
                return record
        raise InputError("AUTH_REFUSED", "the statement lacks a claim")

    def _use(self, statement: str, expires_at: int, now: int) -> None:
        with self._lock:
            if len(self._used) >= MAX_STATEMENTS:
                self._used = {one: end for one, end in self._used.items() if end > now}
            if statement in self._used or len(self._used) >= MAX_STATEMENTS:
                raise InputError("AUTH_REFUSED", "the statement was used before")
            self._used[statement] = expires_at


def _claimed(statement: bytes) -> str:
    parts = split_compact(statement, max_bytes=MAX_TOKEN_BYTES, malformed="AUTH_REFUSED", too_large="AUTH_REFUSED")
    claimed = parts.claims.get("iss")
    return claimed if isinstance(claimed, str) else ""
