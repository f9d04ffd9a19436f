"""Devices as a person reads them in a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from zt_engine.cli.output import Language

_COLUMNS: dict[Language, str] = {
    "en": "id status owner name whose model reported",
    "ja": "ID 状態 利用者 名前 所有区分 機種 最終報告",
}
_TEXTS: dict[str, dict[Language, str]] = {
    "none": {"en": "No devices.", "ja": "端末はありません。"},
    "uninvited": {"en": "No invitations.", "ja": "招待はありません。"},
    "invitations": {"en": "id state for whose until", "ja": "ID 状態 対象者 所有区分 期限"},
    "pending": {"en": "waits for approval", "ja": "承認待ち"},
    "facts": {"en": "fact value method age", "ja": "事実 値 確認方法 経過"},
    "changed": {"en": "{id}: {status}", "ja": "{id}: {status}"},
    "invited": {
        "en": "Give this to {subject}, who uses it once until {until}:\n  {link}\nor the code alone: {code}",
        "ja": "{subject} さんに渡してください（{until} まで、1回のみ有効）:\n  {link}\nコードのみ: {code}",
    },
    "closed": {
        "en": "Nobody can use this yet (ENROLL_CLOSED): the control plane has no `[enrollment]` with `issuer` and "
        "`client_id`. Fill it in and restart `zt control run`; see docs/enrollment.md",
        "ja": "この招待はまだ使えません（ENROLL_CLOSED）。コントロールプレーンの`[enrollment]`に`issuer`と`client_id`を"
        "設定し、`zt control run`を再起動してください。docs/enrollment.mdを参照",
    },
    "imported": {
        "en": "{rows} rows: {loaded} loaded, {changed} devices changed, {problem_count} not loaded",
        "ja": "{rows}行: {loaded}行を取り込み、{changed}台が変化、{problem_count}行は取り込めませんでした",
    },
}


def say(text: str, language: Language, **values: object) -> str:
    """Return a sentence."""
    return _TEXTS[text][language].format(**values)


def as_json(value: object) -> str:
    """Return what a program reads."""
    return json.dumps(value, indent=2, ensure_ascii=False)


ID_WIDTH: Final = 36


def show_list(console: Console, devices: Iterable[Mapping[str, Any]], language: Language, *, now: float) -> None:
    """Print a table of devices."""
    first, *rest = _COLUMNS[language].split()
    table = Table(Column(first, no_wrap=True, min_width=ID_WIDTH), *rest)  # an id is there to be copied
    for one in devices:
        status = str(one["status"]) + (f" ({say('pending', language)})" if one["approval_pending"] else "")
        cells = (one["id"], status, one["owner"], one["name"], one["ownership"], one["model"])
        reported = int(one["report_received_at"])
        table.add_row(*map(plain, cells), plain(age(now - reported) if reported else "-"))
    if table.row_count:
        console.print(table)
    else:
        console.print(say("none", language))


def show_invitations(console: Console, invitations: Iterable[Mapping[str, Any]], language: Language) -> None:
    """Print a table of invitations."""
    first, *rest = say("invitations", language).split()
    table = Table(Column(first, no_wrap=True, min_width=ID_WIDTH), *rest)
    for one in invitations:
        until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one["not_after"]))
        table.add_row(*map(plain, (one["id"], one["state"], one["assigned"], one["ownership"], until)))
    if table.row_count:
        console.print(table)
    else:
        console.print(say("uninvited", language))


def show_one(console: Console, device: Mapping[str, Any], language: Language, *, now: float) -> None:
    """Print everything of one device: what it is, what is held true of it, and what was done."""
    about = Table(show_header=False, box=None)
    for name in ("id", "status", "reason", "owner", "assigned", "ownership", "kind", "name", "model", "ceiling"):
        about.add_row(plain(name), plain(device[name]))
    for name in ("sponsor", "approved_by", "findings"):
        if device[name]:
            about.add_row(plain(name), plain(device[name]))
    console.print(about)
    facts = Table(*say("facts", language).split())
    for name, fact in sorted(device["facts"].items()):
        value = fact["value"] if fact["status"] == "observed" else fact["status"]
        facts.add_row(plain(name), plain(value), plain(fact["method"]), plain(age(fact["age"])))
    if facts.row_count:
        console.print(facts)
    for event in device["events"][:10]:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(event["at"]))
        console.print(plain(f"{when}  {event['action']}  {event['actor']}  {event['reason']}"))


def age(seconds: float) -> str:
    """Return how long ago something was, in the unit a person would use."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def plain(value: object) -> Text:
    """Text of others as it is: no markup, and nothing a terminal would act on."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))
