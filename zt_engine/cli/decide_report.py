"""A decision as a person reads it: who asked for what, the effect, the reasons, the score point by point."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zt_engine.bootstrap.deciding import Explained
from zt_engine.bootstrap.kept_state import KeptTold
from zt_engine.cli.output import Language
from zt_engine.core.decision import Decision, Effect, Obligation
from zt_engine.core.decision_event import timestamp
from zt_engine.core.policy_input import NEVER, PolicyInput
from zt_engine.core.trust_explain import Adjustment, Explanation, Item

WIDE = 100
"""Columns from which on values are shown longer; below, the table fits 80."""

EFFECTS: dict[Effect, tuple[str, str, str]] = {
    Effect.ALLOW: ("green", "許可", "allow"),
    Effect.STEP_UP: ("yellow", "追加認証", "step-up"),
    Effect.DENY: ("red", "拒否", "deny"),
    Effect.OBSERVE: ("cyan", "許可（観察中）", "allow (observed)"),
}

FACTORS: dict[str, tuple[str, str]] = {
    "key_protection": ("端末鍵の保護", "key protection"),
    "patch": ("更新の適用", "patches"),
    "known_exploited": ("悪用される脆弱性", "exploited flaws"),
    "disk_encryption": ("ディスク暗号化", "disk encryption"),
    "protection": ("マルウェア対策", "malware protection"),
    "managed": ("端末管理", "device management"),
    "firewall": ("ファイアウォール", "firewall"),
    "secure_boot": ("セキュアブート", "secure boot"),
    "screen_lock": ("画面ロック", "screen lock"),
    "not_admin": ("管理者権限なし", "no admin rights"),
    "integrity": ("改変なし", "integrity"),
    "authenticator": ("サインインの方法", "sign-in method"),
    "authentication_age": ("サインインの経過", "age of the sign-in"),
    "standing": ("在籍状態", "standing"),
    "binding": ("端末鍵との結び付き", "binding to a key"),
    "proofing": ("本人確認", "identity proofing"),
    "behaviour": ("ふるまい", "behaviour"),
    "location": ("場所", "location"),
    "path": ("経路", "path"),
    "hours": ("時間帯", "hours"),
}
PILLARS = {"device": ("端末", "device"), "subject": ("利用者", "subject"), "context": ("状況", "context")}
STATUSES = {
    "not_collected": ("未収集", "not collected"),
    "not_supported": ("非対応", "not supported"),
    "error": ("取得失敗", "could not be read"),
}
ADJUSTMENTS = {
    "CAP_WEAKEST": ("（上限: いちばん弱い{pillar}から離れすぎない）", "(cap: not far above the weakest, {pillar})"),
    "RISK_PENALTY": ("（リスク信号による減点）", "(taken off for risk signals)"),
}

TEXTS: dict[str, tuple[str, str]] = {
    "from": ("端末", "device"),
    "no_device": ("端末なし", "no device"),
    "anonymous": ("サインインなし", "nobody signed in"),
    "for": ("代理", "acting for"),
    "at": ("時刻", "at"),
    "reasons": ("理由", "Reasons"),
    "todo": ("対処", "to do"),
    "would": ("本来の判定", "would be"),
    "trust": ("信頼スコア", "Trust score"),
    "needed": ("必要", "needed"),
    "best": ("最良の場合", "at best"),
    "after": ("再サインイン後", "after sign-in"),
    "as_of": ("端末の情報の時効は停止中。次の時点で判定", "ageing stands still; the device as of"),
    "factor": ("項目", "factor"),
    "value": ("値", "value"),
    "method": ("確認方法", "seen by"),
    "age": ("経過", "age"),
    "confidence": ("確度", "conf"),
    "pillar_points": ("柱の点", "pillar"),
    "points": ("点", "points"),
    "sum": ("加重平均", "weighted mean"),
    "layers": ("層の判定", "Layers"),
    "layer": ("層", "layer"),
    "says": ("判定", "says"),
    "unmet": ("満たされない要件", "unmet"),
    "obligations": ("義務", "obligations"),
    "threshold": ("しきい値", "threshold"),
    "duties": ("許可に伴う義務", "Obligations"),
    "fix": ("許可に必要なこと", "What would turn it into an allow"),
    "fix_none": ("利用者や端末の側で直せることはありません。", "Nothing that person or device could put right."),
    "fix_score": ("スコアを{threshold}まで上げる最小の改善", "the least that lifts the score to {threshold}"),
    "fix_never": ("スコアは改善しても{threshold}に届きません。", "no improvement lifts the score to {threshold}."),
    "notes": ("有効でない承認", "Not in force"),
    "threat": ("警戒レベル", "threat level"),
    "kept": ("保存された状態", "Kept state"),
    "kept_of": (
        "サイドカー{sidecar}が{control_plane}から最後に受け取って保存した内容です（今は問い合わせていません）。",
        "what the sidecar {sidecar} last kept of {control_plane}, which was not asked now:",
    ),
    "kept_as_of": ("{age}前の時点、{policy}", "as of {age} ago, {policy}"),
    "kept_never": ("有効な時点の記録なし、{policy}", "no time that counts, {policy}"),
    "kept_release": ("リリース{release}", "release {release}"),
    "kept_folder": ("ポリシーフォルダー", "the policy folder"),
    "none": ("なし", "none"),
    "yes": ("許可", "allows"),
    "no": ("不可", "objects"),
}


class Report:
    """Prints explained decisions in one language."""

    def __init__(self, console: Console, language: Language) -> None:
        self._console = console
        self._language: Language = language

    def show(self, explained: Explained, *, full: bool, kept: KeptTold | None = None) -> None:
        """Print a decision; `full` adds the score's items and what each layer said."""
        if kept is not None:
            self._kept(kept)
        if explained.document is not None:
            self._request(explained.document)
        self._effect(explained.decision)
        self._reasons(explained)
        self._score(explained, full=full)
        if full and explained.layers:
            self._layers(explained)
        if explained.decision.obligations:
            duties = ", ".join(map(duty, explained.decision.obligations))
            self._line(self._t("duties"), duties)
        if not explained.decision.opens:
            self._fix(explained)
        for note in explained.notes:
            self._line(self._t("notes"), str(note))

    # -- parts

    def _kept(self, kept: KeptTold) -> None:
        policy = self._t("kept_release" if kept.release else "kept_folder").format(release=kept.release)
        known = kept.watermark_age is not None
        as_of = self._t("kept_as_of" if known else "kept_never").format(
            age=age(int(kept.watermark_age or 0)), policy=policy
        )
        of = self._t("kept_of").format(sidecar=kept.sidecar, control_plane=kept.control_plane)
        self._line(self._t("kept"), f"{of} {as_of}")

    def _request(self, document: PolicyInput) -> None:
        subject, device, label = document.subject, document.device, document.resource.label
        who = subject.id or self._t("anonymous")
        if subject.delegate is not None:
            who = f"{subject.delegate.id} ({self._t('for')}: {who})"
        # The path is blank in an input whose policy does not read it; the route always says which it was.
        what = f"{document.request.method} {document.request.host}{document.request.path or document.request.route}"
        self._console.print(Text.assemble((who, "bold"), f"  {device.id or self._t('no_device')}  →  ", (what, "bold")))
        moment = datetime.fromtimestamp(document.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        around = f"{label.code} · {document.resource.service} {document.request.route} · {document.request.channel}"
        level = f"{self._t('threat')} {document.situation.threat_level}"
        self._console.print(Text(f"{around} · {level} · {moment}", style="dim"))
        self._console.print()

    def _effect(self, decision: Decision) -> None:
        style, ja, en = EFFECTS[decision.effect]
        text = Text(f" {self._pick(ja, en)} ", style=f"bold reverse {style}")
        if decision.observed is not None:
            _, ja, en = EFFECTS[decision.observed]
            text.append(f"  {self._t('would')}: {self._pick(ja, en)}", style="not reverse")
        self._console.print(text)

    def _reasons(self, explained: Explained) -> None:
        for code in explained.decision.reasons:
            entry = explained.codes.get(code)
            self._console.print(Text.assemble(("  " + code, "bold"), "  ", entry.text(self._language) if entry else ""))
            if entry is not None and entry.hint(self._language):
                self._console.print(Padding(Text("→ " + entry.hint(self._language), style="dim"), (0, 0, 0, 4)))
            if entry is not None and entry.command:
                self._console.print(Padding(Text("$ " + entry.command), (0, 0, 0, 4)))
        self._console.print()

    def _score(self, explained: Explained, *, full: bool) -> None:
        if explained.document is None:
            return
        trust = explained.document.trust
        parts = [f"{self._t('best')} {trust.best}", f"{self._t('after')} {trust.after_step_up}"]
        pillars = trust.pillars
        parts += [f"{self._pick(*PILLARS[name])} {getattr(pillars, name)}" for name in PILLARS]
        self._line(self._t("trust"), f"{trust.score}   {self._t('needed')} {explained.decision.threshold}")
        self._console.print(Padding(Text(" · ".join(parts), style="dim"), (0, 0, 0, 2)))
        if full and explained.trust is not None:
            self._console.print(self._items(explained.trust))
            self._console.print(self._sum(explained.trust))
            if explained.trust.facts_as_of is not None:
                self._line(self._t("as_of"), timestamp(explained.trust.facts_as_of))
            self._console.print()

    def _items(self, trust: Explanation) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        wide = self._console.width >= WIDE
        # Everything has its place in 80 columns: the numbers never give way to the words.
        table.add_column(self._t("factor"), no_wrap=True, width=20)
        table.add_column(self._t("value"), no_wrap=True, width=30 if wide else 11)
        table.add_column(self._t("method"), no_wrap=True, width=12)
        for name, width in (("age", 5), ("confidence", 4), ("pillar_points", 8), ("points", 6)):
            table.add_column(self._t(name), justify="right", no_wrap=True, min_width=width)
        last = ""
        for item in trust.items:
            if item.pillar != last:
                table.add_row(Text(self._pick(*PILLARS[item.pillar]), style="bold"))
                last = item.pillar
            table.add_row(*self._item(item))
        return table

    def _item(self, item: Item) -> tuple[str | Text, ...]:
        seen = item.status == "observed"
        value = shown(item.value) if seen else self._pick(*STATUSES[item.status])
        style = "" if item.lost == 0 else "yellow" if item.points else "red"
        return (
            "  " + self._pick(*FACTORS.get(item.factor, (item.factor, item.factor))),
            "" if item.source == "auth_time" and seen else value,
            item.method if seen and item.pillar == "device" else "",
            age(item.age),
            f"{item.confidence / 10:.0f}%",
            Text(f"{points(item.points)}/{item.weight}", style=style),
            points(item.contribution),
        )

    def _sum(self, trust: Explanation) -> Text:
        """The sum in one line: INVARIANT of an explanation, what is added up here is the exact score."""
        total = points(sum(item.contribution for item in trust.items))
        line = Text.assemble(("= ", "bold"), f"{total} {self._t('sum')}")
        for adjustment in trust.adjustments:
            line.append(f"  {points(adjustment.points)} {self._adjustment(adjustment)}")
        line.append(f"  = {points(trust.score.exact)} → ").append(str(trust.score.score), style="bold")
        return line

    def _adjustment(self, adjustment: Adjustment) -> str:
        pillar = self._pick(*PILLARS[adjustment.pillar]) if adjustment.pillar in PILLARS else ""
        return self._pick(*ADJUSTMENTS[adjustment.code]).format(pillar=pillar)

    def _layers(self, explained: Explained) -> None:
        self._console.print(Text(self._t("layers"), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("layer", "says", "unmet", "obligations"):
            table.add_column(self._t(name), overflow="fold")
        table.add_column(self._t("threshold"), justify="right")
        for name, result in explained.layers.items():
            says = Text(self._t("yes"), style="green") if result.allow else Text(self._t("no"), style="red")
            unmet = ", ".join(sorted({item.code for item in result.unmet}))
            table.add_row(name, says, unmet, ", ".join(map(duty, result.obligations)), str(result.threshold))
        self._console.print(table)

    def _fix(self, explained: Explained) -> None:
        decision, lines = explained.decision, []
        for code in dict.fromkeys(item.code for item in decision.unmet):
            entry = explained.codes.get(code)
            if code != "TRUST_LOW" and entry is not None and entry.kind != "none" and entry.hint(self._language):
                lines.append(f"{code}: {entry.hint(self._language)}")
        if any(item.code == "TRUST_LOW" for item in decision.unmet) and explained.trust is not None:
            lines.append(self._score_fix(explained))
        self._console.print(Text(self._t("fix"), style="bold"))
        for line in lines or [self._t("fix_none")]:
            self._console.print(Padding(Text("• " + line), (0, 0, 0, 2)))

    def _score_fix(self, explained: Explained) -> str:
        threshold = explained.decision.threshold
        if explained.fixes is None:
            return "TRUST_LOW: " + self._t("fix_never").format(threshold=threshold)
        names = [
            f"{self._pick(*PILLARS[fix.pillar])}: {self._pick(*FACTORS.get(fix.factor, (fix.factor, fix.factor)))}"
            for fix in explained.fixes
        ]
        return f"TRUST_LOW: {self._t('fix_score').format(threshold=threshold)}: {', '.join(names) or self._t('none')}"

    # -- words

    def _line(self, title: str, text: str) -> None:
        self._console.print(Text.assemble((title + "  ", "bold"), text))

    def _pick(self, ja: str, en: str) -> str:
        return ja if self._language == "ja" else en

    def _t(self, key: str) -> str:
        return self._pick(*TEXTS[key])


def show(
    console: Console, explained: Explained, language: Language, *, full: bool, kept: KeptTold | None = None
) -> None:
    """Print one explained decision; `kept` says which state of a control plane it was made on."""
    Report(console, language).show(explained, full=full, kept=kept)


def duty(obligation: Obligation) -> str:
    """Return an obligation as `id` or `id=value`."""
    return obligation.id if obligation.value is None else f"{obligation.id}={obligation.value}"


def points(millionths: int) -> str:
    """Return points with two digits, rounded towards zero so that a total is never flattered."""
    hundredths = abs(millionths) // 10_000
    return f"{'-' if millionths < 0 else ''}{hundredths // 100}.{hundredths % 100:02d}"


def age(seconds: int | None) -> str:
    """Return an age in its largest whole unit."""
    if seconds is None:
        return ""
    if seconds >= NEVER:
        return "∞"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def shown(value: object) -> str:
    """Return a fact's value as it would be written in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(map(str, value)) + "]"
    return "" if value is None else str(value)
