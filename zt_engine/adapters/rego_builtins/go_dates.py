"""Reading a time by a Go layout, as `time.Parse` does in UTC: fields may be missing, spaces are elastic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from zt_engine.adapters.rego_builtins.go_layouts import MONTHS, WEEKDAYS, elements
from zt_engine.adapters.rego_builtins.operands import RefusedError

_ZONE: Final = re.compile(r"UTC|ChST|MeST|GMT(?:[-+][0-9]+)?|[-+][0-9]+|[A-Z]{3,6}")
_OFFSETS: Final = {
    "0700": re.compile(r"([-+])([0-9]{2})([0-9]{2})"),
    "07:00": re.compile(r"([-+])([0-9]{2}):([0-9]{2})"),
    "07": re.compile(r"([-+])([0-9]{2})"),
    "070000": re.compile(r"([-+])([0-9]{2})([0-9]{2})([0-9]{2})"),
    "07:00:00": re.compile(r"([-+])([0-9]{2}):([0-9]{2}):([0-9]{2})"),
}
_FRACTION: Final = re.compile(r"[.,]([0-9]+)")
_DIGITS: Final = {"one_or_two": re.compile(r"[0-9]{1,2}"), "two": re.compile(r"[0-9]{2}")}


def days_before(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, `days_from_civil`)."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def civil(days: int) -> tuple[int, int, int]:
    """The inverse."""
    era, of_era = divmod(days + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def is_leap(year: int) -> bool:
    """Whether a year has 366 days."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in(year: int, month: int) -> int:
    """The length of a month."""
    return 29 if month == 2 and is_leap(year) else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


@dataclass
class _Fields:
    year: int = 0
    month: int = -1
    day: int = -1
    year_day: int = -1
    hour: int = 0
    minute: int = 0
    second: int = 0
    nanosecond: int = 0
    afternoon: bool = False
    morning: bool = False
    offset: int = 0


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.fields = _Fields()

    def skip(self, prefix: str) -> None:
        """Literal text; a run of spaces in the layout takes any run of spaces, and none at the end."""
        while prefix:
            if prefix[0] == " ":
                if self.text and self.text[0] != " ":
                    raise RefusedError("cannot parse time")
                prefix, self.text = prefix.lstrip(" "), self.text.lstrip(" ")
                continue
            if self.text[:1] != prefix[0]:
                raise RefusedError("cannot parse time")
            prefix, self.text = prefix[1:], self.text[1:]

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text)
        if match is None:
            raise RefusedError("cannot parse time")
        self.text = self.text[match.end() :]
        return match

    def number(self, low: int, high: int, *, fixed: bool) -> int:
        found = int(self.take(_DIGITS["two" if fixed else "one_or_two"]).group())
        if not low <= found <= high:
            raise RefusedError("time field out of range")
        return found

    def name(self, names: tuple[str, ...], length: int | None) -> int:
        for index, full in enumerate(names):
            name = full[:length]
            if self.text[: len(name)].lower() == name.lower() and self.text[: len(name)].isascii():
                self.text = self.text[len(name) :]
                return index
        raise RefusedError("cannot parse time")

    def element(self, code: str, following: str) -> None:
        fields = self.fields
        match code:
            case "2006":
                fields.year = int(self.take(re.compile(r"[0-9]{4}")).group())
            case "06":
                short = int(self.take(_DIGITS["two"]).group())
                fields.year = short + (1900 if short >= 69 else 2000)
            case "January" | "Jan":
                fields.month = self.name(MONTHS, None if code == "January" else 3) + 1
            case "1" | "01":
                fields.month = self.number(1, 12, fixed=code == "01")
            case "Monday" | "Mon":
                self.name(WEEKDAYS, None if code == "Monday" else 3)
            case "2" | "_2" | "02":
                self.text = self.text.removeprefix(" ") if code == "_2" else self.text
                fields.day = self.number(0, 99, fixed=code == "02")
            case "__2" | "002":
                self.text = re.sub(r"^ {0,2}", "", self.text) if code == "__2" else self.text
                fields.year_day = int(self.take(re.compile(r"[0-9]{3}" if code == "002" else r"[0-9]{1,3}")).group())
            case _:
                self.clock(code, following)

    def clock(self, code: str, following: str) -> None:
        fields = self.fields
        match code:
            case "15":
                fields.hour = self.number(0, 23, fixed=False)
            case "3" | "03":
                fields.hour = self.number(0, 12, fixed=code == "03")
            case "4" | "04":
                fields.minute = self.number(0, 59, fixed=code == "04")
            case "5" | "05":
                fields.second = self.number(0, 59, fixed=code == "05")
                # A fraction is taken also when the layout has none.
                if following[:1] not in {".", ","} and _FRACTION.match(self.text):
                    fields.nanosecond = _nanoseconds(self.take(_FRACTION).group(1))
            case "PM" | "pm":
                half = self.take(re.compile("[AP]M" if code == "PM" else "[ap]m")).group().upper()
                fields.afternoon, fields.morning = half == "PM", half == "AM"
            case "MST":
                self.zone()
            case _ if code[0] in ".,":
                self.fraction(code)
            case _:
                self.offset(code)

    def fraction(self, code: str) -> None:
        if code[1] == "9":
            if _FRACTION.match(self.text):
                self.fields.nanosecond = _nanoseconds(self.take(_FRACTION).group(1))
            return
        digits = self.take(re.compile(rf"[.,]([0-9]{{{min(len(code) - 1, 64)}}})")).group(1)
        self.fields.nanosecond = _nanoseconds(digits)

    def offset(self, code: str) -> None:
        if code[0] == "Z" and self.text.startswith("Z"):
            self.text = self.text[1:]
            return
        sign, *parts = self.take(_OFFSETS[code[1:]]).groups()
        hours, minutes, seconds = (*map(int, parts), 0, 0)[:3]
        if hours > 24 or minutes > 60 or seconds > 60:
            raise RefusedError("time zone offset out of range")
        self.fields.offset = ((hours * 60 + minutes) * 60 + seconds) * (-1 if sign == "-" else 1)

    def zone(self) -> None:
        """An abbreviation is taken on trust and moves nothing, not even `GMT+3`."""
        name = self.take(_ZONE).group()
        hours = name.removeprefix("GMT")
        if hours[:1] in {"+", "-"}:
            if len(hours) > 20 or abs(int(hours)) > 23:
                raise RefusedError("cannot parse time zone")
        elif len(name) > 3 and not _plausible(name):
            raise RefusedError("cannot parse time zone")


