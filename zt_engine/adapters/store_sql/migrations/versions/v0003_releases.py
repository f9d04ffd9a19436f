"""Policy releases: bundles by their digest, releases by their number, and what OPA clients say of themselves."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, LargeBinary

from zt_engine.adapters.store_sql.columns import Json, Name, Number

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "bundles",
        _key("tenant"),
        _key("digest"),
        Column("kept_at", Number(), nullable=False),
        Column("raw", LargeBinary, nullable=False),
    )
    op.create_table(
        "releases",
        _key("tenant"),
        _key("seq", Number),
        Column("state", Name(), nullable=False),
        Column("settled", Number(), nullable=False),
        Column("bundle_digest", Name(), nullable=False),
        Column("body", Json(), nullable=False),
    )
    op.create_index(None, "releases", ["tenant", "state", "seq"])
    op.create_index(None, "releases", ["tenant", "bundle_digest"])
    op.create_table("opa_clients", _key("tenant"), _key("name"), Column("body", Json(), nullable=False))


def _key(name: str, kind: type[Name | Number] = Name) -> Column[str]:
    return Column(name, kind(), primary_key=True)
