"""A device's record as it is put to the policy: as it is, and as it would be with something put right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.device import DeviceKey, DeviceRecord
from device_inventory.facts import CATALOGUE, FUTURE_TOLERANCE, METHODS, FactEnvelope, FactValue
from zt_engine.bootstrap.readiness_asking import OWNER

GRAIN: Final = 60
"""Ages are rounded up to whole minutes, so that reports a second apart are one question."""
_WITH_THE_REPORT: Final = frozenset({"attested", "signed_agent", "self_report"})
_THUMBPRINT: Final = "A" * 43
_ANY: Final = "device"


def normal(record: DeviceRecord, names: Iterable[str], at: int) -> DeviceRecord:
    """Return the part of a record that decides, its ages in whole minutes, held by its owner with one key."""
    facts = {name: _aged(record.facts[name], record, at) for name in names if name in record.facts}
    return replace(
        record,
        tenant=_ANY,
        device_id=_ANY,
        version=1,
        assigned=(OWNER,) if record.assigned or record.ownership != "shared" else (),
        keys=(DeviceKey(x5t=_THUMBPRINT, not_after=at + 3600),),
        boot_id="this",
        report_received_at=_instant(record.report_received_at, at),
        facts=MappingProxyType(facts),
    )


def _aged(fact: FactEnvelope, record: DeviceRecord, at: int) -> FactEnvelope:
    boot = "this" if fact.boot_id in ("", record.boot_id) else "another"
    return replace(fact, received_at=_instant(fact.received_at, at), boot_id=boot)


def _instant(received_at: int, at: int) -> int:
    age = at - received_at
    if age < 0:
        # The clock of the moment is rounded down, so what was received just now may seem to lie ahead.
        return at if -age <= FUTURE_TOLERANCE else received_at
    return at - -(-age // GRAIN) * GRAIN


def key(held: DeviceRecord, at: int) -> bytes:
    """Name everything that an answer depends on: the ages, not the instants."""
    facts = [
        (name, fact.status, fact.value, fact.method, at - fact.received_at, fact.boot_id)
        for name, fact in held.facts.items()
    ]
    about = (held.status, held.ownership, held.assigned, held.ceiling, at - held.report_received_at, facts)
    return hashlib.blake2b(msgspec.json.encode(about), digest_size=24).digest()


def faultless(held: DeviceRecord, names: Iterable[str], at: int) -> DeviceRecord:
    """Return the device as it would be if there were nothing wrong with it at all."""
    return replace(repaired(in_order(held, at), names, at), ownership="corp", assigned=(OWNER,), ceiling=None)


def in_order(held: DeviceRecord, at: int, *, report: bool = True) -> DeviceRecord:
    """Return the device in service, and having reported just now."""
    return replace(held, status="active", report_received_at=at if report else held.report_received_at)


def repaired(held: DeviceRecord, names: Iterable[str], at: int, *, method: str = "attested") -> DeviceRecord:
    """Return the device with some facts as good as can be, by the best method or (empty) by the one they have."""
    facts = dict(held.facts)
    for name in names:
        value = ideal(name, at)
        if value is None:
            continue
        before = facts.get(name)
        by = method or (before.method if before is not None else "signed_agent")
        facts[name] = FactEnvelope(
            status="observed",
            value=value,
            method=by,  # type: ignore[arg-type]  # a method of the catalogue
            received_at=at,
            boot_id=held.boot_id,
        )
    return replace(held, facts=MappingProxyType(facts))


def reported(held: DeviceRecord, at: int) -> DeviceRecord:
    """Return the device as if it had said just now what it said last; what others say of it is as old as it is."""
    age = max(0, at - held.report_received_at)
    facts = {
        name: replace(fact, received_at=min(at, fact.received_at + age)) if fact.method in _WITH_THE_REPORT else fact
        for name, fact in held.facts.items()
    }
    return replace(held, report_received_at=at, facts=MappingProxyType(facts))


def lifted(held: DeviceRecord, strength: int) -> DeviceRecord:
    facts = {
        name: replace(fact, method=METHODS[min(strength, METHODS.index(fact.method))])
        for name, fact in held.facts.items()
    }
    return replace(held, facts=MappingProxyType(facts))


def ideal(name: str, at: int) -> FactValue:
    """Return the best value the catalogue knows of a fact; None where no value is better than another."""
    kind = CATALOGUE[name]
    match kind.order:
        case "true" | "false":
            return kind.order == "true"
        case "low":
            return 0
        case "high":
            return at
        case "empty":
            return ()
        case "choices":
            return kind.choices[0]
    return None
