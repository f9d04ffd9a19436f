"""What the agent says to the person at the machine: the notice, the choice of a key, and what is still missing."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec
from rich.console import Console
from rich.text import Text

from device_inventory.agent.control_plane import Mine, Notice
from device_inventory.agent.device import Outcome
from device_inventory.agent.errors import AgentError, UnreachableError
from device_inventory.agent.keys import Choice
from device_inventory.agent.oidc_device import DevicePrompt
from device_inventory.agent.state import Item, State
from device_inventory.notice import PREAMBLE
from zt_engine.cli.output import Language, describe
from zt_engine.cli.wrapping import wrapped
from zt_engine.core.errors import InputError, Problem, UnavailableError, ZtError
from zt_engine.pages.registry import registry

TEXTS: dict[str, tuple[str, str]] = {
    "where": ("登録先: {url}", "enrolling at {url}"),
    "trusted": ("これからはこの認証局で接続先を確かめます。", "The control plane is known by this CA from now on."),
    "terms": ("コントロールプレーンに接続しています…", "reaching the control plane ..."),
    "resume": ("途中の登録を続けます。", "going on with an enrollment that was begun."),
    "sign_in": ("職員アカウントでサインインしてください。", "Sign in with your staff account."),
    "key": ("この端末の鍵を作成しています…", "creating this device's key ..."),
    "certificate": ("証明書を発行しています…", "asking for a certificate ..."),
    "report": ("端末の状態を確認しています…", "looking at this device ..."),
    "visit": ("ブラウザーで次のアドレスを開いてください:", "Open this address in a browser:"),
    "type": ("表示された画面で次のコードを入力してください: {code}", "and type this code there: {code}"),
    "collected": ("収集する情報", "What is collected"),
    "agree": ("この内容に同意して登録しますか?", "Do you agree, and enroll this device?"),
    "agreed": ("同意済みとして進めます (--yes)。", "agreed to (--yes)."),
    "chosen": ("鍵の保管先: {kind}", "The key is kept in: {kind}"),
    "passed": ("{kind} は使いません: {why}", "not in {kind}: {why}"),
    "enrolled": ("登録しました。端末ID: {device}", "Enrolled. The device's id: {device}"),
    "waiting": (
        "別の担当者の承認を待っています。承認されると自動で利用できるようになります。",
        "Somebody else has to approve the device. It works by itself once that is done.",
    ),
    "go_on": ("次のコマンドで動かし続けてください:", "Keep it running:"),
    "reported": ("報告しました（{told}項目、通番{seq}）。", "Reported: {told} facts, number {seq}."),
    "trouble": ("情報の一部を送れませんでした: {why}", "A part of the evidence could not be sent: {why}"),
    "unattested": (
        "鍵がTPMにあることを証明できませんでした。証明なしで登録します: {why}",
        "Nothing proves that the key is in the TPM; enrolling without proof: {why}",
    ),
    "good_for": ("いま使えるのは「{label}」の情報までです。", "Good for data up to {label} now"),
    "good_for_none": ("いまはどの情報にも使えません。", "Good for no data now"),
    "further": ("「{label}」には: {what}", "; for {label}: {what}"),
    "more": ("（ほか{count}項目）", " ({count} more)"),
    "nothing": ("不足している項目はありません。", "Nothing is missing."),
    "left": ("あと{count}項目で利用できます。", "{count} items left."),
    "label": ("「{label}」の情報に必要:", "needed for data labelled {label}:"),
    "general": ("全般:", "in general:"),
    "not_enrolled": ("この端末は登録されていません。", "This machine is not enrolled."),
    "begun": (
        "登録の途中です。続きは: zt agent enroll",
        "An enrollment is under way. Go on with: zt agent enroll",
    ),
    "device": ("端末ID", "device"),
    "server": ("接続先", "control plane"),
    "status": ("状態", "status"),
    "protection": ("鍵の保管先", "key is kept in"),
    "until": ("証明書の期限", "certificate until"),
    "over": ("（期限切れ）", "(over)"),
    "last": ("最後の報告", "last report"),
    "never": ("なし", "none yet"),
    "offline": (
        "接続先に確認できませんでした。以下は最後の報告の時点の内容です: {why}",
        "The control plane could not be asked; this is as of the last report: {why}",
    ),
    "lost": (
        "紛失を報告しました。この端末からは利用できなくなります。見つかったときは窓口に連絡してください。",
        "Reported lost. Nothing is opened by this device any more. If it turns up, tell your helpdesk.",
    ),
    "mine": ("あなたの端末:", "Your devices:"),
    "which": ("紛失した端末の番号", "The number of the one that is lost"),
    "lost_sure": ("端末 {device} を紛失として報告しますか?", "Report the device {device} lost?"),
}
UNITS = "~/.config/systemd/user"
KINDS: dict[str, tuple[str, str]] = {
    "file": ("ファイル（ソフトウェア）", "a file (software)"),
    "os_keystore": ("ソフトウェアの鍵保管庫", "a keystore of software"),
    "pkcs11": ("PKCS#11 トークン", "a PKCS #11 token"),
    "hw": ("ハードウェア", "hardware"),
    "attested_hw": ("ハードウェア（証明済み）", "hardware (attested)"),
    "tpm": ("TPM", "the TPM"),
}
STATUSES: dict[str, tuple[str, str]] = {
    "enrolled": ("登録済み（確認中）", "enrolled, not in service yet"),
    "active": ("利用できます", "in service"),
    "quarantined": ("隔離中", "quarantined"),
    "lost": ("紛失", "lost"),
    "revoked": ("失効", "revoked"),
    "retired": ("廃止", "retired"),
}


class Words:
    """The texts in one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, key: str, **values: object) -> str:
        return self.pick(TEXTS[key]).format(**values)

    def pick(self, pair: tuple[str, str]) -> str:
        """Return the text of a pair in this language."""
        return pair[0] if self.language == "ja" else pair[1]

    def named(self, table: Mapping[str, tuple[str, str]], key: str) -> str:
        """Return a word of a table, or the key itself where the table has none."""
        return self.pick(table.get(key, (key, key)))


