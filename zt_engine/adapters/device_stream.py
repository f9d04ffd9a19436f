"""Device records as the control plane writes them, read ten times faster than what people write.

INVARIANT: whatever is taken here the strict reader takes as well, and makes the same of it; what is not taken here goes
to the strict reader, which says what is wrong. One difference is allowed, because the text was signed by a stream key
and written by our own encoder: a member that appears twice counts as its last.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from device_inventory.device import THUMBPRINT, DeviceKey, DeviceRecord, DeviceRecordError, DeviceStatus, Ownership
from device_inventory.device_json import (
    MAX_BYTES,
    MAX_FACTS,
    MAX_INSTANT,
    MAX_INTEGER,
    MAX_ITEMS,
    MAX_KEYS,
    MAX_TEXT,
    read_fact_value,
)
from device_inventory.facts import CATALOGUE, FactEnvelope, FactStatus, FactValue, Method
from zt_engine.adapters.device_json import decode_device
from zt_engine.core.generations import Generations

_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
_Instant = Annotated[int, Meta(ge=0, le=MAX_INSTANT)]
_FACT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_Checked = tuple[str, str, type, object]


class _Key(Struct, frozen=True, forbid_unknown_fields=True):
    not_after: _Instant
    x5t: _Text | None = None
    jkt: _Text | None = None


class _Fact(Struct, frozen=True, forbid_unknown_fields=True):
    status: FactStatus
    value: bool | int | float | str | list[str] | None
    method: Method
    received_at: _Instant
    boot_id: _Text = ""


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    tenant: _Name
    device_id: _Name
    version: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    status: DeviceStatus
    ownership: Ownership
    assigned: Annotated[tuple[_Name, ...], Meta(max_length=MAX_ITEMS)]
    keys: Annotated[tuple[_Key, ...], Meta(max_length=MAX_KEYS)]
    boot_id: _Text
    report_received_at: _Instant
    facts: Annotated[dict[_Text, _Fact], Meta(max_length=MAX_FACTS)]


_decode: Final = msgspec.json.Decoder(_Record).decode
_values: Final[Generations[_Checked, tuple[FactValue]]] = Generations(100_000)
"""What a fact's value was found to be. Most devices say the same of most facts, and each of it is judged once."""


class _OtherwiseError(Exception):
    """Not to be taken here."""


def decode_streamed_device(raw: bytes, *, where: str) -> DeviceRecord:
    """Return the record in `raw`; ConfigError (DEVICE_RECORD_*) as `decode_device`. Not for use by two threads."""
    try:
        if len(raw) > MAX_BYTES:
            raise _OtherwiseError
        return _record(_decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, DeviceRecordError, _OtherwiseError):
        return decode_device(raw, where=where)


def _record(read: _Record) -> DeviceRecord:
    texts = (read.tenant, read.device_id, read.boot_id, *read.assigned)
    if not all(map(str.isprintable, texts)) or len(set(read.assigned)) != len(read.assigned):
        raise _OtherwiseError
    keys = tuple(map(_key, read.keys))
    if len({(key.x5t, key.jkt) for key in keys}) != len(keys):
        raise _OtherwiseError
    return DeviceRecord(
        tenant=sys.intern(read.tenant),
        device_id=read.device_id,
        version=read.version,
        status=read.status,
        ownership=read.ownership,
        assigned=read.assigned,
        keys=keys,
        boot_id=read.boot_id,
        report_received_at=read.report_received_at,
        facts=_facts(read.facts),
    )


def _key(read: _Key) -> DeviceKey:
    named = read.x5t if read.jkt is None else read.jkt
    if (read.x5t is None) == (read.jkt is None) or named is None or THUMBPRINT.fullmatch(named) is None:
        raise _OtherwiseError
    return DeviceKey(x5t=read.x5t, jkt=read.jkt, not_after=read.not_after)


def _facts(read: Mapping[str, _Fact]) -> Mapping[str, FactEnvelope]:
    return {
        name: FactEnvelope(
            status=fact.status,
            value=_value(name, fact),
            method=fact.method,
            received_at=fact.received_at,
            boot_id=fact.boot_id,
        )
        for name, fact in read.items()
    }


def _value(name: str, fact: _Fact) -> FactValue:
    held = tuple(fact.value) if isinstance(fact.value, list) else fact.value
    key = (name, fact.status, type(held), held)
    found = _values.get(key)
    if found is not None and (fact.boot_id == "" or fact.boot_id.isprintable()):
        return found[0]
    kind = CATALOGUE.get(name)
    if (fact.status == "observed") is (held is None) or not fact.boot_id.isprintable():
        raise _OtherwiseError
    if kind is None and _FACT_NAME.fullmatch(name) is None:
        raise _OtherwiseError
    value = None if held is None else read_fact_value(fact.value, name, kind)
    _values.put(key, (value,))
    return value
