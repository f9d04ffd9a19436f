"""The tables are made, and changed from one version of the program to the next, by the migrations beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from zt_engine.adapters.store_sql.engine import Database, mapped
from zt_engine.core.errors import ConfigError, Problem

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x7A74_5C4E


def migrate(database: Database) -> None:
    """Bring the tables to this version of the program, in one transaction; one of several programs does it.

    ConfigError STORE_SCHEMA when a newer version of the program has already changed them: an older one would not know
    what it overlooks.
    """
    with database.writing() as connection, mapped():
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = _config(connection)
        here = revision(connection)
        if here is not None and here not in _known(config):
            raise ConfigError(
                (Problem(code="STORE_SCHEMA", message=f"the database was changed by a newer version: `{here}`"),)
            )
        command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """Return the version of the tables, None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _known(config: Config) -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())
