"""The lines of imported asset ledgers, found by the hash of their serial number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, select

from device_inventory.asset_ledger import Asset
from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import assets
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode

_decode: Final = msgspec.json.Decoder(Asset).decode

_of_serial: Final = (
    select(assets.c.body)
    .where(assets.c.tenant == THIS_TENANT, assets.c.serial_hash == bindparam("serial_hash", type_=Name()))
    .order_by(assets.c.source)
)
_put: Final = Upsert(assets, when=lambda new: assets.c.heard_at <= new.heard_at)


class SqlAssets:
    """The ledger lines of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, asset: Asset) -> None:
        """Insert or replace the line of this serial number and source; an older word changes nothing."""
        self._session.upsert(
            _put,
            serial_hash=asset.serial_hash,
            source=asset.source,
            heard_at=asset.heard_at,
            body=encode(asset),
        )

    def of_serial(self, serial_hash: str) -> Sequence[Asset]:
        """Return every line with this serial number, in the order of their sources; none for an empty one."""
        if not serial_hash:
            return ()
        return tuple(_decode(row.body) for row in self._session.rows(_of_serial, serial_hash=serial_hash))