def as_zt_error(error: AgentError) -> ZtError:
    """Return the agent's error as one of the engine's: same code, and printed as everywhere."""
    kind = UnavailableError if isinstance(error, UnreachableError) else InputError
    return kind(error.code, error.message, where=error.where, hint=error.hint)


class Screen:
    """Prints for one person, in one language; what a server said was made printable before."""

    def __init__(self, language: Language) -> None:
        self.words = Words(language)
        self.console = Console(highlight=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = 100

    def step(self, name: str) -> None:
        """Tell what happens now."""
        self._line(self.words(name), style="dim")

    def notice(self, notice: Notice) -> None:
        """Show every fact that is collected, with purpose and retention."""
        words = self.words
        self._line(notice.preamble or PREAMBLE[words.language])
        self._line("")
        self._line(words("collected"), style="bold")
        purposes = dict.fromkeys(fact.purpose for fact in notice.facts)
        retentions = list(dict.fromkeys(fact.retention for fact in notice.facts))
        for purpose in purposes:
            self._line(f"  {purpose}", style="bold")
            for fact in notice.facts:
                if fact.purpose == purpose:
                    self._line(f"    - {fact.text} ({fact.name}) [{retentions.index(fact.retention) + 1}]")
        self._line("")
        for number, retention in enumerate(retentions, 1):
            self._line(f"  [{number}] {retention}", style="dim")
        self._line("")

    def chose(self, choice: Choice) -> None:
        """Say where the key is made, and why not somewhere better."""
        words = self.words
        for passed in choice.passed_over:
            problem = Problem(code=passed.reason.code, message=passed.reason.message)
            why = describe(problem, words.language, advice=False)
            self._line(words("passed", kind=words.named(KINDS, passed.kind), why=why))
        self._line(words("chosen", kind=words.named(KINDS, choice.kind)), style="bold")

    def visit(self, url: str) -> None:
        """Show where to sign in. An address is never wrapped: it is there to be copied."""
        self._line(self.words("visit"))
        self._command(url)

    def prompt(self, prompt: DevicePrompt) -> None:
        """Show where to sign in on another machine, and the code to type there."""
        self.visit(prompt.uri)
        self._line(self.words("type", code=prompt.code), style="bold")
        if prompt.complete_uri:
            self._command(prompt.complete_uri)

    def enrolled(self, device_id: str, outcome: Outcome, *, options: str = "") -> None:
        """Say that it is done, and what is left. `options` are what the agent has to be called with from now on."""
        words = self.words
        self._line(words("enrolled", device=device_id), style="bold green")
        self.reported(outcome)
        self._line(words("go_on"))
        self._command(f"mkdir -p {UNITS} && zt agent unit{options} > {UNITS}/zt-agent.service")
        self._command("systemctl --user enable --now zt-agent")

    def reported(self, outcome: Outcome) -> None:
        """Say what was told, and what is left."""
        words, answer = self.words, outcome.answer
        self._line(words("reported", told=outcome.told, seq=answer.seq))
        for trouble in outcome.troubles:
            self.doubt("trouble", trouble)
        self._line(f"{words('status')}: {words.named(STATUSES, answer.status)}")
        self.missing(answer.items)

    def doubt(self, key: str, error: AgentError) -> None:
        """Say what did not work although the rest did, and what to do about it."""
        problem = Problem(code=error.code, message=error.message, hint=error.hint)
        self._line(self.words(key, why=describe(problem, self.words.language)), style="yellow")

    def missing(self, items: Sequence[Item]) -> None:
        """Show what is missing for which label, and how to mend it."""
        words = self.words
        if not items:
            self._line(words("nothing"), style="green")
            return
        self._line(words("left", count=len(items)), style="bold")
        for label, members in groupby(sorted(items, key=lambda item: item.label), key=lambda item: item.label):
            self._line(f"  {words('label', label=label) if label else words('general')}", style="bold")
            for item in members:
                text, remedy = self._of_item(item)
                self._line(f"    - {text}" + (f" ({item.fact})" if item.fact else ""))
                if remedy:
                    self._line(f"      {remedy}", style="dim")
                if item.command:
                    self._command(item.command, indent=6)

    def _of_item(self, item: Item) -> tuple[str, str]:
        """Return text and remedy in this language; a code of the policy's own is known to the server alone.

        Items of a report are kept as they came, and whoever reads them later may speak another language.
        """
        entry = registry().get(item.code)
        if entry is None:
            return item.text or item.code, item.remedy
        return entry.text(self.words.language), entry.hint(self.words.language)

    def mine(self, devices: Sequence[Mine]) -> None:
        """Show a person's devices, numbered."""
        self._line(self.words("mine"), style="bold")
        for number, device in enumerate(devices, 1):
            known = ", ".join(text for text in (device.name, device.model) if text)
            status = self.words.named(STATUSES, device.status)
            self._line(f"  {number}. {device.device_id}  {status}" + (f"  {known}" if known else ""))

    def status(
        self,
        state: State | None,
        items: Sequence[Item],
        *,
        now: float,
        status: str,
        good_for: str | None = None,
    ) -> None:
        """Show where the device stands, and first of all what it is good for now, where that is known."""
        words = self.words
        if state is None or state.held is None:
            self._line(words("not_enrolled" if state is None or state.session is None else "begun"), style="yellow")
            return
        if good_for is not None:
            self._line(self._reach(good_for, items), style="bold")
        held = state.held
        over = words("over") if held.not_after <= now else ""
        rows = {
            "device": held.device_id,
            "server": state.url,
            "status": words.named(STATUSES, status),
            "protection": words.named(KINDS, held.protection),
            "until": f"{instant(held.not_after)} {over}".strip(),
            "last": instant(state.reporting.at) if state.reporting.at else words("never"),
        }
        for name, value in rows.items():
            self._line(f"{words(name)}: {value}")
        if state.reporting.at:
            self.missing(items)

    def _reach(self, good_for: str, items: Sequence[Item]) -> str:
        """Return the label that is open now, and what the next one takes; items come from the lowest label up."""
        words = self.words
        said = words("good_for", label=good_for) if good_for else words("good_for_none")
        label = next((item.label for item in items if item.label), "")
        wanted = [item for item in items if item.label == label]
        if not label:
            return said
        what, _ = self._of_item(wanted[0])
        more = words("more", count=len(wanted) - 1) if len(wanted) > 1 else ""
        return said + words("further", label=label, what=what + more)

    def offline(self, error: AgentError) -> None:
        """Say on standard error that what follows is not from now."""
        why = describe(Problem(code=error.code, message=error.message), self.words.language, advice=False)
        print(f"zt: {self.words('offline', why=why)}", file=sys.stderr)

    def say(self, key: str, **values: object) -> None:
        """Print one of the texts."""
        self._line(self.words(key, **values))

    def _line(self, text: str, *, style: str = "") -> None:
        for line in wrapped(text, self.console.width):
            self.console.print(Text(line, style=style), soft_wrap=True)

    def _command(self, line: str, *, indent: int = 4) -> None:
        self.console.print(Text(" " * indent + line), soft_wrap=True)


def status_json(
    state: State | None, items: Sequence[Item], *, now: float, status: str, live: bool, good_for: str | None = None
) -> str:
    """Return the status for a program. `good_for` is null where nobody says what is open to the device now."""
    document: dict[str, object] = {"enrolled": state is not None and state.held is not None, "live": live}
    if state is not None:
        document["control_plane"] = state.url
        document["enrolling"] = state.session is not None
    if state is not None and state.held is not None:
        held, reporting = state.held, state.reporting
        document |= {
            "device_id": held.device_id,
            "status": status,
            "good_for": good_for,
            "key_protection": held.protection,
            "certificate": {"not_before": held.not_before, "not_after": held.not_after, "over": held.not_after <= now},
            "last_report": {"at": reporting.at, "seq": reporting.seq} if reporting.at else None,
            "items": [msgspec.to_builtins(item) for item in items],
        }
    return json.dumps(document, ensure_ascii=False, indent=2)


def instant(seconds: int) -> str:
    """Return an instant in this machine's time zone."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().isoformat(sep=" ", timespec="minutes")
