"""Stores for tests, the values that go into them, and a watcher that sees every statement."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event

from device_inventory.enrollment import Enrollment
from device_inventory.inventory import Device, HeldKey
from device_inventory.invitation import Invitation
from tests.postgres import postgres_url
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.core.audit import AuditEvent
from zt_engine.core.identity import SubjectRecord

KINDS = ("memory", "sqlite", "postgresql")
ON_DISK = ("sqlite", "postgresql")
TENANT = "main"
NOW = 1_700_000_000
_T = TypeVar("_T")


@contextlib.contextmanager
def store_url(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database of one kind."""
    if kind == "memory":
        yield "sqlite://"
    elif kind == "sqlite":
        yield f"sqlite:///{folder}/store.db"
    else:
        with postgres_url() as url:
            yield url


@cache
def _migrated() -> bytes:
    """The pages of a migrated, empty database: migrating takes fifty times as long as copying them."""
    store = open_store("sqlite://")
    store.migrate()
    pages: bytes = _raw(store).serialize()
    store.close()
    return pages


def memory_store() -> SqlStore:
    """A migrated, empty store in memory."""
    store = open_store("sqlite://")
    _raw(store).deserialize(_migrated())
    return store


def reset_store(store: SqlStore) -> None:
    """Make a store in memory as it was when it was made."""
    _raw(store).deserialize(_migrated())


def _raw(store: SqlStore) -> Any:
    """The one connection of a store in memory, as `sqlite3` made it."""
    with store._database.engine.connect() as connection:
        return connection.connection.driver_connection


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[SqlStore]:
    """Yield a migrated, empty store of one kind."""
    with store_url(kind, folder) as url:
        # What is not a file is a copy of a migrated database already.
        store = memory_store() if kind == "memory" else open_store(url)
        try:
            if kind == "sqlite":
                store.migrate()
            yield store
        finally:
            store.close()


def device(device_id: str = "d1", *, version: int = 1, tenant: str = TENANT, **members: Any) -> Device:
    """A device as the inventory holds it."""
    wanted = {"status": "active", "ownership": "corp", "created_at": NOW} | members
    return Device(tenant=tenant, device_id=device_id, version=version, **wanted)


def key(name: str, *, spki: str = "") -> HeldKey:
    """A key by the name of its certificate."""
    return HeldKey(
        x5t=f"x5t-{name}",
        spki=spki or f"spki-{name}",
        jkt=f"jkt-{name}",
        jwk={"kty": "EC"},
        issuer="CN=ca",
        serial=name,
        not_before=NOW,
        not_after=NOW + 86400,
        protection="file",
    )


def invitation(id_: str = "i1", *, code: str = "", tenant: str = TENANT, **members: Any) -> Invitation:
    """An open invitation."""
    wanted = {"ownership": "corp", "invited_by": "admin:a", "created_at": NOW, "not_after": NOW + 3600} | members
    return Invitation(
        tenant=tenant,
        id=id_,
        code_digest=code or f"code-{id_}",
        issuer="https://idp",
        subject="p1",
        assigned="person",
        **wanted,
    )


def enrollment(id_: str = "e1", *, tenant: str = TENANT, **members: Any) -> Enrollment:
    """An enrollment that has just begun."""
    wanted = {"state": "identified", "started_at": NOW, "changed_at": NOW, "not_after": NOW + 3600} | members
    return Enrollment(
        tenant=tenant,
        id=id_,
        invitation="i1",
        issuer="https://idp",
        subject="p1",
        secret_digest=f"secret-{id_}",
        **wanted,
    )


def subject(id_: str = "s1", *, issuer: str = "https://idp", version: int = 1, **members: Any) -> SubjectRecord:
    """A subject's record."""
    wanted = {
        "status": "active",
        "groups": ("g",),
        "compartments": (),
        "clearance": 1,
        "org": "o",
        "valid_until": None,
    }
    return SubjectRecord(id=id_, issuer=issuer, version=version, **(wanted | members))


def audited(object_: str = "device:d1", **members: Any) -> AuditEvent:
    """An audit event that has no place yet."""
    return AuditEvent(at=NOW, actor="admin:a", action="device.revoked", object=object_, **members)


def there(value: _T | None) -> _T:
    """What a look-up found, which has to be something."""
    assert value is not None
    return value


_WHOLE_DATABASE = re.compile(
    # The sequencer's office, the version of the tables, and the removal of what is over.
    r"(SELECT|UPDATE) (election|election\.fence|alembic_version)\b.*"
    r"|DELETE FROM (nonces|used_ids|answers|ceremonies) WHERE \2?\w+\.expires_at <= \S+",
    re.DOTALL,
)
_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE) (\w+)")


class Watcher:
    """Sees what a store sends to its database."""

    def __init__(self, store: SqlStore) -> None:
        self.statements: list[str] = []
        event.listen(store._database.engine, "before_cursor_execute", self._see)

    def _see(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def without_tenant(self) -> list[str]:
        """The statements about a tenant's tables that do not name the tenant for each of them."""
        return [statement for statement in self.statements if not _names_tenant(statement)]


def _names_tenant(statement: str) -> bool:
    verb = statement.split(maxsplit=1)[0]
    if verb not in {"SELECT", "INSERT", "UPDATE", "DELETE"} or _WHOLE_DATABASE.fullmatch(statement):
        return True
    if verb == "INSERT":
        return re.match(r"INSERT INTO \w+ \([^)]*\btenant\b[^)]*\)", statement) is not None
    return len(_TABLE.findall(statement)) == len(re.findall(r"\btenant = ", statement))
