"""What a device claims of itself, read strictly from the decoded evidence: a claim is not yet a fact.

A claim has no method. Who may be believed is decided by the channel it came through, never by what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from device_inventory.device import DeviceRecordError
from device_inventory.device_json import MAX_FACTS, MAX_INSTANT, MAX_INTEGER, MAX_TEXT, read_fact_value
from device_inventory.facts import CATALOGUE, STATUSES, FactStatus, FactValue

_REPORT: Final = frozenset({"device", "seq", "boot_id", "delta", "collector", "facts"})
# What binds a report to its request is checked where signatures are, and the helper's word is signed by itself.
_REPORT_ALSO: Final = frozenset({"confirmed", "nonce", "aud", "iat", "x5t", "helper", "quote"})
_HELPER_ALSO: Final = frozenset({"confirmed", "nonce", "device", "iat"})
_CLAIM: Final = frozenset({"status", "value", "collected_at"})
_COLLECTOR: Final = frozenset({"version", "scope"})
_BOOT_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Claim(Struct, frozen=True, kw_only=True, gc=False):
    """One fact as a collector saw it; `collected_at` is the device's clock, in epoch seconds."""

    status: FactStatus
    value: FactValue
    collected_at: int


class Claims(Struct, frozen=True, kw_only=True):
    """What one channel says at once."""

    facts: Mapping[str, Claim] = MappingProxyType({})
    confirmed: tuple[str, ...] = ()
    """Facts that were collected just now and are what they were, in a report that only says what differs."""
    unknown: tuple[str, ...] = ()
    """Names the catalogue does not have; what they were said to be was not read."""


class Report(Struct, frozen=True, kw_only=True):
    """One report of a device's agent, without what binds it to its request."""

    device: str
    seq: int
    boot_id: str
    delta: bool
    collector_version: str
    collector_scope: str
    claims: Claims


def read_report(document: Mapping[str, object]) -> Report:
    """Return the report in the claims of verified evidence; DeviceRecordError REPORT_MALFORMED, REPORT_FACT_VALUE.

    Each `facts` member is `{status, value, collected_at}`; `confirmed` lists facts that have not changed.
    """
    _members(document, "", required=_REPORT, allowed=_REPORT | _REPORT_ALSO)
    collector = document["collector"]
    _members(collector, "collector", required=_COLLECTOR, allowed=_COLLECTOR)
    assert isinstance(collector, Mapping)
    delta = document["delta"]
    if not isinstance(delta, bool):
        raise _malformed("must be true or false", "delta")
    boot_id = _text(document["boot_id"], "boot_id")
    if not _BOOT_ID.fullmatch(boot_id):
        raise _malformed("is no id of a boot", "boot_id")
    claims = _claims(document)
    if claims.confirmed and not delta:
        raise _malformed("a full report says everything anew", "confirmed")
    return Report(
        device=_text(document["device"], "device"),
        seq=_whole(document["seq"], "seq", least=1, most=MAX_INTEGER),
        boot_id=boot_id,
        delta=delta,
        collector_version=_text(collector["version"], "collector.version"),
        collector_scope=_text(collector["scope"], "collector.scope"),
        claims=claims,
    )


def read_helper_claims(document: Mapping[str, object]) -> Claims:
    """Return what the root helper signed; refused as `read_report` does. Nonce and device are checked elsewhere."""
    _members(document, "", required=frozenset({"facts"}), allowed=frozenset({"facts"}) | _HELPER_ALSO)
    return _claims(document)


def _claims(document: Mapping[str, object]) -> Claims:
    held = document["facts"]
    if not isinstance(held, Mapping):
        raise _malformed("must be an object", "facts")
    confirmed = document.get("confirmed", ())
    if not isinstance(confirmed, list | tuple):
        raise _malformed("must be a list of names", "confirmed")
    if len(held) + len(confirmed) > MAX_FACTS:
        raise _malformed(f"has more than {MAX_FACTS} facts", "facts")
    names = [_text(name, "confirmed") for name in confirmed]
    if len({*names, *held}) != len(names) + len(held):
        raise _malformed("names a fact twice", "confirmed")
    unknown = [name for name in (*held, *names) if name not in CATALOGUE]
    return Claims(
        facts=MappingProxyType({name: _claim(name, value) for name, value in held.items() if name in CATALOGUE}),
        confirmed=tuple(name for name in names if name in CATALOGUE),
        unknown=tuple(sorted(_text(name, "facts") for name in unknown)),
    )


def _claim(name: str, value: object) -> Claim:
    field = f"facts.{name}"
    _members(value, field, required=_CLAIM, allowed=_CLAIM)
    assert isinstance(value, Mapping)
    status, held = value["status"], value["value"]
    if not isinstance(status, str) or status not in STATUSES:
        raise _malformed(f"must be one of {', '.join(STATUSES)}", f"{field}.status")
    if (status == "observed") is (held is None):
        raise DeviceRecordError(
            "REPORT_FACT_VALUE", "must be null unless the status is `observed`, and then it must not be", field=name
        )
    try:
        observed = None if held is None else read_fact_value(held, name, CATALOGUE[name])
    except DeviceRecordError as error:
        raise DeviceRecordError("REPORT_FACT_VALUE", error.message, field=name) from None
    collected_at = _whole(value["collected_at"], f"{field}.collected_at", least=0, most=MAX_INSTANT)
    return Claim(status=status, value=observed, collected_at=collected_at)


def _members(value: object, field: str, *, required: frozenset[str], allowed: frozenset[str]) -> None:
    if not isinstance(value, Mapping):
        raise _malformed("must be an object", field)
    prefix = f"{field}." if field else ""
    for name in sorted(required - value.keys()):
        raise _malformed("is required", prefix + name)
    for name in sorted(str(name) for name in value.keys() - allowed):
        raise _malformed("is not a member", prefix + name[:MAX_TEXT])


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise _malformed(f"must be text of 1 to {MAX_TEXT} printable characters", field)
    return value


def _whole(value: object, field: str, *, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _malformed(f"must be a whole number from {least} to {most}", field)
    return value


def _malformed(message: str, field: str) -> DeviceRecordError:
    return DeviceRecordError("REPORT_MALFORMED", message, field=field)
