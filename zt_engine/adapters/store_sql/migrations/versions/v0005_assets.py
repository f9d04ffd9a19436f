"""The lines of imported asset ledgers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from zt_engine.adapters.store_sql.columns import Json, Name, Number

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "assets",
        _key("tenant"),
        _key("serial_hash"),
        _key("source"),
        Column("heard_at", Number(), nullable=False),
        Column("body", Json(), nullable=False),
    )


def _key(name: str) -> Column[str]:
    return Column(name, Name(), primary_key=True)
