"""Any table, by a mapping that is data: which column says which device, when it was looked at, and which fact.

    {"source": "asset-ledger", "encoding": "cp932", "list": "rows",
     "keys": {"serial": "製造番号", "owner": "使用者"},
     "seen_at": {"column": "確認日時", "format": "%Y/%m/%d %H:%M", "utc_offset": "+09:00"},
     "facts": {"disk.encrypted": {"column": "暗号化", "words": {"済": true, "未": false}},
               "patch.oldest_pending_days": {"column": "未適用日数"}}}

Words that the mapping does not explain are faults of their row; an empty cell is not collected. In JSON a column is a
member's dotted path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from device_inventory.device import DeviceRecordError
from device_inventory.device_json import MAX_TEXT, read_fact_value
from device_inventory.facts import CATALOGUE, FUTURE_TOLERANCE, FactKind, FactValue
from device_inventory.importers.csv_rows import Encoding, csv_rows
from device_inventory.importers.json_rows import json_rows
from device_inventory.importers.rows import (
    Gathered,
    ImportedDevice,
    ImportFault,
    Row,
    RowError,
    choice,
    devices_of,
    heard_at,
    identity,
    instant,
    member,
    seconds,
    text,
)
from device_inventory.inventory import KEY_FACT, OWN_SOURCES, OWNERSHIP_FACT

_OFFSET: Final = re.compile(r"([+-])([01]\d):([0-5]\d)")
_SOURCE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEYS: Final = frozenset({"serial", "device_id", "mdm_id", "owner", "name", "model"})
_RESERVED: Final = frozenset({*OWN_SOURCES, "inventory", "intune", "jamf", "fleet"})


class FactColumn(Struct, frozen=True, kw_only=True):
    """Where a fact stands; `words` says what a cell means, for a choice or a yes and no."""

    column: str
    words: Mapping[str, FactValue] = MappingProxyType({})


class TableMapping(Struct, frozen=True, kw_only=True):
    """A mapping that was read: what `csv` and `json` imports go by."""

    source: str
    encoding: Encoding
    list: str
    keys: Mapping[str, str]
    seen_column: str
    seen_format: str
    """`rfc3339`, `epoch`, or a pattern as of `strptime`."""
    seen_offset: timedelta | None
    facts: Mapping[str, FactColumn]


def read_mapping(document: Mapping[str, object]) -> TableMapping:
    """Return the mapping in a decoded document; DeviceRecordError MAPPING_INVALID names the member and why."""
    _only(document, "", frozenset({"source", "encoding", "list", "keys", "seen_at", "facts"}))
    source = _word(document, "source", "")
    if not _SOURCE.fullmatch(source) or source in _RESERVED:
        raise _invalid("must be a name of lower-case letters that no other source goes by", "source")
    encoding = document.get("encoding", "utf-8")
    if encoding not in ("utf-8", "cp932"):
        raise _invalid("must be `utf-8` or `cp932`", "encoding")
    keys = _object(document, "keys", "")
    _only(keys, "keys", _KEYS)
    if not {"serial", "device_id"} & keys.keys():
        raise _invalid("needs `serial` or `device_id`: an owner does not name one device", "keys")
    seen = _object(document, "seen_at", "")
    _only(seen, "seen_at", frozenset({"column", "format", "utc_offset"}))
    pattern = seen.get("format", "rfc3339")
    if not isinstance(pattern, str):
        raise _invalid("must be text", "seen_at.format")
    facts = _object(document, "facts", "")
    return TableMapping(
        source=source,
        encoding=encoding,
        list=_word(document, "list", "", default="rows"),
        keys=MappingProxyType({name: _word(keys, name, "keys") for name in keys}),
        seen_column=_word(seen, "column", "seen_at"),
        seen_format=pattern,
        seen_offset=_offset(seen.get("utc_offset")),
        facts=MappingProxyType({name: _column(name, facts) for name in facts}),
    )


def mapped_csv(chunks: Iterable[bytes], mapping: TableMapping, *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of a CSV table with a header."""
    columns = {*mapping.keys.values(), mapping.seen_column, *(column.column for column in mapping.facts.values())}
    rows = csv_rows(chunks, required=columns, encoding=mapping.encoding)
    return devices_of(rows, partial(_device, mapping=mapping, now=now, flat=True))


