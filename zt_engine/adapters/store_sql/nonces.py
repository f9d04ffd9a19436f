"""What may be used once: nonces we hand out, and ids the other side chooses."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, insert

from zt_engine.adapters.store_sql.columns import Name, Number
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import nonces, used_ids
from zt_engine.adapters.store_sql.upsert import Upsert

_add: Final = insert(nonces)
_use: Final = delete(nonces).where(
    nonces.c.tenant == THIS_TENANT,
    nonces.c.digest == bindparam("this_digest", type_=Name()),
    nonces.c.purpose == bindparam("this_purpose", type_=Name()),
    nonces.c.holder == bindparam("this_holder", type_=Name()),
    nonces.c.expires_at > bindparam("this_moment", type_=Number()),
)
_first_use: Final = Upsert(used_ids, when=lambda _: used_ids.c.expires_at <= bindparam("this_moment", type_=Number()))


class SqlNonces:
    """The nonces of a tenant. One is used by removing it, which only one of two transactions can."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, digest: str, *, purpose: str, holder: str, expires_at: int) -> None:
        """Remember a nonce that was handed out."""
        self._session.insert(_add, {"digest": digest, "purpose": purpose, "holder": holder, "expires_at": expires_at})

    def use(self, digest: str, *, purpose: str, holder: str, now: int) -> bool:
        """Whether this nonce was handed out to `holder` for `purpose`, is not over and not used; it is used then.

        It is used when the transaction commits: one that is undone leaves it as it was.
        """
        used = self._session.change(_use, this_digest=digest, this_purpose=purpose, this_holder=holder, this_moment=now)
        return used == 1

    def first_use(self, digest: str, *, purpose: str, expires_at: int, now: int) -> bool:
        """Whether an id the other side chose (`jti`) is new; it is remembered until `expires_at`."""
        return self._session.upsert(_first_use, purpose=purpose, digest=digest, expires_at=expires_at, this_moment=now)
