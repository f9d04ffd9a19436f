"""Enrollments are found by their person and by words, as devices are; those that were there before as well."""

from __future__ import annotations

import json
from collections.abc import Mapping

from alembic import op
from sqlalchemy import Column, Connection, column, select, table, update

from zt_engine.adapters.store_sql.columns import Json, Name, Prose

revision = "0007"
down_revision = "0006"

_BATCH = 500
_enrollments = table(
    "enrollments",
    column("tenant", Name()),
    column("id", Name()),
    column("body", Json()),
    column("issuer", Name()),
    column("subject", Name()),
    column("search", Prose()),
)


def upgrade() -> None:
    op.add_column("enrollments", Column("issuer", Name(), nullable=False, server_default=""))
    op.add_column("enrollments", Column("subject", Name(), nullable=False, server_default=""))
    op.add_column("enrollments", Column("search", Prose(), nullable=False, server_default=""))
    _fill(op.get_bind())
    op.create_index(None, "enrollments", ["tenant", "subject", "id"])


def _fill(connection: Connection) -> None:
    held = _enrollments.c
    every = select(held.tenant, held.id, held.body).order_by(held.tenant, held.id).limit(_BATCH)
    rows = connection.execute(every).all()
    while rows:
        for row in rows:
            here = (held.tenant == row.tenant, held.id == row.id)
            connection.execute(update(_enrollments).where(*here).values(**_searched(json.loads(row.body))))
        last = rows[-1]
        behind = (held.tenant > last.tenant) | ((held.tenant == last.tenant) & (held.id > last.id))
        rows = connection.execute(every.where(behind)).all()


def _searched(body: Mapping[str, str]) -> dict[str, str]:
    parts = (body.get(name, "") for name in ("id", "subject", "device_id", "invitation"))
    return {
        "issuer": body["issuer"],
        "subject": body["subject"],
        "search": "\n".join(part.replace("\n", " ") for part in parts).casefold(),
    }
