"""A backup: every row as a line of JSON, the same for both databases, so that either restores the other's.

The first line says what it is, the last one how many rows there were and what their SHA-256 is, so a file that was cut
off or changed is noticed before anything of it counts. It holds personal data and no secret: invitation codes and
enrollment secrets are digests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, func, insert, select, update

from zt_engine.adapters.owned_files import UnownedError, examine
from zt_engine.adapters.store_sql.columns import Json
from zt_engine.adapters.store_sql.engine import mapped
from zt_engine.adapters.store_sql.schema import revision
from zt_engine.adapters.store_sql.tables import (
    answers,
    ceremonies,
    changes,
    counters,
    election,
    metadata,
    nonces,
    outbox,
)
from zt_engine.core.errors import ConfigError, Problem

FORMAT: Final = "zt-store-backup"
LEAP: Final = 1_000_000
"""What happened after the backup was taken is not in it, but sidecars have seen it. So the numbers of changes and
fences go on where no sidecar can have been: every one of them begins with a snapshot, and no sequencer of before is
believed."""
_LEFT_OUT: Final = (changes, nonces, answers, ceremonies)
"""Nobody goes on in the old numbers; what could be used once then must not be usable twice; and an answer may hold what
was shown once."""
_BATCH: Final = 500
_MAX_LINE: Final = 64 * 2**20
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_Record = TypeVar("_Record")


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    schema: str | None


class _End(msgspec.Struct, frozen=True, kw_only=True):
    rows: int
    sha256: str


def write(connection: Connection, path: Path) -> int:
    """Write every row that a reading transaction sees. The file appears under its name when it is whole."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with open(os.open(partial, _NEW, 0o600), "wb") as file:
            count = _write_all(connection, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise _refused("STORE_BACKUP_FILE", f"`{path}` cannot be written: {error.strerror}") from error
    return count


def load(connection: Connection, path: Path) -> int:
    """Insert every row of a backup in a writing transaction, which the caller undoes when this raises.

    The file is read to its end before the first row of it is inserted.
    """
    with mapped():
        here = revision(connection)
        for table in metadata.sorted_tables:
            if table is not election and connection.execute(select(func.count()).select_from(table)).scalar_one():
                raise _refused("STORE_NOT_EMPTY", f"`{table.name}` has rows already")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            examine(os.fstat(file.fileno()))
            rows = _verify(file, schema=here)
            file.seek(0)
            _read_line(file)
            loader = _Loader(connection)
            for _ in range(rows):
                loader.add(_read_line(file))
            loader.finish()
    except OSError as error:
        raise _refused("STORE_BACKUP_FILE", f"`{path}` cannot be read: {error.strerror}") from error
    except UnownedError as error:
        raise _refused("STORE_BACKUP_FILE", f"`{path}` is not believed: {error.message}") from None
    _leap(connection)
    return rows


def _write_all(connection: Connection, file: BinaryIO) -> int:
    digest = hashlib.sha256()
    count = -1
    with mapped():
        head = msgspec.json.encode(_Head(format=FORMAT, schema=revision(connection))) + b"\n"
        for line in chain((head,), _lines(connection)):
            digest.update(line)
            file.write(line)
            count += 1
    file.write(msgspec.json.encode(_End(rows=count, sha256=digest.hexdigest())) + b"\n")
    return count


def _verify(file: BinaryIO, *, schema: str | None) -> int:
    """Return how many rows there are, once it is certain that they are those that were written."""
    head = _read_line(file)
    if _decoded(head, _Head) != _Head(format=FORMAT, schema=schema):
        raise _refused("STORE_BACKUP", f"not a backup of tables of version `{schema}`")
    digest = hashlib.sha256(head)
    rows = 0
    while (line := _read_line(file)).startswith(b"["):
        digest.update(line)
        rows += 1
    if _decoded(line, _End) != _End(rows=rows, sha256=digest.hexdigest()) or file.read(1):
        raise _refused("STORE_BACKUP", "cut off, or changed after it was written")
    return rows


def _lines(connection: Connection) -> Iterator[bytes]:
    for table in metadata.sorted_tables:
        if table in _LEFT_OUT:
            continue
        rows = connection.execution_options(yield_per=_BATCH).execute(select(table).order_by(*table.primary_key))
        for row in rows:
            values = {str(column.name): _portable(column, value) for column, value in zip(table.c, row, strict=True)}
            yield msgspec.json.encode([str(table.name), values]) + b"\n"


def _portable(column: Column[Any], value: Any) -> object:
    if isinstance(column.type, LargeBinary):
        return base64.b64encode(value).decode()
    return value.decode() if isinstance(column.type, Json) else value


def _native(column: Column[Any], value: Any) -> object:
    if isinstance(column.type, LargeBinary):
        return base64.b64decode(value, validate=True)
    return value.encode() if isinstance(column.type, Json) else value


class _Loader:
    """Inserts rows in the order of the tables, so that a row that is referred to is there already."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._table = ""
        self._rows: list[dict[str, object]] = []

    def add(self, line: bytes) -> None:
        try:
            name, values = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
            table = metadata.tables[name]
            row = {column: _native(table.c[column], value) for column, value in values.items()}
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise _refused("STORE_BACKUP", "a row is none of ours") from None
        if table is outbox:
            del row["id"]  # the database counts on by itself; what was first stays first
        if name != self._table or len(self._rows) == _BATCH:
            self.finish()
        self._table = name
        self._rows.append(row)

    def finish(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        table = metadata.tables[self._table]
        with mapped():
            if table is election:
                self._connection.execute(update(election).values(fence=rows[0]["fence"]))
            else:
                self._connection.execute(insert(table), rows)


def _leap(connection: Connection) -> None:
    tenants: set[str] = set()
    with mapped():
        for table in metadata.sorted_tables:
            if table is not election:
                tenants.update(connection.execute(select(table.c.tenant).distinct()).scalars())
        known = set(connection.execute(select(counters.c.tenant).where(counters.c.name == "changes")).scalars())
        leaping = counters.c.name.in_(
            ("changes", "releases")
        )  # a release of after the backup is not to be one of before
        connection.execute(update(counters).where(leaping).values(value=counters.c.value + LEAP))
        for tenant in sorted(tenants - known):
            connection.execute(insert(counters).values(tenant=tenant, name="changes", value=LEAP))
        connection.execute(update(election).values(fence=election.c.fence + LEAP))


def _read_line(file: BinaryIO) -> bytes:
    line = file.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise _refused("STORE_BACKUP", "cut off, or no backup at all")
    return line


def _decoded(line: bytes, kind: type[_Record]) -> _Record | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None


def _refused(code: str, message: str) -> ConfigError:
    return ConfigError((Problem(code=code, message=message),))
