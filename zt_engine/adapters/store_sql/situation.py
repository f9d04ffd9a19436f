"""Subjects, overlays, grants, revocations and the threat level, as the JSON that sidecars are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.failures import CONFLICT
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import situation, subjects
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.core.identity import SubjectRecord

_decode: Final = msgspec.json.Decoder(SubjectRecord).decode

_subjects: Final = select(subjects.c.body).where(subjects.c.tenant == THIS_TENANT)
_subject: Final = _subjects.where(
    subjects.c.issuer == bindparam("issuer", type_=Name()), subjects.c.id == bindparam("id", type_=Name())
)
_put_subject: Final = Upsert(subjects, when=lambda row: subjects.c.version < row.version)
_put: Final = Upsert(situation)
_remove: Final = delete(situation).where(
    situation.c.tenant == THIS_TENANT,
    situation.c.kind == bindparam("this_kind", type_=Name()),
    situation.c.id == bindparam("this_id", type_=Name()),
)
_all: Final = (
    select(situation.c.id, situation.c.body)
    .where(situation.c.tenant == THIS_TENANT, situation.c.kind == bindparam("kind", type_=Name()))
    .order_by(situation.c.id)
)


class SqlSituation:
    """The situation of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def subject(self, issuer: str, subject_id: str) -> SubjectRecord | None:
        """Return a subject's record, locked for the rest of a writing transaction."""
        row = self._session.locked(_subject, issuer=issuer, id=subject_id)
        return None if row is None else _decode(row.body)

    def put_subject(self, record: SubjectRecord) -> None:
        """Insert or replace; STORE_CONFLICT when its version did not grow."""
        if not self._session.upsert(
            _put_subject,
            issuer=record.issuer,
            id=record.id,
            version=record.version,
            status=record.status,
            body=encode(record),
        ):
            raise self._session.refuse(CONFLICT)

    def subjects(self, *, after: tuple[str, str], limit: int) -> Sequence[SubjectRecord]:
        """Return subjects in the order of issuer and id."""
        place = tuple_(subjects.c.issuer, subjects.c.id)
        query = _subjects.where(place > after).order_by(subjects.c.issuer, subjects.c.id).limit(limit)
        return tuple(_decode(row.body) for row in self._session.locked_rows(query))

    def put(self, kind: str, id_: str, body: bytes | None) -> None:
        """Insert, replace or (None) remove an `overlay`, `grant`, `revocation` or the `threat_level`."""
        if body is None:
            self._session.change(_remove, this_kind=kind, this_id=id_)
        else:
            self._session.upsert(_put, kind=kind, id=id_, body=body)

    def all(self, kind: str) -> Mapping[str, bytes]:
        """Return everything of one kind by its id, in the order of the ids."""
        return {row.id: row.body for row in self._session.rows(_all, kind=kind)}
