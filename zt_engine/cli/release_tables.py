"""Tables of releases: what became of each, which one is in force, who has it, and who lags since when and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from zt_engine.cli.output import Language
from zt_engine.cli.publish_report import printable

MARK: Final = "*"
"""Stands before the release in force."""
SHORT: Final = 2
"""Columns that are read at a glance, number and state, and never broken."""
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "history": ("番号 状態 リビジョン 作成者 公開日時 期限 経緯", "seq state revision author released until why"),
    "missing": ("名前 種類 以来 理由 拒否 現在 最終連絡", "name kind since why refusals has heard"),
    "which": ("リリース {seq}（{revision}）: {state}", "release {seq} ({revision}): {state}"),
    "has": ("適用済み: {count}", "have it: {count}"),
    "lag": ("未適用: {count}", "lag behind: {count}"),
    "lag_why": ("未適用: {count}（{why}）", "lag behind: {count} ({why})"),
    "later": ("順番待ち: {count}", "not their turn yet: {count}"),
    "rollout": ("展開 {number}: {state} {mode}", "rollout {number}: {state}, {mode}"),
    "ring": (
        "リング {name}: {state}、{has}/{sidecars} 台に適用済み",
        "ring {name}: {state}, {has} of {sidecars} have it",
    ),
    "reached": ("到達", "reached"),
    "not_reached": ("未到達", "not reached"),
    # What became of a release.
    "in_force": ("有効", "in force"),
    "going_out": ("展開中", "going out"),
    "ended": ("期限切れ", "ended"),
    "replaced": ("置き換え済み", "replaced"),
    "waiting": ("承認待ち", "waits for approval"),
    "watched": ("観察のみ", "only watched"),
    "withdrawn": ("取り下げ", "withdrawn"),
    "refused": ("不採用", "refused"),
    "rolled_back": ("巻き戻し", "rolled back"),
    # Why somebody has not got it.
    "never_heard": ("連絡なし", "never heard"),
    "disconnected": ("切断", "disconnected"),
    "behind": ("遅延", "behind"),
}


def console() -> Console:
    """Return where tables go: as wide as the terminal, or wide enough for a file."""
    found = Console()
    return found if found.is_terminal else Console(width=240)


def show_history(
    to: Console, found: Sequence[Mapping[str, Any]], language: Language, *, active: int, now: float
) -> None:
    """Print releases, the one in force with a mark."""
    names = _text("history", language).split()
    table = Table(*(Column(name, no_wrap=at < SHORT) for at, name in enumerate(names)))
    standing = next((one["seq"] for one in found if one["state"] == "released" and one["settled"]), 0)
    for one in found:
        state = state_of(one, active=active, standing=standing, now=now)
        seq = f"{MARK} {one['seq']}" if state in ("in_force", "ended") else str(one["seq"])
        cells = (
            seq, _text(state, language), one["revision"], one["author"] or "-",
            _instant(one.get("released_at")), _instant(one.get("not_after")), one.get("why") or "",
        )  # fmt: skip
        table.add_row(*(printable(str(cell)) for cell in cells))
    to.print(table)


def state_of(one: Mapping[str, Any], *, active: int, standing: int, now: float) -> str:
    """Return what is to be said of a release.

    `active` is the newest that was released; until its rollout has ended everybody else has `standing`.
    """
    if one["state"] != "released":
        return str(one["state"])
    if one["seq"] == active and not one["settled"]:
        return "going_out"
    if one["seq"] != standing:
        return "replaced"
    ends = one.get("not_after")
    return "ended" if ends is not None and ends < now else "in_force"


def show_status(to: Console, told: Mapping[str, Any], language: Language, *, active: int) -> int:
    """Print who has a release and who has not; return how many have not."""
    state = told["state"]
    if state == "released":
        settled = told.get("rollout") is None or told["rollout"]["state"] != "running"
        state = "replaced" if told["seq"] < active else "in_force" if settled else "going_out"
    _say("which", language, seq=told["seq"], revision=told["revision"], state=_text(state, language))
    _say("has", language, count=len(told["has"]))
    missing = told["missing"]
    reasons = Counter(str(one["why"]) for one in missing)
    why = ", ".join(f"{_text(reason, language)} {count}" for reason, count in sorted(reasons.items()))
    _say("lag_why" if why else "lag", language, count=len(missing), why=why)
    rollout = told.get("rollout")
    if rollout is not None:
        _say("rollout", language, number=rollout["ref_seq"], state=rollout["state"], mode=rollout["mode"])
        for ring in rollout["rings"]:
            reached = _text("reached" if ring["reached"] else "not_reached", language)
            _say("ring", language, name=ring["name"], state=reached, has=ring["has"], sidecars=ring["sidecars"])
        _say("later", language, count=len(told["later"]))
    if missing:
        table = Table(*_text("missing", language).split())
        for one in missing:
            cells = (
                one["name"], one["kind"], _instant(one["since"]), _text(str(one["why"]), language),
                " ".join(one["refusals"]), one["has"] or "-", _instant(one["seen_at"] or None),
            )  # fmt: skip
            table.add_row(*(printable(str(cell)) for cell in cells))
        to.print(table)
    return len(missing)


def _text(name: str, language: Language) -> str:
    ja, en = _TEXTS.get(name, (name, name))
    return ja if language == "ja" else en


def _say(text: str, language: Language, **values: object) -> None:
    print(printable(_text(text, language).format(**values)))


def _instant(at: int | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(at))
