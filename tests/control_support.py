"""A control plane for tests: the real store in memory, a fake clock, a key for each role, a client without sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any, Self

import httpx

from device_inventory.facts import CATALOGUE
from device_inventory.inventory import Device, HeldKey
from tests.fakes.clock import FakeClock
from tests.route_shapes import share_shapes
from tests.store_support import memory_store
from zt_engine.adapters.approvals import Approvers
from zt_engine.adapters.control_records import StrictRecords
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.control_plane.app import RATES, create_app
from zt_engine.control_plane.context import ControlPlane, PlaneSettings
from zt_engine.control_plane.ledger import Ledger
from zt_engine.core.errors import InputError
from zt_engine.ports.administration import Claimant, Role

TENANT = "default"
URL = "https://control.example"
NOW = 1_790_000_000
ROLES: tuple[Role, ...] = ("viewer", "helpdesk", "approver", "security", "owner")
_KEYS = itertools.count()
share_shapes()


class FakeAdministrators:
    """One administrator a role, whose key is the role's name, and whoever a test adds."""

    def __init__(self) -> None:
        self.known = {role: Claimant(name=role, actor=f"admin:{role}", role=role) for role in ROLES}

    def add(self, key: str, role: Role, *aliases: str, service: str = "") -> None:
        """Let somebody in."""
        self.known[key] = Claimant(
            name=key, actor=f"admin:{key}", role=role, aliases=frozenset(aliases), service=service
        )

    def verify(self, token: bytes, *, now: float) -> Claimant:
        """Return whose key this is."""
        found = self.known.get(token.decode("ascii", "replace"))
        if found is None:
            raise InputError("AUTH_REFUSED", "no such key")
        return found


class Control:
    """A control plane with a client: `call` as an administrator, `store` and `clock` to look behind it."""

    def __init__(
        self,
        *,
        store: SqlStore | None = None,
        approvers: Approvers | None = None,
        rates: Mapping[str, Any] = RATES,
        **parts: Any,
    ) -> None:
        self.clock = FakeClock(float(NOW))
        self.store = store or memory_store()
        if store is not None:
            store.migrate()
        self.administrators = FakeAdministrators()
        settings = {"tenant": TENANT, "url": URL, "language": "en", "facts": frozenset(CATALOGUE)}
        for name in [name for name in parts if name in PlaneSettings.__struct_fields__]:
            settings[name] = parts.pop(name)
        self.plane = ControlPlane(
            **{
                "settings": PlaneSettings(**settings),
                "store": self.store,
                "changes": self.store,
                "clock": self.clock,
                "administrators": self.administrators,
                "records": StrictRecords(approvers or {}),
                "authority": None,
                "jws": DeviceJws(),
                **parts,
            }
        )
        self.app = create_app(self.plane, rates=rates)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()
        self.store.close()

    def call(
        self, method: str, path: str, body: object = None, *, who: str | None = "owner", **headers: str
    ) -> httpx.Response:
        """Send one request; a `POST` gets an idempotency key of its own unless `idempotency_key` gives one."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            sent.setdefault("authorization", f"Bearer {who}")
        if method == "POST":
            sent.setdefault("idempotency-key", f"test-key-{next(_KEYS):08d}")
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        return self._runner.run(self._send(method, path, content, sent))

    def raw(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> httpx.Response:
        """Send a request with these headers and no others of ours."""
        return self._runner.run(self._send(method, path, content, headers))

    async def _send(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.request(method, path, content=content, headers=headers)

    def put(self, device: Device) -> Device:
        """Have a device in the inventory, as if it had been enrolled."""
        with self.store.writing(TENANT) as tx:
            Ledger(CATALOGUE)(tx, device, before=None, actor="system", action="device.enrolled", now=self.plane.now())
        return device

    def device(self, device_id: str) -> Device:
        """Return a device as the inventory holds it."""
        with self.store.reading(TENANT) as tx:
            found = tx.devices.get(device_id)
        assert found is not None
        return found

    def announced(self) -> list[tuple[str, Any]]:
        """Return what sidecars are to be told since the last call, in order."""
        fence = self.store.elect()
        assert fence is not None
        try:
            events = self.store.sequence(TENANT, fence=fence, limit=10_000)
        finally:
            self.store.resign()
        return [(event.type, json.loads(event.data)) for event in events]

    def audit(self) -> list[Any]:
        """Return every audit event."""
        with self.store.reading(TENANT) as tx:
            return list(tx.audit.page(after=0, limit=100_000))


def held_key(name: str = "k", *, protection: str = "hw", not_after: int = NOW + 86_400) -> HeldKey:
    """A key of a device; equal names are equal keys."""
    digest = (name + "A" * 43)[:42] + "A"
    return HeldKey(
        x5t=digest,
        spki=digest,
        jkt=digest,
        jwk={"kty": "EC", "crv": "P-256", "x": digest, "y": digest},
        issuer="CN=Device CA",
        serial=name.encode().hex(),
        not_before=NOW - 300,
        not_after=not_after,
        protection=protection,
    )


def a_device(device_id: str = "laptop-1", **members: Any) -> Device:
    """A corporate laptop of `tanaka` that is in service."""
    return Device(
        **{
            "tenant": TENANT,
            "device_id": device_id,
            "version": 1,
            "status": "active",
            "ownership": "corp",
            "owner": "tanaka",
            "assigned": ("tanaka",),
            "keys": (held_key(device_id),),
            "report_received_at": NOW - 60,
            "created_at": NOW - 86_400,
            "changed_at": NOW - 86_400,
            **members,
        }
    )
