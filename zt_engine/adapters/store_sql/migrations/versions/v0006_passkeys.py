"""Keys people prove themselves with, and ceremonies under way."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from zt_engine.adapters.store_sql.columns import Json, Name, Number

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "passkeys",
        _key("tenant"),
        _key("id"),
        Column("issuer", Name(), nullable=False),
        Column("subject", Name(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "passkeys", ["tenant", "issuer", "subject"])
    op.create_table(
        "ceremonies",
        _key("tenant"),
        _key("id"),
        Column("expires_at", Number(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "ceremonies", ["expires_at"])


def _key(name: str) -> Column[str]:
    return Column(name, Name(), primary_key=True)
