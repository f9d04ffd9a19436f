"""Read a device record from JSON, strictly: bounded, without duplicate members, every value of its own type.

Instants are epoch seconds, or RFC 3339 text for people. A fraction of a second is dropped, which only ever makes
evidence older and a key end earlier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NoReturn, TypeVar, cast

from device_inventory.device import (
    DEVICE_STATUSES,
    OWNERSHIPS,
    THUMBPRINT,
    DeviceKey,
    DeviceRecord,
    DeviceRecordError,
)
from device_inventory.facts import CATALOGUE, METHODS, STATUSES, FactEnvelope, FactKind, FactValue

MAX_BYTES: Final = 65_536
MAX_TEXT: Final = 256
MAX_ITEMS: Final = 256
MAX_FACTS: Final = 256
MAX_KEYS: Final = 16
MAX_RANK: Final = 1000
MAX_INSTANT: Final = 253_402_300_799  # the last second of year 9999
MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader agrees on (RFC 8259, 6)

_MEMBERS: Final = frozenset(DeviceRecord.__struct_fields__)
_REQUIRED: Final = _MEMBERS - {"ceiling"}
_FACT_MEMBERS: Final = frozenset(FactEnvelope.__struct_fields__)
_FACT_REQUIRED: Final = _FACT_MEMBERS - {"boot_id"}
_KEY_MEMBERS: Final = frozenset(DeviceKey.__struct_fields__)
_FACT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")

_Word = TypeVar("_Word", bound=str)
_Object = dict[str, object]


def _refuse(code: str, message: str, field: str) -> NoReturn:
    raise DeviceRecordError(code, message, field=field)


def read_device(raw: bytes) -> DeviceRecord:
    """Return the record in `raw`; DeviceRecordError names the first fault, its field and one of DEVICE_RECORD_*."""
    members = _members(_parse(raw), "", required=_REQUIRED, allowed=_MEMBERS)
    return DeviceRecord(
        tenant=_text(members["tenant"], "tenant", least=1),
        device_id=_text(members["device_id"], "device_id", least=1),
        version=_integer(members["version"], "version", most=MAX_INTEGER),
        status=_word(members["status"], "status", DEVICE_STATUSES),
        ownership=_word(members["ownership"], "ownership", OWNERSHIPS),
        assigned=_texts(members["assigned"], "assigned"),
        keys=_keys(members["keys"]),
        boot_id=_text(members["boot_id"], "boot_id"),
        report_received_at=_instant(members["report_received_at"], "report_received_at"),
        facts=_facts(members["facts"]),
        ceiling=None if members.get("ceiling") is None else _integer(members["ceiling"], "ceiling", most=MAX_RANK),
    )


def _parse(raw: bytes) -> object:
    if len(raw) > MAX_BYTES:
        _refuse("DEVICE_RECORD_TOO_LARGE", f"{len(raw)} bytes, at most {MAX_BYTES} are read", "")
    try:
        document: object = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_constant)
    except DeviceRecordError:
        raise
    except UnicodeDecodeError:
        _refuse("DEVICE_RECORD_SYNTAX", "not UTF-8", "")
    except RecursionError:
        _refuse("DEVICE_RECORD_SYNTAX", "nested too deeply", "")
    except ValueError as error:
        # The parser's own sentence names line and column, and quotes nothing of the document.
        _refuse("DEVICE_RECORD_SYNTAX", f"not JSON: {str(error).lower()}", "")
    return document


def _distinct(pairs: list[tuple[str, object]]) -> _Object:
    # Two members of one name are read differently by different readers (RFC 8259, 4).
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse("DEVICE_RECORD_DUPLICATE", f"member `{twice[:MAX_TEXT]}` appears twice", twice[:MAX_TEXT])
    return members


def _constant(name: str) -> NoReturn:
    _refuse("DEVICE_RECORD_SYNTAX", f"`{name}` is not JSON", "")


def _members(value: object, field: str, *, required: frozenset[str], allowed: frozenset[str]) -> _Object:
    if not isinstance(value, dict):
        _refuse("DEVICE_RECORD_TYPE", f"must be an object, not {_kind(value)}", field)
    if value.keys() == required or value.keys() == allowed:
        return cast("_Object", value)
    prefix = f"{field}." if field else ""
    for name in sorted(required - value.keys()):
        _refuse("DEVICE_RECORD_MISSING", "is required", prefix + name)
    for name in sorted(value.keys() - allowed):
        _refuse(
            "DEVICE_RECORD_UNKNOWN",
            f"is not a member; known are {', '.join(sorted(allowed))}",
            prefix + name[:MAX_TEXT],
        )
    return cast("_Object", value)


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _text(value: object, field: str, *, least: int = 0) -> str:
    if not isinstance(value, str):
        _refuse("DEVICE_RECORD_TYPE", f"must be text, not {_kind(value)}", field)
    if not least <= len(value) <= MAX_TEXT:
        _refuse("DEVICE_RECORD_VALUE", f"must have {least} to {MAX_TEXT} characters", field)
    if not value.isprintable():
        # Also half surrogates, which JSON can write and UTF-8 cannot.
        _refuse("DEVICE_RECORD_VALUE", "holds a control character", field)
    return value


def _texts(value: object, field: str) -> tuple[str, ...]:
    items = _list(value, field, most=MAX_ITEMS)
    texts = tuple(_text(item, f"{field}[{index}]", least=1) for index, item in enumerate(items))
    if len(set(texts)) != len(texts):
        _refuse("DEVICE_RECORD_DUPLICATE", "an entry appears twice", field)
    return texts


def _list(value: object, field: str, *, most: int) -> list[object]:
    if not isinstance(value, list):
        _refuse("DEVICE_RECORD_TYPE", f"must be a list, not {_kind(value)}", field)
    if len(value) > most:
        _refuse("DEVICE_RECORD_VALUE", f"has {len(value)} entries, at most {most} are read", field)
    return value


def _integer(value: object, field: str, *, most: int) -> int:
    if type(value) is not int:
        _refuse("DEVICE_RECORD_TYPE", f"must be a whole number, not {_kind(value)}", field)
    if not 0 <= value <= most:
        _refuse("DEVICE_RECORD_VALUE", f"must be between 0 and {most}", field)
    return value


def _word(value: object, field: str, words: tuple[_Word, ...]) -> _Word:
    if not isinstance(value, str):
        _refuse("DEVICE_RECORD_TYPE", f"must be text, not {_kind(value)}", field)
    # The table's own object, so that 75,000 records share seven words.
    for word in words:
        if word == value:
            return word
    _refuse("DEVICE_RECORD_VALUE", f"must be one of {', '.join(words)}", field)


def _instant(value: object, field: str) -> int:
    if isinstance(value, str):
        if not _RFC3339.fullmatch(value):
            _refuse("DEVICE_RECORD_TIME", "must be epoch seconds or RFC 3339 text with an offset", field)
        try:
            value = int(datetime.fromisoformat(value.upper().replace(" ", "T")).timestamp() // 1)
        except ValueError:
            _refuse("DEVICE_RECORD_TIME", "names no day or time there is", field)
    if type(value) is not int:
        _refuse("DEVICE_RECORD_TYPE", f"must be epoch seconds or RFC 3339 text, not {_kind(value)}", field)
    if not 0 <= value <= MAX_INSTANT:
        _refuse("DEVICE_RECORD_TIME", "must lie between 1970 and 9999, in seconds", field)
    return value


def _keys(value: object) -> tuple[DeviceKey, ...]:
    keys = tuple(_key(item, f"keys[{index}]") for index, item in enumerate(_list(value, "keys", most=MAX_KEYS)))
    if len({(key.x5t, key.jkt) for key in keys}) != len(keys):
        _refuse("DEVICE_RECORD_DUPLICATE", "a key appears twice", "keys")
    return keys


def _key(value: object, field: str) -> DeviceKey:
    members = _members(value, field, required=frozenset({"not_after"}), allowed=_KEY_MEMBERS)
    prints = {name: members[name] for name in ("x5t", "jkt") if members.get(name) is not None}
    if len(prints) != 1:
        _refuse("DEVICE_RECORD_VALUE", "must have exactly one of `x5t` and `jkt`", field)
    for name, thumbprint in prints.items():
        if not THUMBPRINT.fullmatch(_text(thumbprint, f"{field}.{name}")):
            _refuse("DEVICE_RECORD_VALUE", "must be a SHA-256 in base64url, 43 characters", f"{field}.{name}")
    return DeviceKey(
        x5t=cast("str | None", prints.get("x5t")),
        jkt=cast("str | None", prints.get("jkt")),
        not_after=_instant(members["not_after"], f"{field}.not_after"),
    )


def _facts(value: object) -> Mapping[str, FactEnvelope]:
    if not isinstance(value, dict):
        _refuse("DEVICE_RECORD_TYPE", f"must be an object, not {_kind(value)}", "facts")
    if len(value) > MAX_FACTS:
        _refuse("DEVICE_RECORD_VALUE", f"has {len(value)} facts, at most {MAX_FACTS} are read", "facts")
    shared: dict[object, FactEnvelope] = {}
    facts: dict[str, FactEnvelope] = {}
    for name, envelope in value.items():
        kind = CATALOGUE.get(name)
        if kind is None and not (len(name) <= MAX_TEXT and _FACT_NAME.fullmatch(name)):
            _refuse(
                "DEVICE_RECORD_FACT", "is no fact name: lower case words joined by dots", f"facts.{name[:MAX_TEXT]}"
            )
        fact = _fact(envelope, f"facts.{name}", kind)
        # Most facts of one report are equal but for their name: one envelope serves them all.
        key = (fact.status, type(fact.value), fact.value, fact.method, fact.received_at, fact.boot_id)
        facts[kind.name if kind else name] = shared.setdefault(key, fact)
    return MappingProxyType(facts)


def _fact(value: object, field: str, kind: FactKind | None) -> FactEnvelope:
    members = _members(value, field, required=_FACT_REQUIRED, allowed=_FACT_MEMBERS)
    status = _word(members["status"], f"{field}.status", STATUSES)
    held = members["value"]
    if (status == "observed") is (held is None):
        _refuse(
            "DEVICE_RECORD_VALUE",
            "must be null unless the status is `observed`, and then it must not be",
            f"{field}.value",
        )
    return FactEnvelope(
        status=status,
        value=None if held is None else read_fact_value(held, f"{field}.value", kind),
        method=_word(members["method"], f"{field}.method", METHODS),
        received_at=_instant(members["received_at"], f"{field}.received_at"),
        boot_id=_text(members.get("boot_id", ""), f"{field}.boot_id"),
    )


def read_fact_value(value: object, field: str, kind: FactKind | None) -> FactValue:
    """Return an observed value as its kind of fact has it; DeviceRecordError DEVICE_RECORD_* for any other."""
    match kind.type if kind else None:
        case "boolean":
            if not isinstance(value, bool):
                _refuse("DEVICE_RECORD_TYPE", f"must be true or false, not {_kind(value)}", field)
            return value
        case "choice":
            assert kind is not None
            return _word(value, field, kind.choices)
        case "count":
            return _integer(value, field, most=MAX_INTEGER)
        case "number":
            return _number(value, field)
        case "text":
            return _text(value, field)
        case "list":
            return _texts(value, field)
        case "instant":
            return _instant(value, field)
    # A fact of a later version: any type there is, within the same bounds.
    match value:
        case bool():
            return value
        case int() | float():
            return _number(value, field)
        case str():
            return _text(value, field)
        case list():
            return _texts(value, field)
    _refuse("DEVICE_RECORD_TYPE", f"must be a plain value or a list of text, not {_kind(value)}", field)


def _number(value: object, field: str) -> int | float:
    if type(value) not in (int, float):
        _refuse("DEVICE_RECORD_TYPE", f"must be a number, not {_kind(value)}", field)
    number = cast("int | float", value)
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        _refuse("DEVICE_RECORD_VALUE", "is out of range", field)
    return number
