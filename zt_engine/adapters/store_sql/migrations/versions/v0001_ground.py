"""The tables the inventory began with. What is written here is never changed: later versions have later files."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, LargeBinary

from zt_engine.adapters.store_sql.columns import Json, Name, Number, Prose

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "devices",
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
    )
    op.create_index(None, "devices", ["tenant", "status", "id"])
    op.create_index(None, "devices", ["tenant", "ownership", "id"])
    op.create_index(None, "devices", ["tenant", "owner", "id"])
    op.create_index(None, "devices", ["tenant", "serial_hash"])
    op.create_table(
        "device_keys",
        _key("tenant"),
        _key("spki"),
        _name("device_id"),
        ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
    )
    op.create_table(
        "device_certificates",
        _key("tenant"),
        _key("x5t"),
        _name("device_id"),
        ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
    )
    op.create_table(
        "device_people",
        _key("tenant"),
        _key("subject"),
        _key("device_id"),
        ForeignKeyConstraint(["tenant", "device_id"], ["devices.tenant", "devices.id"]),
    )
    op.create_table(
        "invitations",
        _key("tenant"),
        _key("id"),
        _name("code_digest"),
        _name("state"),
        _name("subject"),
        _number("not_after"),
        _body(),
    )
    op.create_index(None, "invitations", ["tenant", "code_digest"], unique=True)
    op.create_table(
        "enrollments",
        _key("tenant"),
        _key("id"),
        _name("invitation"),
        _name("state"),
        Column("device_id", Name()),
        _number("not_after"),
        _body(),
    )
    op.create_index(None, "enrollments", ["tenant", "device_id"], unique=True)
    op.create_index(None, "enrollments", ["tenant", "state", "id"])
    op.create_table(
        "nonces",
        _key("tenant"),
        _key("digest"),
        _name("purpose"),
        _name("holder"),
        _number("expires_at"),
    )
    op.create_index(None, "nonces", ["expires_at"])
    op.create_table(
        "used_ids",
        _key("tenant"),
        _key("purpose"),
        _key("digest"),
        _number("expires_at"),
    )
    op.create_index(None, "used_ids", ["expires_at"])
    op.create_table(
        "answers",
        _key("tenant"),
        _key("actor"),
        _key("key"),
        _name("request_digest"),
        Column("status", Integer, nullable=False),
        Column("body", LargeBinary, nullable=False),
        _number("expires_at"),
    )
    op.create_index(None, "answers", ["expires_at"])
    op.create_table(
        "sidecars",
        _key("tenant"),
        _key("id"),
        _body(),
    )
    op.create_table(
        "subjects",
        _key("tenant"),
        _key("issuer"),
        _key("id"),
        _number("version"),
        _name("status"),
        _body(),
    )
    op.create_table(
        "situation",
        _key("tenant"),
        _key("kind"),
        _key("id"),
        _body(),
    )
    op.create_table(
        "audit",
        _key("tenant"),
        _key("seq", Number),
        _number("at"),
        _name("actor"),
        _name("action"),
        _name("object"),
        _body(),
    )
    op.create_index(None, "audit", ["tenant", "object", "seq"])
    op.create_table(
        "outbox",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        _name("tenant"),
        _name("type"),
        Column("data", Json(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "outbox", ["tenant", "id"])
    op.create_table(
        "seen",
        _key("tenant"),
        _key("device_id"),
        _number("received_at"),
        Column("facts", Json(), nullable=False),
    )
    op.create_table(
        "changes",
        _key("tenant"),
        _key("seq", Number),
        _name("type"),
        Column("data", Json(), nullable=False),
    )
    op.create_table(
        "counters",
        _key("tenant"),
        _key("name"),
        _number("value"),
    )
    op.create_table(
        "election",
        Column("id", Integer, primary_key=True, autoincrement=False),
        _number("fence"),
    )
    op.execute("INSERT INTO election (id, fence) VALUES (1, 0)")


def _key(name: str, kind: type[Name | Number] = Name) -> Column[str]:
    return Column(name, kind(), primary_key=True)


def _name(name: str) -> Column[str]:
    return Column(name, Name(), nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, Number(), nullable=False)


def _body() -> Column[bytes]:
    return Column("body", Json(), nullable=False)
