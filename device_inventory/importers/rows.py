"""What every importer yields, and how it reads one value of somebody else's export.

A vendor's word for "we do not know" is never a good value and never a bad one: it is not collected. And a vendor's
verdict (healthy, at risk, a score) is no fact at all: it is not known what it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from device_inventory.device import DeviceRecordError
from device_inventory.device_json import MAX_INSTANT, MAX_TEXT, read_fact_value
from device_inventory.facts import CATALOGUE, FactEnvelope, FactStatus, FactValue
from device_inventory.serial import serial_hash

Row = Mapping[str, object]

NOT_KNOWN: Final = frozenset(
    {
        "",
        "-",
        "error",
        "n/a",
        "none",
        "not applicable",
        "not available",
        "not monitored",
        "not_applicable",
        "not_available",
        "not_collected",
        "null",
        "snoozed",
        "unknown",
    }
)
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d{1,9})?(|[Zz]|[+-]\d\d:\d\d)")


class ImportedDevice(Struct, frozen=True, kw_only=True):
    """One device as a management server knows it. `device_id` and `serial_hash` say whose facts these are."""

    source: str
    line: int
    received_at: int
    """When the server itself last heard of the device, and never later than now."""
    facts: Mapping[str, FactEnvelope]
    device_id: str = ""
    serial_hash: str = ""
    mdm_id: str = ""
    owner: str = ""
    name: str = ""
    model: str = ""
    ahead: bool = False
    """Whether the server's clock was ahead of ours by more than five minutes."""


class ImportFault(Struct, frozen=True, kw_only=True):
    """One row that was not loaded: its line (in JSON, its place in the list), a stable code, and why."""

    line: int
    code: str
    message: str


class RowError(Exception):
    """A row that cannot be loaded."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def fault(self, line: int) -> ImportFault:
        """Return it as it is reported."""
        return ImportFault(line=line, code=self.code, message=self.message)


def devices_of(
    rows: Iterable[tuple[int, Row] | ImportFault], read: Callable[[Row, int], ImportedDevice]
) -> Iterator[ImportedDevice | ImportFault]:
    """Read row by row: a wrong one is a fault by its line, and the rest goes on."""
    for item in rows:
        if isinstance(item, ImportFault):
            yield item
            continue
        line, row = item
        try:
            yield read(row, line)
        except RowError as error:
            yield error.fault(line)


class Gathered:
    """The facts of one row while it is read: what is wrong with one of them is wrong with the row."""

    def __init__(self, received_at: int) -> None:
        self._received_at = received_at
        self._facts: dict[str, FactEnvelope] = {}

    def observed(self, name: str, value: object) -> None:
        """Add a fact, or that it was not collected when `value` is None."""
        if value is None:
            self.missing(name, "not_collected")
            return
        try:
            held = read_fact_value(value, name, CATALOGUE[name])
        except DeviceRecordError as error:
            raise RowError("IMPORT_VALUE", f"`{name}` {error.message}") from None
        self._add(name, "observed", held)

    def missing(self, name: str, status: FactStatus) -> None:
        """Add that a fact was not observed, and why."""
        self._add(name, status, None)

    def facts(self) -> Mapping[str, FactEnvelope]:
        """Return what was gathered."""
        return MappingProxyType(self._facts)

    def _add(self, name: str, status: FactStatus, value: FactValue) -> None:
        self._facts[name] = FactEnvelope(status=status, value=value, method="mdm_server", received_at=self._received_at)


def heard_at(instant: int, *, now: int) -> int:
    """The server's own time, never later than ours."""
    return min(instant, now)


def identity(serial: object, device_id: object = None) -> dict[str, str]:
    """Return the members that say which device a row is about; RowError IMPORT_NO_IDENTITY without any."""
    known = {"serial_hash": serial_hash(text(serial, "serial")), "device_id": text(device_id, "device_id")}
    if not any(known.values()):
        raise RowError("IMPORT_NO_IDENTITY", "the row has no serial number that names one device")
    return known


def text(value: object, what: str) -> str:
    """Return text as it is, numbers as text, and nothing for null; RowError IMPORT_VALUE for anything else."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError("IMPORT_VALUE", f"`{what}` must be text")
    held = str(value).strip()
    if len(held) > MAX_TEXT or not held.isprintable():
        raise RowError("IMPORT_VALUE", f"`{what}` is too long or holds a control character")
    return held


def choice(value: object, words: Mapping[str, FactValue], what: str) -> FactValue:
    """Return what a word of the export means, None where it means that nothing is known.

    A word nobody has explained is a fault of its row: a guess would be a made-up fact.
    """
    word = str(value).lower() if isinstance(value, bool) else text(value, what).lower()
    if word in words:
        return words[word]
    if word in NOT_KNOWN:
        return None
    raise RowError("IMPORT_VALUE", f"`{what}` is a word that is not known here")


def instant(value: object, what: str, *, offset: timedelta | None = None) -> int:
    """Return epoch seconds of RFC 3339 text; without a zone only where `offset` says which one is meant.

    RowError IMPORT_TIME: local time taken for UTC would make evidence hours newer than it is.
    """
    match = _TIME.fullmatch(text(value, what))
    if match is None:
        raise RowError("IMPORT_TIME", f"`{what}` is no time")
    day, hours, zone = match.groups()
    if not zone and offset is None:
        raise RowError("IMPORT_TIME", f"`{what}` has no time zone")
    try:
        moment = datetime.fromisoformat(f"{day}T{hours}{zone.upper()}")
    except ValueError:
        raise RowError("IMPORT_TIME", f"`{what}` names no time there is") from None
    return seconds(moment if zone else moment.replace(tzinfo=timezone(offset or timedelta())), what)


def seconds(moment: datetime, what: str) -> int:
    """Return epoch seconds of an aware time; RowError IMPORT_TIME for a server that has never heard of the device."""
    # Written as a difference: the platform's own conversion refuses years that exports do contain (0001).
    since = (moment - datetime(1970, 1, 1, tzinfo=timezone(timedelta()))) // timedelta(seconds=1)
    if not 0 < since <= MAX_INSTANT:
        raise RowError("IMPORT_TIME", f"`{what}` says that the device was never heard of")
    return since


def member(row: Row, path: str) -> object:
    """Return a nested member by its dotted path, None where there is none."""
    held: object = row
    for name in path.split("."):
        if not isinstance(held, Mapping):
            return None
        held = held.get(name)
    return held


def objects(value: object) -> Iterator[Row]:
    """The objects of a list; nothing of anything else."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                yield item
