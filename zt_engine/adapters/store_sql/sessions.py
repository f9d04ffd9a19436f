"""Browser sessions, and sign-ins under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Select, bindparam, delete, insert, select

from zt_engine.adapters.store_sql.columns import Name, Number
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import sessions, sign_ins
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.ports.sessions import HeldSession, PendingSignIn

_held: Final = msgspec.json.Decoder(HeldSession).decode
_pending: Final = msgspec.json.Decoder(PendingSignIn).decode

_begin: Final = insert(sign_ins)
_take: Final = (
    delete(sign_ins)
    .where(sign_ins.c.tenant == THIS_TENANT, sign_ins.c.state == bindparam("this_state", type_=Name()))
    .returning(sign_ins.c.body)
)
_over: Final = delete(sign_ins).where(
    sign_ins.c.tenant == THIS_TENANT, sign_ins.c.expires_at <= bindparam("this_moment", type_=Number())
)
_mine: Final = select(sessions.c.body).where(sessions.c.tenant == THIS_TENANT)
_get: Final = _mine.where(sessions.c.sid == bindparam("sid", type_=Name()))
_put: Final = Upsert(sessions)
_remove: Final = delete(sessions).where(
    sessions.c.tenant == THIS_TENANT, sessions.c.sid == bindparam("this_sid", type_=Name())
)


class SqlSessions:
    """The sessions of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, pending: PendingSignIn) -> None:
        """Keep a sign-in that was begun."""
        self._session.insert(
            _begin, {"state": pending.state, "expires_at": pending.expires_at, "body": encode(pending)}
        )

    def take(self, state: str, *, now: int) -> PendingSignIn | None:
        """Return a sign-in under way and forget it: only one of two transactions can."""
        rows = self._session.taken(_take, this_state=state)
        found = _pending(rows[0].body) if rows else None
        return found if found is not None and now < found.expires_at else None

    def get(self, sid: str) -> HeldSession | None:
        """Return a session, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, sid=sid)
        return None if row is None else _held(row.body)

    def put(self, session: HeldSession) -> None:
        """Insert or replace."""
        record = session.record
        self._session.upsert(
            _put,
            sid=record.sid,
            issuer=record.issuer,
            subject=record.subject,
            provider_session=record.provider_session,
            until=record.until,
            body=encode(session),
        )

    def remove(self, sid: str) -> None:
        """Forget a session."""
        self._session.change(_remove, this_sid=sid)

    def of_person(self, issuer: str, subject: str) -> Sequence[HeldSession]:
        """Return every session of a person, locked, in the order of their ids."""
        return self._found(_mine.where(sessions.c.issuer == issuer, sessions.c.subject == subject))

    def of_provider(self, issuer: str, provider_session: str) -> Sequence[HeldSession]:
        """Return every session that came from one session at the provider, locked."""
        return self._found(_mine.where(sessions.c.issuer == issuer, sessions.c.provider_session == provider_session))

    def page(self, *, after: str, limit: int) -> Sequence[HeldSession]:
        """Return sessions in the order of their ids."""
        return self._found(_mine.where(sessions.c.sid > after).limit(limit))

    def over(self, *, now: int, limit: int) -> Sequence[HeldSession]:
        """Return sessions that prove nothing any more, locked; pending sign-ins that are over are removed."""
        self._session.change(_over, this_moment=now)
        return self._found(_mine.where(sessions.c.until <= now).limit(limit))

    def _found(self, query: Select[Any]) -> Sequence[HeldSession]:
        rows = self._session.locked_rows(query.order_by(sessions.c.sid))
        return tuple(_held(row.body) for row in rows)
