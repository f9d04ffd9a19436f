"""Enrollments under way and done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, select

from device_inventory.enrollment import Enrollment
from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import enrollments
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.ports.inventory import EnrollmentFilter

_decode: Final = msgspec.json.Decoder(Enrollment).decode

_mine: Final = select(enrollments.c.body).where(enrollments.c.tenant == THIS_TENANT)
_get: Final = _mine.where(enrollments.c.id == bindparam("id", type_=Name()))
_of_device: Final = _mine.where(enrollments.c.device_id == bindparam("device_id", type_=Name()))
_put: Final = Upsert(enrollments)


class SqlEnrollments:
    """The enrollments of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, enrollment_id: str) -> Enrollment | None:
        """Return an enrollment, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=enrollment_id)
        return None if row is None else _decode(row.body)

    def of_device(self, device_id: str) -> Enrollment | None:
        """Return the enrollment a device came from; locked likewise."""
        row = self._session.locked(_of_device, device_id=device_id)
        return None if row is None else _decode(row.body)

    def put(self, enrollment: Enrollment) -> None:
        """Insert or replace; STORE_CONFLICT when the device came from another one."""
        self._session.upsert(_put, id=enrollment.id, **_columns(enrollment))

    def page(self, wanted: EnrollmentFilter, *, after: str, limit: int) -> Sequence[Enrollment]:
        """Return up to `limit` enrollments with ids above `after`, in the order of their ids."""
        query = _mine.where(enrollments.c.id > after)
        if wanted.states is not None:
            query = query.where(enrollments.c.state.in_(wanted.states))
        for column, value in (
            (enrollments.c.issuer, wanted.issuer),
            (enrollments.c.subject, wanted.subject),
            (enrollments.c.device_id, wanted.device_id),
            (enrollments.c.invitation, wanted.invitation),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.text:
            query = query.where(enrollments.c.search.contains(wanted.text.casefold(), autoescape=True))
        rows = self._session.locked_rows(query.order_by(enrollments.c.id).limit(limit))
        return tuple(_decode(row.body) for row in rows)


def _columns(enrollment: Enrollment) -> dict[str, object]:
    searched = (enrollment.id, enrollment.subject, enrollment.device_id, enrollment.invitation)
    return {
        "invitation": enrollment.invitation,
        "issuer": enrollment.issuer,
        "subject": enrollment.subject,
        "state": enrollment.state,
        "device_id": enrollment.device_id or None,
        "not_after": enrollment.not_after,
        "search": "\n".join(text.replace("\n", " ") for text in searched).casefold(),
        "body": encode(enrollment),
    }
