"""Browser sessions, and sign-ins under way."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from zt_engine.adapters.store_sql.columns import Json, Name, Number

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "sign_ins",
        _key("tenant"),
        _key("state"),
        Column("expires_at", Number(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "sign_ins", ["tenant", "expires_at"])
    op.create_table(
        "sessions",
        _key("tenant"),
        _key("sid"),
        Column("issuer", Name(), nullable=False),
        Column("subject", Name(), nullable=False),
        Column("provider_session", Name(), nullable=False),
        Column("until", Number(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "sessions", ["tenant", "issuer", "subject"])
    op.create_index(None, "sessions", ["tenant", "issuer", "provider_session"])
    op.create_index(None, "sessions", ["tenant", "until"])


def _key(name: str) -> Column[str]:
    return Column(name, Name(), primary_key=True)
