"""What the commands about releases print."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from zt_engine.bootstrap.impact import Impact
from zt_engine.bootstrap.release_diff import ReleaseDiff
from zt_engine.cli.output import Language
from zt_engine.core.weakening import Weakening
from zt_engine.pages.registry import registry

SHOWN = 40
SHOWN_LINES = 400
_TEXTS: dict[str, tuple[str, str]] = {
    "released": ("リリース {seq} を公開しました: {revision}", "release {seq} is in force: {revision}"),
    "watched": (
        "リリース {seq} は観察のみで、適用しません: {revision}（結果: zt rollout list、zt rollout show）",
        "release {seq} is watched and decides nowhere: {revision}; see zt rollout list and zt rollout show",
    ),
    "staged": (
        "リリース {seq} を段階的に展開しています: {revision}（状況: zt policy status）",
        "release {seq} goes out ring by ring: {revision}; see zt policy status",
    ),
    "waiting": (
        "リリース {seq} は承認待ちです（あと{lacking}人）: zt policy approve {seq} --key FILE",
        "release {seq} waits for {lacking} more people: zt policy approve {seq} --key FILE",
    ),
    "unchanged": ("変更はありません。リリース {seq} が有効です。", "nothing changed: release {seq} is in force."),
    "dry": (
        "リリース {seq} の準備ができています（必要な承認: {needed}人）。何も送っていません: {revision}",
        "release {seq} would be submitted, {needed} people would approve it; nothing was sent: {revision}",
    ),
    "failed": (
        "公開していません。今のリリースがそのまま有効です。",
        "Nothing was published; what was in force still is.",
    ),
    "watching": ("{source} の変更を待っています。", "watching {source}"),
    "looked": ("{source}:", "{source}:"),
    "no_owners": (
        "{folder} をそのまま公開します。担当者はコミットの署名で確認するため、誰の変更かは確認していません。",
        "{folder} as it lies there: owners are known by signed commits, so whose change it is was not checked.",
    ),
    "approving": (
        "リリース {seq}: 内容 {content}、戻り先 {way_back}",
        "release {seq}: content {content}, way back {way_back}",
    ),
    "withdrawn": ("リリース {seq} を取り下げました。", "release {seq} is withdrawn."),
    "none": ("公開されたリリースはありません。", "nothing was released yet."),
    "weakens": ("弱くなる点: {count}件", "It weakens {count} things:"),
    "weakens_none": ("弱くなる点はありません。", "It weakens nothing."),
    "stricter": ("強くなる点: {count}件", "Stricter: {count}"),
    "weaker": ("弱くなる点: {count}件", "Weaker: {count}"),
    "sources": ("変わったファイル: {count}件", "Files that changed: {count}"),
    "more_lines": ("ほか{count}行（zt policy diff）", "and {count} more lines; see zt policy diff"),
    "alone": (
        "承認者が2人未満のため、だれの承認も求めていません（[policy] approvers）。",
        "Nobody had to approve this: fewer than two approvers are configured, see [policy] approvers.",
    ),
    "more": ("ほか{count}件", "and {count} more"),
    "impact": (
        "{decisions}件中{replayed}件を再判定しました（入力のない記録: {lost}件）",
        "{replayed} of {decisions} decisions were made again, {lost} had no readable input",
    ),
}


def say(text: str, language: Language, **values: object) -> None:
    """Print a sentence."""
    ja, en = _TEXTS[text]
    print((ja if language == "ja" else en).format(**values))


def show_weakenings(found: Sequence[Weakening], language: Language) -> None:
    """Print what a release gives up."""
    if not found:
        say("weakens_none", language)
        return
    say("weakens", language, count=len(found))
    _lines(found, language)


def show_diff(found: ReleaseDiff, language: Language) -> None:
    """Print what changed."""
    for sign, names in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for name in names:
            print(f"{sign} {name}")
    for title, changes in (("weaker", found.weaker), ("stricter", found.stricter)):
        say(title, language, count=len(changes))
        _lines(changes, language, meant=title == "weaker")


def show_texts(before: Mapping[str, bytes], after: Mapping[str, bytes], language: Language) -> None:
    """Print what changed in the sources, line by line: what no scenario asks about is seen here alone."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    say("sources", language, count=len(names))
    lines: list[str] = []
    for name in names:
        old, new = (files.get(name, b"").decode("utf-8", "replace").splitlines() for files in (before, after))
        lines += difflib.unified_diff(old, new, f"{name} (before)", f"{name} (after)", n=1, lineterm="")
    for line in lines[:SHOWN_LINES]:
        print(printable(f"  {line.expandtabs(4)}"))
    if len(lines) > SHOWN_LINES:
        say("more_lines", language, count=len(lines) - SHOWN_LINES)


def show_impact(found: Impact, language: Language) -> None:
    """Print whom and what a candidate changes."""
    say("impact", language, replayed=found.replayed, decisions=found.decisions, lost=found.lost)
    for direction, subject, service, count in found.counted[:SHOWN]:
        print(printable(f"  {direction}: {subject or '-'} {service}: {count}"))
    for one in found.changes[:SHOWN]:
        print(printable(f"  {one.where} {one.decision_id}: {one.before} -> {one.after}"))
    if len(found.changes) > SHOWN:
        say("more", language, count=len(found.changes) - SHOWN)


def _lines(found: Sequence[Weakening], language: Language, *, meant: bool = True) -> None:
    for one in found[:SHOWN]:
        entry = registry().get(one.code)
        text = f": {entry.text(language)}" if entry is not None and meant else ""
        print(printable(f"  {one.where}: {one.code}{text} [{one.before} -> {one.after}]"))
    if len(found) > SHOWN:
        say("more", language, count=len(found) - SHOWN)


def printable(text: str) -> str:
    """Return a text in which nothing can move the cursor."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
