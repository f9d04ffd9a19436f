"""Invitations, found by their id or by the digest of their code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, select

from device_inventory.invitation import Invitation
from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import invitations
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode

_decode: Final = msgspec.json.Decoder(Invitation).decode

_mine: Final = select(invitations.c.body).where(invitations.c.tenant == THIS_TENANT)
_get: Final = _mine.where(invitations.c.id == bindparam("id", type_=Name()))
_of_code: Final = _mine.where(invitations.c.code_digest == bindparam("code_digest", type_=Name()))
_put: Final = Upsert(invitations)


class SqlInvitations:
    """The invitations of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, invitation_id: str) -> Invitation | None:
        """Return an invitation, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=invitation_id)
        return None if row is None else _decode(row.body)

    def of_code(self, code_digest: str) -> Invitation | None:
        """Return the invitation with this code, locked likewise."""
        row = self._session.locked(_of_code, code_digest=code_digest)
        return None if row is None else _decode(row.body)

    def put(self, invitation: Invitation) -> None:
        """Insert or replace; STORE_CONFLICT when another one has the same code."""
        self._session.upsert(
            _put,
            id=invitation.id,
            code_digest=invitation.code_digest,
            state=invitation.state,
            subject=invitation.subject,
            not_after=invitation.not_after,
            body=encode(invitation),
        )

    def page(self, *, after: str, limit: int) -> Sequence[Invitation]:
        """Return invitations in the order of their ids."""
        query = _mine.where(invitations.c.id > after).order_by(invitations.c.id).limit(limit)
        return tuple(_decode(row.body) for row in self._session.locked_rows(query))
