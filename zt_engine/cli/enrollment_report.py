"""Enrollments as a person reads them in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from zt_engine.cli.device_report import ID_WIDTH, age, plain
from zt_engine.cli.output import Language

_COLUMNS: Final[Mapping[Language, str]] = {
    "en": "id state person device changed",
    "ja": "ID 状態 利用者 端末 最終変化",
}
_NONE: Final[Mapping[Language, str]] = {"en": "No enrollments.", "ja": "登録はありません。"}
_INSTANTS: Final = ("started_at", "changed_at", "not_after")


def show_enrollments(
    console: Console, enrollments: Iterable[Mapping[str, Any]], language: Language, *, now: float
) -> None:
    """Print a table of enrollments."""
    first, *rest = _COLUMNS[language].split()
    table = Table(Column(first, no_wrap=True, min_width=ID_WIDTH), *rest)
    for one in enrollments:
        cells = (one["id"], one["state"], one["person"], one["device_id"] or "-", age(now - one["changed_at"]))
        table.add_row(*map(plain, cells))
    if table.row_count:
        console.print(table)
    else:
        console.print(_NONE[language])


def show_enrollment(console: Console, enrollment: Mapping[str, Any]) -> None:
    """Print an enrollment: who, how far, until when, and what happened to it, newest first."""
    about = Table(show_header=False, box=None)
    for name in ("id", "state", "next", "person", "issuer", "invitation", "device_id", "notice_version"):
        about.add_row(plain(name), plain(enrollment[name] or "-"))
    for name in _INSTANTS:
        about.add_row(plain(name), plain(_moment(enrollment[name])))
    console.print(about)
    for event in enrollment["events"]:
        text = f"{_moment(event['at'])}  {event['action']}  {event['actor']}  {event['reason']}"
        console.print(plain(text.rstrip()))


def _moment(instant: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(instant))
