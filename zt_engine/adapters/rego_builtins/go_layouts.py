"""Go's reference-time layouts (`2006-01-02T15:04:05Z07:00`): splitting one into elements, and formatting by it."""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

NAMED: Final = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

# Alternatives in Go's order of preference; a short name is none when a lower-case letter follows it.
_ELEMENT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2|_2006|_2|__2|3|4|5|PM|pm"
    r"|[-Z]070000|[-Z]07:00:00|[-Z]0700|[-Z]07:00|[-Z]07|[.,](?:0+|9+)(?![0-9])"
)


class Element(NamedTuple):
    """Literal text and the element after it; the last one of a layout has no element."""

    prefix: str
    code: str


@functools.lru_cache(maxsize=128)
def elements(layout: str) -> tuple[Element, ...]:
    """A layout in pieces."""
    found: list[Element] = []
    at = 0
    for match in _ELEMENT.finditer(layout):
        prefix, code = layout[at : match.start()], match.group()
        at = match.end()
        found.append(Element(prefix + "_", "2006") if code == "_2006" else Element(prefix, code))
    return (*found, Element(layout[at:], ""))


class Moment(NamedTuple):
    """An instant in the civil time of some zone."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    nanosecond: int
    weekday: int
    year_day: int
    offset: int
    zone: str


def _signed_offset(offset: int, code: str) -> str:
    if code[0] == "Z" and offset == 0:
        return "Z"
    minutes = abs(offset) // 60
    colon = ":" if ":" in code else ""
    text = f"{'-' if offset <= -60 else '+'}{minutes // 60:02d}"
    if len(code) > 3:
        text += f"{colon}{minutes % 60:02d}"
    if len(code) in {7, 9} and code.count("0") >= 5:
        text += f"{colon}{abs(offset) % 60:02d}"
    return text


def _fraction(nanosecond: int, code: str) -> str:
    digits = f"{nanosecond:09d}"[: len(code) - 1]
    if code[1] == "9":
        digits = digits.rstrip("0")
        return code[0] + digits if digits else ""
    return code[0] + digits


def _date(moment: Moment, code: str) -> str | None:
    match code:
        case "2006":
            return f"{moment.year:04d}"
        case "06":
            return f"{moment.year % 100:02d}"
        case "January":
            return MONTHS[moment.month - 1]
        case "Jan":
            return MONTHS[moment.month - 1][:3]
        case "1":
            return str(moment.month)
        case "01":
            return f"{moment.month:02d}"
        case "Monday":
            return WEEKDAYS[moment.weekday]
        case "Mon":
            return WEEKDAYS[moment.weekday][:3]
        case "2":
            return str(moment.day)
        case "_2":
            return f"{moment.day:2d}"
        case "02":
            return f"{moment.day:02d}"
        case "__2":
            return f"{moment.year_day:3d}"
        case "002":
            return f"{moment.year_day:03d}"
    return None


def _clock(moment: Moment, code: str) -> str | None:
    match code:
        case "15":
            return f"{moment.hour:02d}"
        case "3":
            return str(moment.hour % 12 or 12)
        case "03":
            return f"{moment.hour % 12 or 12:02d}"
        case "4":
            return str(moment.minute)
        case "04":
            return f"{moment.minute:02d}"
        case "5":
            return str(moment.second)
        case "05":
            return f"{moment.second:02d}"
        case "PM":
            return "PM" if moment.hour >= 12 else "AM"
        case "pm":
            return "pm" if moment.hour >= 12 else "am"
    return None


def _element(moment: Moment, code: str) -> str:
    found = _date(moment, code)
    if found is None:
        found = _clock(moment, code)
    if found is not None:
        return found
    if code == "MST":
        return moment.zone or _signed_offset(moment.offset, "-0700")
    if code[0] in ".,":
        return _fraction(moment.nanosecond, code)
    return _signed_offset(moment.offset, code)


def format_moment(moment: Moment, layout: str) -> str:
    """The instant as text."""
    return "".join([prefix + (_element(moment, code) if code else "") for prefix, code in elements(layout)])
