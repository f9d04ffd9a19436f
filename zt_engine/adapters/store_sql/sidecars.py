"""The sidecars that joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, select

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import sidecars
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.ports.inventory import SidecarRecord

_decode: Final = msgspec.json.Decoder(SidecarRecord).decode

_all: Final = select(sidecars.c.body).where(sidecars.c.tenant == THIS_TENANT)
_get: Final = _all.where(sidecars.c.id == bindparam("id", type_=Name()))
_put: Final = Upsert(sidecars)


class SqlSidecars:
    """The sidecars of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, sidecar_id: str) -> SidecarRecord | None:
        """Return a sidecar, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=sidecar_id)
        return None if row is None else _decode(row.body)

    def put(self, sidecar: SidecarRecord) -> None:
        """Insert or replace."""
        self._session.upsert(_put, id=sidecar.id, body=encode(sidecar))

    def put_all(self, sidecars: Sequence[SidecarRecord]) -> None:
        """Insert or replace many."""
        self._session.upsert_all(_put, [{"id": one.id, "body": encode(one)} for one in sidecars])

    def all(self) -> Sequence[SidecarRecord]:
        """Return every sidecar in the order of their ids, locked for the rest of a writing transaction."""
        return tuple(_decode(row.body) for row in self._session.locked_rows(_all.order_by(sidecars.c.id)))