def _plausible(name: str) -> bool:
    return name in {"ChST", "MeST", "WITA"} or (len(name) in {4, 5} and name.endswith("T"))


def _nanoseconds(digits: str) -> int:
    return int(digits[:9].ljust(9, "0"))


def _month_and_day(fields: _Fields) -> tuple[int, int]:
    if fields.year_day >= 0:
        last = 366 if is_leap(fields.year) else 365
        if not 1 <= fields.year_day <= last:
            raise RefusedError("day of year out of range")
        _, month, day = civil(days_before(fields.year, 1, 1) + fields.year_day - 1)
        if fields.month not in {-1, month} or fields.day not in {-1, day}:
            raise RefusedError("day of year does not match the date")
        return month, day
    month, day = (1 if fields.month < 0 else fields.month), (1 if fields.day < 0 else fields.day)
    if not 1 <= day <= days_in(fields.year, month):
        raise RefusedError("day out of range")
    return month, day


def parse_moment(layout: str, text: str) -> int:
    """Nanoseconds since 1970-01-01 UTC, of any size."""
    reader = _Reader(text)
    pieces = elements(layout)
    for index, (prefix, code) in enumerate(pieces):
        reader.skip(prefix)
        if not code:
            break
        following = pieces[index + 1]
        # Only a fraction that follows at once belongs to the layout, as Go looks for it.
        reader.element(code, following.code)
    if reader.text:
        raise RefusedError("extra text after the time")
    fields = reader.fields
    hour = fields.hour
    if fields.afternoon and hour < 12:
        hour += 12
    elif fields.morning and hour == 12:
        hour = 0
    month, day = _month_and_day(fields)
    seconds = ((days_before(fields.year, month, day) * 24 + hour) * 60 + fields.minute) * 60 + fields.second
    return (seconds - fields.offset) * 1_000_000_000 + fields.nanosecond