def mapped_json(chunks: Iterable[bytes], mapping: TableMapping, *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of a JSON list, or of the list a document has under the mapping's `list`."""
    return devices_of(json_rows(chunks, member=mapping.list), partial(_device, mapping=mapping, now=now, flat=False))


def _device(row: Row, line: int, mapping: TableMapping, *, now: int, flat: bool) -> ImportedDevice:
    def cell(column: str) -> object:
        return row.get(column) if flat else member(row, column)

    heard = _seen(cell(mapping.seen_column), mapping)
    gathered = Gathered(heard_at(heard, now=now))
    for name, column in mapping.facts.items():
        gathered.observed(name, _value(CATALOGUE[name], cell(column.column), column, mapping))
    keys = {name: cell(column) for name, column in mapping.keys.items()}
    return ImportedDevice(
        source=mapping.source,
        line=line,
        received_at=heard_at(heard, now=now),
        facts=gathered.facts(),
        mdm_id=text(keys.get("mdm_id"), "mdm_id"),
        owner=text(keys.get("owner"), "owner"),
        name=text(keys.get("name"), "name"),
        model=text(keys.get("model"), "model"),
        ahead=heard > now + FUTURE_TOLERANCE,
        **identity(keys.get("serial"), keys.get("device_id")),
    )


def _seen(cell: object, mapping: TableMapping) -> int:
    if mapping.seen_format == "rfc3339":
        return instant(cell, mapping.seen_column, offset=mapping.seen_offset)
    if mapping.seen_format == "epoch":
        held = _count(cell, mapping.seen_column)
        if held is None or held <= 0:
            raise RowError("IMPORT_TIME", f"`{mapping.seen_column}` is no time")
        return held
    try:
        moment = datetime.strptime(text(cell, mapping.seen_column), mapping.seen_format)  # noqa: DTZ007
    except ValueError:
        raise RowError("IMPORT_TIME", f"`{mapping.seen_column}` is not written as the mapping says") from None
    if moment.tzinfo is None:
        if mapping.seen_offset is None:
            raise RowError("IMPORT_TIME", f"`{mapping.seen_column}` has no time zone")
        moment = moment.replace(tzinfo=timezone(mapping.seen_offset))
    return seconds(moment, mapping.seen_column)


def _value(kind: FactKind, cell: object, column: FactColumn, mapping: TableMapping) -> FactValue:
    if column.words:
        return choice(cell, column.words, column.column)
    match kind.type:
        case "boolean":
            return choice(cell, {"true": True, "false": False}, column.column)
        case "choice":
            return choice(cell, {word: word for word in kind.choices}, column.column)
        case "count":
            return _count(cell, column.column)
        case "number":
            return _number(cell, column.column)
        case "instant":
            return _seen(cell, mapping) if text(cell, column.column) else None
        case "list":
            raise RowError("IMPORT_VALUE", f"`{column.column}` cannot be read as a list")
    return text(cell, column.column) or None


def _count(cell: object, what: str) -> int | None:
    held = text(cell, what)
    if not held:
        return None
    if not (held.isascii() and held.isdigit() and len(held) <= 15):
        raise RowError("IMPORT_VALUE", f"`{what}` must be a whole number")
    return int(held)


def _number(cell: object, what: str) -> float | None:
    if isinstance(cell, float):
        return cell
    held = text(cell, what)
    if not held:
        return None
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", held, re.ASCII):
        raise RowError("IMPORT_VALUE", f"`{what}` must be a number")
    return float(held)


def _column(name: str, facts: Mapping[str, object]) -> FactColumn:
    field = f"facts.{name}"
    kind = CATALOGUE.get(name)
    if kind is None or name in (KEY_FACT, OWNERSHIP_FACT) or kind.type == "list":
        raise _invalid("is no fact a table can tell", field)
    column = _object(facts, name, "facts")
    _only(column, field, frozenset({"column", "words"}))
    words: dict[str, FactValue] = {}
    for word, value in (_object(column, "words", field) if "words" in column else {}).items():
        try:
            words[word.strip().lower()] = None if value is None else read_fact_value(value, field, kind)
        except DeviceRecordError as error:
            raise _invalid(error.message, f"{field}.words") from None
    return FactColumn(column=_word(column, "column", field), words=MappingProxyType(words))


def _offset(value: object) -> timedelta | None:
    if value is None:
        return None
    match = _OFFSET.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _invalid("must be an offset like `+09:00`", "seen_at.utc_offset")
    sign, hours, minutes = match.groups()
    return timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)


def _only(value: Mapping[str, object], field: str, allowed: frozenset[str]) -> None:
    for name in value:
        if name not in allowed:
            raise _invalid(f"is not a member; known are {', '.join(sorted(allowed))}", f"{field}.{name}".strip("."))


def _object(holder: Mapping[str, object], name: str, field: str) -> Mapping[str, object]:
    value = holder.get(name)
    if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
        raise _invalid("must be an object with at least one member", f"{field}.{name}".strip("."))
    return value


def _word(holder: Mapping[str, object], name: str, field: str, *, default: str = "") -> str:
    value = holder.get(name, default)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise _invalid("must be text", f"{field}.{name}".strip("."))
    return value


def _invalid(message: str, field: str) -> DeviceRecordError:
    return DeviceRecordError("MAPPING_INVALID", message, field=field)
