"""Devices, reports and exports for the tests of the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_inventory.claims import Claims, Report, read_helper_claims, read_report
from device_inventory.facts import METHODS, FactValue, Method
from device_inventory.inventory import Device, HeldKey
from device_inventory.invitation import Invitation
from device_inventory.operations import enrolled
from device_inventory.reports import Ingested, ingest
from tests.unit.trust_support import GOOD

NOW = 1_790_000_000
# What an agent collects of a device that is all good, and what the inventory knows by itself.
OBSERVED: Mapping[str, Any] = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in GOOD.items()
    if name != "device.key_protection"
}
COLLECTED: Mapping[str, Any] = {name: value for name, value in OBSERVED.items() if not name.startswith("vuln.")}


def invitation(**changes: Any) -> Invitation:
    members: dict[str, Any] = {
        "tenant": "mofa",
        "id": "inv-1",
        "code_digest": "0" * 64,
        "issuer": "https://idp.example",
        "subject": "tanaka-sub",
        "assigned": "tanaka",
        "ownership": "corp",
        "invited_by": "suzuki",
        "created_at": NOW,
        "not_after": NOW + 259_200,
    }
    return Invitation(**(members | changes))


def key(number: int = 1, *, protection: str = "attested_hw", not_after: int = NOW + 86_400, **changes: Any) -> HeldKey:
    members: dict[str, Any] = {
        "x5t": f"x{number}".ljust(43, "A"),
        "spki": f"s{number}",
        "jkt": f"j{number}",
        "jwk": {},
        "issuer": "CN=devices",
        "serial": f"{number:x}",
        "not_before": NOW,
        "not_after": not_after,
        "protection": protection,
    }
    return HeldKey(**(members | changes))


def device(held: HeldKey | None = None, *, invited: Invitation | None = None, now: int = NOW) -> Device:
    """A device that was just enrolled."""
    return enrolled(invited or invitation(), held or key(), device_id="d-1", now=now)


def claims(values: Mapping[str, Any], *, at: int, confirmed: tuple[str, ...] = ()) -> dict[str, Any]:
    facts = {
        name: {
            "status": "not_collected" if value is None else "observed",
            "value": value,
            "collected_at": at,
        }
        for name, value in values.items()
    }
    return {"facts": facts} | ({"confirmed": list(confirmed)} if confirmed else {})


def document(
    values: Mapping[str, Any] = COLLECTED, *, seq: int = 1, at: int = NOW, boot_id: str = "b1", **changes: Any
) -> dict[str, Any]:
    confirmed = changes.pop("confirmed", ())
    return {
        "device": "d-1",
        "seq": seq,
        "boot_id": boot_id,
        "delta": bool(confirmed),
        "collector": {"version": "1.0", "scope": "user"},
        **claims(values, at=at, confirmed=confirmed),
    } | changes


def report(values: Mapping[str, Any] = COLLECTED, **changes: Any) -> Report:
    return read_report(document(values, **changes))


def helper(values: Mapping[str, Any] = COLLECTED, *, at: int = NOW, confirmed: tuple[str, ...] = ()) -> Claims:
    return read_helper_claims(claims(values, at=at, confirmed=confirmed))


def reported(
    known: Device,
    values: Mapping[str, Any] = COLLECTED,
    *,
    at: int = NOW,
    signed: Mapping[str, Any] | None = None,
    attested: Mapping[str, FactValue] | None = None,
    **changes: Any,
) -> Ingested:
    """What comes of the next report of a device, at `at`; `signed` is what its helper says."""
    seq = changes.pop("seq", known.report_seq + 1)
    boot_id = changes.pop("boot_id", known.boot_id or "b1")
    by_helper = None if signed is None else helper(signed, at=changes.get("collected", at))
    sent = report(values, seq=seq, at=changes.pop("collected", at), boot_id=boot_id, **changes)
    return ingest(known, sent, helper=by_helper, attested=attested, now=at)


def trusted(held: HeldKey | None = None, values: Mapping[str, Any] = COLLECTED) -> Device:
    """A device whose helper was heard twice, and agreed with itself; its last report is of NOW."""
    first = reported(device(held, now=NOW - 900), values, at=NOW - 900, signed=values).device
    return reported(first, values, at=NOW, signed=values).device


def weaker(method: Method, than: Method) -> bool:
    return METHODS.index(method) > METHODS.index(than)
