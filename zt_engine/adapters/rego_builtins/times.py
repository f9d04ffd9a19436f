"""`time.*` without the clock: every instant is an argument, in nanoseconds since 1970.

Zones come from the machine's tz database through `zoneinfo`; a name that is not there is refused, and so is `Local`,
because two hosts would answer differently.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from zt_engine.adapters.rego_builtins.go_dates import civil, days_before, days_in, parse_moment
from zt_engine.adapters.rego_builtins.go_layouts import NAMED, WEEKDAYS, Moment, format_moment
from zt_engine.adapters.rego_builtins.operands import (
    RefusedError,
    builtin,
    exact_fraction,
    integer,
    limit,
    number,
    string,
)
from zt_engine.adapters.rego_values import Value

_SECOND: Final = 1_000_000_000
_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+){0,2}")
_MAX_LAYOUT: Final = 1_024
_MAX_YEARS: Final = 1_000_000_000


class _Operand(NamedTuple):
    nanoseconds: int
    zone: ZoneInfo | None
    layout: str


@functools.lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    """A zone of the tz database; None for UTC."""
    if name in {"", "UTC"}:
        return None
    if name == "Local" or not _ZONE_NAME.fullmatch(name):
        raise RefusedError(f"unknown time zone {name[:40]}")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise RefusedError(f"unknown time zone {name[:40]}") from None


def _operand(value: Value, position: int) -> _Operand:
    """A number of nanoseconds, or an array of that, a zone and a layout."""
    parts = value if isinstance(value, list) else [value]
    if not parts:
        raise RefusedError(f"operand {position} must be either number (ns) or [number (ns), string (tz)]")
    exact = exact_fraction(number(parts[0], position))
    if exact.denominator != 1 or not _MIN <= exact <= _MAX:
        raise RefusedError("timestamp too big")
    zone = _zone(string(parts[1], position)) if len(parts) > 1 else None
    layout = string(parts[2], position) if len(parts) > 2 else ""
    return _Operand(exact.numerator, zone, layout)


def _offset(seconds: int, zone: ZoneInfo | None) -> tuple[int, str]:
    """The zone's offset and abbreviation at an instant; numeric abbreviations are kept as they are."""
    if zone is None:
        return 0, "UTC"
    local = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    delta = local.utcoffset()
    return (0 if delta is None else int(delta.total_seconds())), local.tzname() or ""


def _moment(operand: _Operand) -> Moment:
    seconds, nanosecond = divmod(operand.nanoseconds, _SECOND)
    offset, name = _offset(seconds, operand.zone)
    days, of_day = divmod(seconds + offset, 86_400)
    year, month, day = civil(days)
    hour, rest = divmod(of_day, 3600)
    return Moment(
        year=year,
        month=month,
        day=day,
        hour=hour,
        minute=rest // 60,
        second=rest % 60,
        nanosecond=nanosecond,
        weekday=(days + 4) % 7,
        year_day=days - days_before(year, 1, 1) + 1,
        offset=offset,
        zone=name,
    )


def _in_range(nanoseconds: int) -> Value:
    if not _MIN <= nanoseconds <= _MAX:
        raise RefusedError("time outside of valid range")
    return nanoseconds


def _layout(text: str) -> str:
    limit(len(text), _MAX_LAYOUT, "characters of layout")
    return NAMED.get(text, text)


@builtin("time.parse_ns")
def parse_ns(layout: Value, text: Value) -> Value:
    """An instant written in a Go layout or one of its named ones."""
    wanted, found = _layout(string(layout, 1)), string(text, 2)
    limit(len(found), _MAX_LAYOUT * 2, "characters")
    return _in_range(parse_moment(wanted, found))


@builtin("time.parse_rfc3339_ns")
def parse_rfc3339_ns(text: Value) -> Value:
    """An instant as in RFC 3339."""
    found = string(text, 1)
    limit(len(found), _MAX_LAYOUT, "characters")
    return _in_range(parse_moment(NAMED["RFC3339"], found))


@builtin("time.format")
def format_ns(value: Value) -> Value:
    """An instant in a layout, RFC 3339 with nanoseconds if none is given."""
    operand = _operand(value, 1)
    return format_moment(_moment(operand), _layout(operand.layout or "RFC3339Nano"))


@builtin("time.date")
def date(value: Value) -> Value:
    """`[year, month, day]`."""
    moment = _moment(_operand(value, 1))
    return [moment.year, moment.month, moment.day]


@builtin("time.clock")
def clock(value: Value) -> Value:
    """`[hour, minute, second]`."""
    moment = _moment(_operand(value, 1))
    return [moment.hour, moment.minute, moment.second]


@builtin("time.weekday")
def weekday(value: Value) -> Value:
    """The English name."""
    return WEEKDAYS[_moment(_operand(value, 1)).weekday]


@builtin("time.add_date")
def add_date(value: Value, years: Value, months: Value, days: Value) -> Value:
    """The same civil time so many years, months and days on; a day that is not there runs over into the next month."""
    operand = _operand(value, 1)
    moment = _moment(operand)
    added = [integer(part, position) for position, part in enumerate((years, months, days), start=2)]
    if any(abs(part) > _MAX_YEARS for part in added):
        raise RefusedError("time outside of valid range")
    carried, month = divmod(moment.month - 1 + added[1], 12)
    first = days_before(moment.year + added[0] + carried, month + 1, 1)
    local = (first + moment.day - 1 + added[2]) * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second
    if not _MIN <= local * _SECOND <= _MAX:
        raise RefusedError("time outside of valid range")
    guessed, _ = _offset(local, operand.zone)
    offset, _ = _offset(local - guessed, operand.zone)
    return _in_range((local - offset) * _SECOND + moment.nanosecond)


@builtin("time.diff")
def diff(first: Value, second: Value) -> Value:
    """`[years, months, days, hours, minutes, seconds]` between two instants, in the zone of the first operand."""
    one, two = _operand(first, 1), _operand(second, 2)
    two = two._replace(zone=one.zone)
    start, end = (
        _moment(min(one, two, key=lambda operand: operand.nanoseconds)),
        _moment(max(one, two, key=lambda operand: operand.nanoseconds)),
    )
    parts = [getattr(end, name) - getattr(start, name) for name in ("year", "month", "day", "hour", "minute", "second")]
    sizes = (0, 12, days_in(start.year, start.month), 24, 60, 60)
    for place in range(5, 0, -1):
        if parts[place] < 0:
            parts[place] += sizes[place]
            parts[place - 1] -= 1
    return list(parts)
