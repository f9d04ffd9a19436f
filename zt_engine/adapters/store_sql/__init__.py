"""The inventory's database: SQLite for one machine, PostgreSQL for many, behind the same tables."""

from __future__ import annotations

from zt_engine.adapters.store_sql.store import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
