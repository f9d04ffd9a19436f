"""Where the rules about signals stand, and when each has to be looked at again."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from zt_engine.adapters.store_sql.columns import Json, Name, Number

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "signals",
        Column("tenant", Name(), primary_key=True),
        Column("id", Name(), primary_key=True),
        Column("version", Number(), nullable=False),
        Column("due", Number(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "signals", ["tenant", "due"])
