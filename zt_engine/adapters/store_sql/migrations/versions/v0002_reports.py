"""When each device last reported has a column of its own, so that a fleet that falls silent is counted, not read.

Devices that were there before are counted from their next report on.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from zt_engine.adapters.store_sql.columns import Number

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("devices", Column("reported_at", Number(), nullable=False, server_default="0"))
    op.create_index(None, "devices", ["tenant", "status", "reported_at"])
