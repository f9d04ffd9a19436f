"""What `zt rollout` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from zt_engine.cli.output import Language
from zt_engine.pages.registry import registry

SHOWN: Final = 20
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("展開 {number}: 進行中（到達: {reached}）", "rollout {number}: running, reached {reached}"),
    "complete": ("展開 {number}: 全体に適用しました", "rollout {number}: complete, it holds everywhere"),
    "aborted": ("展開 {number}: 取り消しました", "rollout {number}: taken back everywhere"),
    "none": ("展開はありません", "there are no rollouts"),
    "begun": ("{at} に {author} が開始: {reason}", "begun {at} by {author}: {reason}"),
    "watched": ("観察のみ（どこにも適用しません）", "report only: it is watched and decides nowhere"),
    "reached": ("到達", "reached"),
    "not_reached": ("未到達", "not reached"),
    "ring": ("リング {name}: {state}", "ring {name}: {state}"),
    "dwell": ("{seconds}秒観察した後、次のリングへ自動で進みます", "goes on by itself after {seconds} seconds a ring"),
    "by_people": ("次のリングへは人の操作で進みます", "goes on only when somebody advances it"),
    "guards": ("見張り: {guards}", "guards: {guards}"),
    "seen": (
        (
            "シャドー {sidecar}: 判定 {decided}/{keys}、失敗 {errors}、対象者 {subjects}人、"
            "新たに拒否 {newly_denied}人、新たに許可 {newly_allowed}人、p99 {p99_us} µs"
        ),
        (
            "shadow {sidecar}: decided {decided} of {keys}, {errors} failed; of {subjects} subjects {newly_denied} "
            "lose and {newly_allowed} gain something; p99 {p99_us} µs"
        ),
    ),
    "unseen": ("シャドーの報告はまだありません", "no shadow has reported"),
    "suspected": (
        "疑い（自動では進みません）: {guard} {seen} / {of}、上限 {limit}",
        "suspected, so nothing goes on by itself: {guard}: {seen} of {of}, limit {limit}",
    ),
    "incident": ("取り消しの理由: {why}", "taken back because of {why}"),
    "breach": ("{guard}: {seen} / {of}、上限 {limit}  {samples}", "{guard}: {seen} of {of}, limit {limit}  {samples}"),
    "reporting": ("報告: {sidecars}", "reported by {sidecars}"),
}


def say(text: str, language: Language, *, indent: int = 0, **values: object) -> None:
    """Print a sentence."""
    ja, en = _TEXTS[text]
    line = (ja if language == "ja" else en).format(**values)
    print(" " * indent + "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line).rstrip())


def show_list(found: Sequence[Mapping[str, Any]], language: Language) -> None:
    """Print rollouts, one a line."""
    if not found:
        say("none", language)
    for one in found:
        print(f"{one['ref_seq']}  {one['state']}  {one['mode']}  {one['object']}  {', '.join(one['reached'])}")


def show_one(found: Mapping[str, Any], language: Language) -> None:
    """Print everything about a rollout."""
    number, reached = found["ref_seq"], list(found["reached"])
    print(found["object"])
    say(found["state"], language, number=number, reached=", ".join(reached))
    at = datetime.fromtimestamp(found["began_at"], UTC).strftime("%Y-%m-%d %H:%MZ")
    say("begun", language, at=at, author=found["author"], reason=found["reason"] or "-")
    if found["mode"] == "report-only":
        say("watched", language)
    else:
        for ring in found["rings"]:
            state = _TEXTS["reached" if ring["name"] in reached else "not_reached"][language == "en"]
            say("ring", language, indent=2, name=ring["name"], state=state)
        say("by_people" if found["dwell"] is None else "dwell", language, seconds=found["dwell"])
    guards = {name: value for name, value in found["guards"].items() if value or name != "must_allow"}
    say("guards", language, guards=" ".join(f"{name}={_short(value)}" for name, value in guards.items()))
    _reports(found["reports"], language)
    for one in found["suspicions"]:
        say("suspected", language, **_figures(one))
    if found["state"] == "aborted":
        _incident(found, language)


def _reports(reports: Sequence[Mapping[str, Any]], language: Language) -> None:
    if not reports:
        say("unseen", language)
    for report in reports:
        say("seen", language, **report)
        for change in report["changes"][:SHOWN]:
            samples = " ".join(change["samples"])
            line = f"{change['service']}: {change['before']} -> {change['after']} {change['reason']}"
            print(f"  {line} x{change['count']}  {samples}".rstrip())


def _incident(found: Mapping[str, Any], language: Language) -> None:
    entry = registry().get(found["why"])
    why = found["why"] if entry is None else f"{found['why']}: {entry.text(language)}"
    say("incident", language, why=why)
    incident = found["incident"]
    if incident is not None:
        for one in incident["breaches"]:
            say("breach", language, indent=2, **_figures(one), samples=" ".join(one["samples"]))
        say("reporting", language, indent=2, sidecars=", ".join(incident["sidecars"]))


def _figures(breach: Mapping[str, Any]) -> dict[str, Any]:
    return {"guard": breach["guard"], "seen": breach["seen"], "of": breach["of"] or "-", "limit": breach["limit"]}


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
