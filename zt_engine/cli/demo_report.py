"""The demo as a person watches it: one row a request, as it happens, on any terminal from 80 columns up."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zt_engine.authoring.audit_report import AuditReport
from zt_engine.bootstrap.demo import Demo, Result
from zt_engine.bootstrap.demo_stay import curl_lines
from zt_engine.bootstrap.demo_story import CHAPTERS, Words
from zt_engine.cli.decide_report import EFFECTS
from zt_engine.cli.output import Language
from zt_engine.core.decision import Effect
from zt_engine.pages.registry import Code

if TYPE_CHECKING:  # needs more than the base install
    from zt_engine.bootstrap.demo_office import Posture, Shown

ONE_LINE = 150
"""Columns from which on the reason stands in the row instead of below it."""

COLUMNS: tuple[tuple[str, int], ...] = (("who", 15), ("device", 17), ("data", 20), ("effect", 8), ("score", 6))

NUMBER = 7

TEXTS: dict[str, Words] = {
    "title": ("ゼロトラストの一日: 本物のnginxの前で", "A day of zero trust, in front of a real nginx"),
    "begin": (
        "鍵・証明書・署名済みポリシーを作り、バックエンド・サイドカー・nginxを起動しています…",
        "making keys, certificates and a signed policy; starting backend, sidecar and nginx ...",
    ),
    "ready": ("準備完了 {seconds:.1f} 秒", "ready after {seconds:.1f} s"),
    "who": ("だれ", "who"),
    "device": ("端末", "device"),
    "data": ("情報", "data"),
    "effect": ("判定", "effect"),
    "score": ("スコア", "score"),
    "reason": ("理由", "reason"),
    "decided": ("判定µs", "µs"),
    "round": ("往復µs", "trip µs"),
    "noticed": ("{ms:.0f}ミリ秒で反映", "in force after {ms:.0f} ms"),
    "more": ("ほか{count}件", "{count} more"),
    "office": (
        "この端末: 本物のコントロールプレーンに登録し、本物のエージェントが見たままを報告します",
        "This very machine: enrolled with a real control plane, its real agent reports what it sees",
    ),
    "office_missing": (
        "この端末の登録は省略しました: pip install 'zt-engine[control,agent]'",
        "enrolling this machine was left out: pip install 'zt-engine[control,agent]'",
    ),
    "opa_missing": (
        "Regoの書き換えは省略しました: opa が見つかりません（PATH に置くか、OPA で指定してください）",
        "editing a Rego rule was left out: there is no program opa (put it on PATH, or name it by OPA)",
    ),
    "posture": (
        "招待→サインイン→同意→鍵→証明書→報告: {device}、{known}項目を確認、{unknown}項目は不明",
        "invitation, sign-in, notice, key, certificate, report: {device}; {known} facts seen, {unknown} unknown",
    ),
    "missing": ("不足", "missing"),
    "me": ("田中", "Tanaka"),
    "machine": ("この端末", "this machine"),
    "before_revoked": ("この端末の状態による", "as this machine stands"),
    "revoked": ("失効を登録: {ms:.0f}ミリ秒後に拒否", "revoked: refused {ms:.0f} ms after the API answered"),
    "speed": (
        "同じ要求を{times}回: 判定の中央値 {decided} µs、nginx経由の往復 {round} µs",
        "the same request {times} times: median decision {decided} µs, round trip through nginx {round} µs",
    ),
    "audit": (
        "監査ログ: {records}件の記録に改変なし、{anchored}件が署名で固定済み（zt audit verify）",
        "decision log: {records} records, none changed, {anchored} anchored by signature (zt audit verify)",
    ),
    "audit_bad": ("監査ログに異常があります: {fault}", "the decision log is not what was written: {fault}"),
    "good": ("{count}件すべて期待どおりでした（{seconds:.1f} 秒）。", "All {count} as expected ({seconds:.1f} s)."),
    "bad": ("{all}件中{count}件が期待と違いました。", "{count} of {all} did not come out as expected."),
    "next": ("次にできること", "How to go on"),
    "keep": ("動かしたままcurlで試す", "keep it running and try curl"),
    "decide": ("なぜ断られたのかを1点ずつ見る", "see point by point why somebody was denied"),
    "verify": ("この実行の監査ログを確かめる", "verify this run's decision log"),
    "edit": ("目録（どの情報がどの区分か）を読む", "read the catalogue: which data has which label"),
    "init": ("自分のnginxにつなぐ", "hook up an nginx of your own"),
    "remove": ("デモのファイルを消す", "remove the demo's files"),
    "stay": ("動いています。Ctrl-Cで終了します。", "It is running; Ctrl-C ends it."),
    "metrics": ("メトリクス", "metrics"),
    "edit_now": ("目録を書き換える（すぐに効きます）", "edit the catalogue (in force at once)"),
}


_DULL = frozenset(
    {"agent.hash", "agent.version", "collector_scope", "os.build", "os.eol_date", "patch.last_success_at"}
)
"""Facts that would only lengthen the line."""


class DemoReport:
    """Prints one run in one language."""

    def __init__(self, console: Console, language: Language) -> None:
        self._console = console
        self._language: Language = language
        self._chapter = -1
        encoding = (console.encoding or "").lower()
        self._marks = ("✓", "✗") if encoding.startswith("utf") else ("ok", "NG")
        self._one_line = console.width >= ONE_LINE

    def begin(self) -> None:
        """Say what is being set up: it takes a second or two."""
        self._console.print(Text(self._t("title"), style="bold"))
        self._console.print(Text(self._t("begin"), style="dim"))

    def ready(self, seconds: float) -> None:
        """Print the heads of the columns."""
        self._console.print(Text(self._t("ready").format(seconds=seconds), style="dim"))
        self._console.print()
        cells = [Text(self._t(name), style="bold") for name, _ in COLUMNS]
        self._row("", *cells, Text(self._t("reason"), style="bold"), self._t("decided"), self._t("round"), style="bold")

    def step(self, result: Result, codes: Mapping[str, Code]) -> None:
        """Print one request."""
        step, event = result.step, result.event
        if step.chapter != self._chapter:
            self._chapter = step.chapter
            self._console.print()
            self._console.print(Text(f"{step.chapter + 1}. {self._pick(CHAPTERS[step.chapter])}", style="bold"))
        good, bad = self._marks
        mark = Text(bad, style="bold red") if result.faults else Text(good, style="green")
        effect = event.get("effect")
        style, ja, en = EFFECTS[Effect(effect)] if effect else ("red", "不明", "unknown")
        label = event.get("label") or ""
        reason = Text(self._reason(result, codes), style="dim" if effect == "allow" else "")
        self._row(
            mark,
            Text(self._pick(step.who)),
            Text(self._pick(step.device)),
            Text(f"{self._pick(step.data)} {label}".strip()),
            Text(self._pick((ja, en)), style=style),
            Text("" if event.get("trust") is None else str(event["trust"])),
            reason,
            str(event.get("latency_us", "")),
            str(result.answer.microseconds),
        )
        if not self._one_line and reason.plain:
            self._console.print(Padding(reason, (0, 0, 0, 5)))
        remedy = self._remedy(result, codes)
        if remedy:
            self._console.print(Padding(Text(f"→ {remedy}", style="dim"), (0, 0, 0, 5)))
        for fault in result.faults:
            self._console.print(Padding(Text(fault, style="red"), (0, 0, 0, 5)))

    def office(self) -> None:
        """Head the chapter about this machine; setting it up takes some seconds."""
        self._console.print()
        self._console.print(Text(f"{len(CHAPTERS) + 1}. {self._t('office')}", style="bold"))

    def no_office(self) -> None:
        """Say that the chapter needs more than is installed."""
        self._console.print()
        self._console.print(Text(self._t("office_missing"), style="dim"))

    def no_opa(self) -> None:
        """Say that one change was left out for want of `opa`."""
        self._console.print()
        self._console.print(Text(self._t("opa_missing"), style="dim"))

    def posture(self, posture: Posture) -> None:
        """Print what this machine shows, and what it lacks."""
        text = self._t("posture").format(device=posture.device_id, known=len(posture.facts), unknown=posture.unknown)
        self._console.print(Padding(Text(text), (0, 0, 0, 5)))
        facts = ", ".join(f"{name}={value}" for name, value in posture.facts.items() if name not in _DULL)
        self._console.print(Padding(Text(facts, style="dim"), (0, 0, 0, 5)))
        for label, missing in dict.fromkeys(posture.missing):
            line = f"{self._t('missing')} {label}: {missing}" if label else f"{self._t('missing')}: {missing}"
            self._console.print(Padding(Text(line, style="dim"), (0, 0, 0, 5)))

    def shown(self, shown: Shown, codes: Mapping[str, Code]) -> None:
        """Print one request of this machine."""
        event = shown.event
        reasons = event.get("reasons") or ()
        parts = [] if shown.revoked_ms is None else [self._t("revoked").format(ms=shown.revoked_ms)]
        parts += [codes[reasons[0]].text(self._language)] if reasons and reasons[0] in codes else list(reasons[:1])
        good, bad = self._marks
        effect = event.get("effect")
        style, ja, en = EFFECTS[Effect(effect)] if effect else ("red", "不明", "unknown")
        self._row(
            Text(bad, style="bold red") if shown.faults else Text(good, style="green"),
            Text(self._t("me")),
            Text(self._t("machine")),
            Text(f"{shown.target} {event.get('label') or ''}".strip()),
            Text(self._pick((ja, en)), style=style),
            Text("" if event.get("trust") is None else str(event["trust"])),
            Text("; ".join(parts) or self._t("before_revoked")),
            str(event.get("latency_us", "")),
            str(shown.answer.microseconds),
        )
        for fault in shown.faults:
            self._console.print(Padding(Text(fault, style="red"), (0, 0, 0, 5)))

    def speed(self, times: int, decided: int, round_trip: int) -> None:
        """Print the medians of a request that was repeated."""
        self._console.print()
        text = self._t("speed").format(times=times, decided=decided, round=round_trip)
        self._console.print(Text(text, style="dim"))

    def audit(self, report: AuditReport, *, whole: bool) -> bool:
        """Print what the audit of the log found; return whether the log is what was written.

        `whole`: the sidecar has stopped, so that every record must be anchored.
        """
        good = not report.faults and (not whole or (report.anchored == report.records > 0))
        if good:
            text = self._t("audit").format(records=report.records, anchored=report.anchored)
            self._console.print(Text.assemble((self._marks[0], "green"), " ", text))
            return True
        fault = report.faults[0].code if report.faults else f"{report.anchored}/{report.records}"
        text = self._t("audit_bad").format(fault=fault)
        self._console.print(Text.assemble((self._marks[1], "bold red"), " ", text))
        return False

    def summary(self, count: int, failed: int, *, held: bool, seconds: float) -> None:
        """Print the verdict on so many requests."""
        if held:
            text = Text(self._t("good").format(count=count, seconds=seconds), style="bold green")
        else:
            text = Text(self._t("bad").format(count=failed or 1, all=count), style="bold red")
        self._console.print(text)
        self._console.print()

    def go_on(self, folder: Path) -> None:
        """Print commands to go on with."""
        zt, place = command_name(), shlex.quote(str(folder))
        log = f"{zt} audit verify {place}/log --checkpoints {place}/checkpoints --key {place}/keys/log-signing.pub.pem"
        self._commands(
            self._t("next"),
            ("keep", f"{zt} demo --keep"),
            ("decide", f"{zt} decide {place}/question.yaml --config {place}/zt.toml"),
            ("verify", log),
            ("edit", f"less {place}/policy/catalogue.yaml"),
            ("init", f"{zt} init my-zt --pack corp"),
            ("remove", f"rm -r {place}"),
        )

    def stay(self, running: Demo) -> None:
        """Print commands to try while it runs."""
        folder = running.world.folder
        place = shlex.quote(str(folder))
        self._console.print(Text(self._t("stay"), style="bold"))
        self._console.print()
        for title, line in curl_lines(running.world, running.ports["front"]):
            self._command(self._pick(title), line)
        self._command(self._t("edit_now"), f"${{EDITOR:-vi}} {place}/policy/catalogue.yaml")
        self._command(self._t("decide"), f"{command_name()} decide {place}/question.yaml --config {place}/zt.toml")
        self._command(self._t("metrics"), f"curl --unix-socket {place}/admin.sock http://zt/metrics")

    def leave(self, folder: Path) -> None:
        """Print how to be rid of what was kept."""
        self._command(self._t("remove"), f"rm -r {shlex.quote(str(folder))}")

    # -- rows

    def _row(self, mark: str | Text, *cells: str | Text, style: str = "") -> None:
        *fixed, reason, decided, round_trip = cells
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=2)
        for _, width in COLUMNS:
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        if self._one_line:
            taken = 2 + sum(width for _, width in COLUMNS) + 2 * NUMBER + 9
            table.add_column(width=self._console.width - taken, overflow="fold")
        table.add_column(width=NUMBER, justify="right", no_wrap=True)
        if self._one_line:
            table.add_column(width=NUMBER, justify="right", no_wrap=True)
            table.add_row(mark, *fixed, reason, decided, round_trip, style=style)
        else:
            table.add_row(mark, *fixed, decided, style=style)
        self._console.print(table)

    def _reason(self, result: Result, codes: Mapping[str, Code]) -> str:
        """The text of the reason that the client was given, after what changed; for an allow what the story says."""
        reasons = result.event.get("reasons") or ()
        parts = [self._pick(result.step.note)] if any(result.step.note) else []
        if result.noticed_ms is not None:
            parts.append(self._t("noticed").format(ms=result.noticed_ms))
        if reasons:
            first = codes.get(reasons[0])
            text = first.text(self._language) if first is not None else reasons[0]
            if len(reasons) > 1:
                more = self._t("more").format(count=len(reasons) - 1)
                text += f"（{more}）" if self._language == "ja" else f" ({more})"
            parts.append(text)
        separator = "。" if self._language == "ja" else "; "
        return separator.join(parts)

    def _remedy(self, result: Result, codes: Mapping[str, Code]) -> str:
        """What the person who was refused is told to do; empty where nothing they could do would help."""
        reasons = result.event.get("reasons") or ()
        first = codes.get(reasons[0]) if reasons and result.event.get("effect") != "allow" else None
        return first.hint(self._language) if first is not None else ""

    def _commands(self, title: str, *commands: tuple[str, str]) -> None:
        self._console.print(Text(title, style="bold"))
        for key, line in commands:
            self._command(self._t(key), line)

    def _command(self, title: str, line: str) -> None:
        """A command on a line of its own, never wrapped: it is there to be copied."""
        self._console.print(Text(f"  {title}", style="dim"))
        self._console.print(Text(f"    {line}"), soft_wrap=True)

    # -- words

    def _pick(self, words: Words) -> str:
        return words[0] if self._language == "ja" else words[1]

    def _t(self, key: str) -> str:
        return self._pick(TEXTS[key])


def command_name() -> str:
    """How this very program is called from here: by its name if that is what PATH finds, else by a path."""
    own, found = Path(sys.argv[0]), shutil.which("zt")
    if os.sep not in sys.argv[0] or (found is not None and Path(found).resolve() == own.resolve()):
        return "zt"
    with contextlib.suppress(ValueError):
        return shlex.quote(str(own.absolute().relative_to(Path.cwd())))
    return shlex.quote(str(own.absolute()))
