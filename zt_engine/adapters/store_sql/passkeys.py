"""Keys people prove themselves with, and ceremonies under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import ceremonies, passkeys
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.core.webauthn import Passkey
from zt_engine.ports.webauthn import Ceremony

_key: Final = msgspec.json.Decoder(Passkey).decode
_ceremony: Final = msgspec.json.Decoder(Ceremony).decode

_mine: Final = select(passkeys.c.body).where(passkeys.c.tenant == THIS_TENANT)
_get: Final = _mine.where(passkeys.c.id == bindparam("id", type_=Name()))
_of_person: Final = _mine.where(
    passkeys.c.issuer == bindparam("issuer", type_=Name()), passkeys.c.subject == bindparam("subject", type_=Name())
).order_by(passkeys.c.id)
_put: Final = Upsert(passkeys)
_remove: Final = delete(passkeys).where(
    passkeys.c.tenant == THIS_TENANT, passkeys.c.id == bindparam("this_id", type_=Name())
)
_begin: Final = insert(ceremonies)
_look: Final = select(ceremonies.c.body).where(
    ceremonies.c.tenant == THIS_TENANT, ceremonies.c.id == bindparam("id", type_=Name())
)
_take: Final = (
    delete(ceremonies)
    .where(ceremonies.c.tenant == THIS_TENANT, ceremonies.c.id == bindparam("this_id", type_=Name()))
    .returning(ceremonies.c.body)
)


class SqlPasskeys:
    """The keys of a tenant's people."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, key_id: str) -> Passkey | None:
        """Return a key, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=key_id)
        return None if row is None else _key(row.body)

    def put(self, key: Passkey) -> None:
        """Insert or replace."""
        self._session.upsert(_put, id=key.id, issuer=key.issuer, subject=key.subject, body=encode(key))

    def remove(self, key_id: str) -> None:
        """Forget a key."""
        self._session.change(_remove, this_id=key_id)

    def of_person(self, issuer: str, subject: str) -> Sequence[Passkey]:
        """Return every key of a person, locked, in the order of their ids."""
        rows = self._session.locked_rows(_of_person, issuer=issuer, subject=subject)
        return tuple(_key(row.body) for row in rows)

    def begin(self, ceremony: Ceremony) -> None:
        """Keep a ceremony that was begun."""
        self._session.insert(_begin, {"id": ceremony.id, "expires_at": ceremony.expires_at, "body": encode(ceremony)})

    def look(self, ceremony_id: str, *, now: int) -> Ceremony | None:
        """Return a ceremony under way, and leave it."""
        row = self._session.first(_look, id=ceremony_id)
        return None if row is None else _living(row.body, now)

    def take(self, ceremony_id: str, *, now: int) -> Ceremony | None:
        """Return a ceremony under way and forget it: only one of two transactions can."""
        rows = self._session.taken(_take, this_id=ceremony_id)
        return _living(rows[0].body, now) if rows else None


def _living(body: bytes, now: int) -> Ceremony | None:
    found = _ceremony(body)
    return found if now < found.expires_at else None
