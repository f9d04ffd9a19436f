"""Devices, people and circumstances for the tests of the trust score; all is good unless it is said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from device_inventory.device import DeviceRecord
from device_inventory.facts import FactEnvelope, Method
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.core.identity import Binding, Subject
from zt_engine.core.trust import TrustScore, combine, context_points, device_points, subject_points
from zt_engine.core.trust_readings import Pillar

MODEL = load_trust(
    (Path(__file__).parents[2] / "policies/jp-gov/trust.yaml").read_text(encoding="utf-8"), where="trust.yaml"
)
NOW = 1_790_000_000
GOOD: Mapping[str, Any] = {
    "device.key_protection": "attested_hw",
    "patch.oldest_pending_days": 0,
    "vuln.kev_open": (),
    "vuln.kev_overdue": (),
    "disk.encrypted": True,
    "edr.running": True,
    "av.realtime": True,
    "mdm.enrolled": True,
    "firewall.enabled": True,
    "boot.secure_boot": True,
    "screenlock.enabled": True,
    "user.is_admin": False,
    "integrity.rooted": False,
}


def envelope(value: Any, method: Method, *, age: int = 60, status: str = "observed") -> FactEnvelope:
    return FactEnvelope(status=status, value=value, method=method, received_at=NOW - age)  # type: ignore[arg-type]


def device(facts: Mapping[str, FactEnvelope], *, boot_id: str = "b1") -> DeviceRecord:
    return DeviceRecord(
        tenant="mofa",
        device_id="d-1",
        version=1,
        status="active",
        ownership="corp",
        assigned=("tanaka",),
        keys=(),
        boot_id=boot_id,
        report_received_at=NOW,
        facts=MappingProxyType(dict(facts)),
    )


def laptop(
    method: Method, *, key: str = "attested_hw", key_method: Method | None = None, **options: Any
) -> DeviceRecord:
    """A device whose facts are all good but for `changes`; a change to None withholds the fact."""
    age, changes = options.get("age", 60), options.get("changes", {})
    values = {**GOOD, "device.key_protection": key, **changes}
    facts = {name: envelope(value, method, age=age) for name, value in values.items() if value is not None}
    facts["device.key_protection"] = envelope(key, key_method or method, age=age)
    return device(facts)


def person(*, amr: tuple[str, ...] = ("hwk",), auth_age: int | None = 60, **changes: Any) -> Subject:
    fields = {"id": "tanaka", "issuer": "https://idp.example", "acr": ""} | changes
    auth_time = None if auth_age is None else NOW - auth_age
    return Subject(type="user", amr=amr, auth_time=auth_time, **fields)


OFFICE, HOME = "203.0.113.7", "192.0.2.1"


def context(address: str = HOME, *, in_hours: bool = True, behaviour: str = "normal", path: str = "mtls") -> Pillar:
    return context_points(MODEL, location=MODEL.locate(address), path=path, in_hours=in_hours, behaviour=behaviour)


def score(
    record: DeviceRecord | None, subject: Subject, binding: Binding = "mtls", *, now: int = NOW, penalty: int = 0
) -> TrustScore:
    return combine(
        MODEL,
        device_points(MODEL, record, tick_end=now),
        subject_points(MODEL, subject, binding=binding, tick_end=now),
        context(),
        penalty,
    )
