"""The tables. What is looked up has a column of its own and an index; the value itself is JSON beside it.

INVARIANT: every table begins with `tenant`, and so does every key; only `election` is about the database as a whole.
What may exist once is a key, not a look-up before an insert: a public key, an invitation's code, a one-time number.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, MetaData, Table

from zt_engine.adapters.store_sql.columns import Json, Name, Number, Prose

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _key(name: str, kind: type[Name | Number] = Name) -> Column[str]:
    return Column(name, kind(), primary_key=True)


def _name(name: str) -> Column[str]:
    return Column(name, Name(), nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, Number(), nullable=False)


def _body() -> Column[bytes]:
    return Column("body", Json(), nullable=False)


devices: Final = Table(
    "devices",
    metadata,
    _key("tenant"),
    _key("id"),
    _number("version"),
    _name("status"),
    _name("ownership"),
    _name("owner"),
    _name("serial_hash"),
    _number("created_at"),
    Column("search", Prose(), nullable=False),
    _body(),
    Column("reported_at", Number(), nullable=False, server_default="0"),
    Index(None, "tenant", "status", "reported_at"),
    Index(None, "tenant", "status", "id"),
    Index(None, "tenant", "ownership", "id"),
    Index(None, "tenant", "owner", "id"),
    Index(None, "tenant", "serial_hash"),
)

device_keys: Final = Table(
    "device_keys",
    metadata,
    _key("tenant"),
    _key("spki"),
    _name("device_id"),
    ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
)

device_certificates: Final = Table(
    "device_certificates",
    metadata,
    _key("tenant"),
    _key("x5t"),
    _name("device_id"),
    ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
)

device_people: Final = Table(
    "device_people",
    metadata,
    _key("tenant"),
    _key("subject"),
    _key("device_id"),
    ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
)

invitations: Final = Table(
    "invitations",
    metadata,
    _key("tenant"),
    _key("id"),
    _name("code_digest"),
    _name("state"),
    _name("subject"),
    _number("not_after"),
    _body(),
    Index(None, "tenant", "code_digest", unique=True),
)

enrollments: Final = Table(
    "enrollments",
    metadata,
    _key("tenant"),
    _key("id"),
    _name("invitation"),
    _name("state"),
    Column("device_id", Name()),  # NULL until there is one: a device comes from one enrollment
    _number("not_after"),
    _body(),
    Column("issuer", Name(), nullable=False, server_default=""),
    Column("subject", Name(), nullable=False, server_default=""),
    Column("search", Prose(), nullable=False, server_default=""),
    Index(None, "tenant", "subject", "id"),
    Index(None, "tenant", "device_id", unique=True),
    Index(None, "tenant", "state", "id"),
)

nonces: Final = Table(
    "nonces",
    metadata,
    _key("tenant"),
    _key("digest"),
    _name("purpose"),
    _name("holder"),
    _number("expires_at"),
    Index(None, "expires_at"),
)

used_ids: Final = Table(
    "used_ids",
    metadata,
    _key("tenant"),
    _key("purpose"),
    _key("digest"),
    _number("expires_at"),
    Index(None, "expires_at"),
)

answers: Final = Table(
    "answers",
    metadata,
    _key("tenant"),
    _key("actor"),
    _key("key"),
    _name("request_digest"),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _number("expires_at"),
    Index(None, "expires_at"),
)

sidecars: Final = Table("sidecars", metadata, _key("tenant"), _key("id"), _body())

subjects: Final = Table(
    "subjects", metadata, _key("tenant"), _key("issuer"), _key("id"), _number("version"), _name("status"), _body()
)

situation: Final = Table("situation", metadata, _key("tenant"), _key("kind"), _key("id"), _body())

signals: Final = Table(
    "signals",
    metadata,
    _key("tenant"),
    _key("id"),
    _number("version"),
    _number("due"),
    _body(),
    Index(None, "tenant", "due"),
)

audit: Final = Table(
    "audit",
    metadata,
    _key("tenant"),
    _key("seq", Number),
    _number("at"),
    _name("actor"),
    _name("action"),
    _name("object"),
    _body(),
    Index(None, "tenant", "object", "seq"),
)

outbox: Final = Table(
    "outbox",
    metadata,
    # Not the order sidecars see: a number that was given first may be committed last.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _name("tenant"),
    _name("type"),
    Column("data", Json(), nullable=False),
    Index(None, "tenant", "id"),
    sqlite_autoincrement=True,
)

seen: Final = Table(
    "seen",
    metadata,
    _key("tenant"),
    _key("device_id"),
    _number("received_at"),
    Column("facts", Json(), nullable=False),
)

changes: Final = Table(
    "changes",
    metadata,
    _key("tenant"),
    _key("seq", Number),
    _name("type"),
    Column("data", Json(), nullable=False),
)

bundles: Final = Table(
    "bundles",
    metadata,
    _key("tenant"),
    _key("digest"),
    _number("kept_at"),
    Column("raw", LargeBinary, nullable=False),
)

releases: Final = Table(
    "releases",
    metadata,
    _key("tenant"),
    _key("seq", Number),
    _name("state"),
    _number("settled"),
    _name("bundle_digest"),
    _body(),
    Index(None, "tenant", "state", "seq"),
    Index(None, "tenant", "bundle_digest"),
)

sign_ins: Final = Table(
    "sign_ins",
    metadata,
    _key("tenant"),
    _key("state"),
    _number("expires_at"),
    _body(),
    Index(None, "tenant", "expires_at"),
)

sessions: Final = Table(
    "sessions",
    metadata,
    _key("tenant"),
    _key("sid"),
    _name("issuer"),
    _name("subject"),
    _name("provider_session"),
    _number("until"),
    _body(),
    Index(None, "tenant", "issuer", "subject"),
    Index(None, "tenant", "issuer", "provider_session"),
    Index(None, "tenant", "until"),
)

assets: Final = Table(
    "assets", metadata, _key("tenant"), _key("serial_hash"), _key("source"), _number("heard_at"), _body()
)

passkeys: Final = Table(
    "passkeys",
    metadata,
    _key("tenant"),
    _key("id"),
    _name("issuer"),
    _name("subject"),
    _body(),
    Index(None, "tenant", "issuer", "subject"),
)

ceremonies: Final = Table(
    "ceremonies", metadata, _key("tenant"), _key("id"), _number("expires_at"), _body(), Index(None, "expires_at")
)

opa_clients: Final = Table("opa_clients", metadata, _key("tenant"), _key("name"), _body())

counters: Final = Table("counters", metadata, _key("tenant"), _key("name"), _number("value"))

election: Final = Table(
    "election",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("fence"),
)
