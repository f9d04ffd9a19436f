"""Where alembic gets its connection from: the program, which also begins and commits the transaction."""

from __future__ import annotations

from alembic import context

from zt_engine.adapters.store_sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
