"""Instants as people write them, turned into epoch seconds."""

from __future__ import annotations

from datetime import UTC, date, datetime

LATEST = 253_402_300_799
"""The last second of the year 9999: the largest instant anything here accepts."""

_DATE = len("2026-04-01")
_SECONDS = len("2026-04-01T00:00:00")


def parse_instant(text: str, *, dates: bool = False) -> int | None:
    """Read an RFC 3339 instant with its offset; `None` when it is anything else.

    Only whole seconds. A bare date is accepted where `dates` says so, and means the start of that day in UTC; where
    an hour matters (declassification, the end of a grant) the offset must be written down.
    """
    if not text.isascii():
        return None
    try:
        if dates and len(text) == _DATE:
            day = date.fromisoformat(text)
            return _epoch(datetime(day.year, day.month, day.day, tzinfo=UTC))
        if len(text) != _SECONDS + (1 if text[-1:] == "Z" else 6):
            return None
        if text[4] + text[7] + text[10] + text[13] + text[16] != "--T::":
            return None
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _epoch(moment) if moment.tzinfo is not None else None


def _epoch(moment: datetime) -> int | None:
    seconds = int(moment.timestamp())
    return seconds if 0 < seconds <= LATEST else None
