"""`zt audit`: is the decision log what was written (`verify`), and would it be decided the same again (`replay`)?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_checkpoints import CheckpointKeys, load_public_key
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport, Finding
from zt_engine.authoring.replay import Redecide, ReplayReport, replay
from zt_engine.core.errors import ZtError
from zt_engine.pages.registry import registry

Language = Literal["ja", "en"]
SHOWN = 50
"""More findings than this are counted, not listed."""

_TEXTS: dict[str, tuple[str, str]] = {
    "chain": ("起動分", "run"),
    "sidecar": ("サイドカー", "sidecar"),
    "files": ("ファイル", "files"),
    "records": ("記録", "records"),
    "anchored": ("署名済み", "anchored"),
    "unanchored": ("未署名", "unanchored"),
    "fault": ("異常", "fault"),
    "note": ("注記", "note"),
    "where": ("場所", "where"),
    "total": ("合計", "total"),
    "good": ("署名済みの記録に異常はありません。", "Nothing that is anchored was changed."),
    "bad": ("異常が{count}件あります。", "{count} faults."),
    "nothing": (
        "署名済みの記録がないため、何も確認できません。--checkpoints と --key を指定してください。",
        "Nothing is anchored, so nothing is proven. Give --checkpoints and --key.",
    ),
    "more": ("ほか{count}件", "and {count} more"),
    "replayed": (
        "{decisions}件中{replayed}件を再判定し、{same}件が一致しました。",
        "{replayed} of {decisions} decisions were made again, {same} came out the same.",
    ),
    "empty": ("再判定できる記録がありません。", "There is no decision that could be made again."),
    "unwired": ("このインストールでは再判定できません。", "This installation cannot decide again."),
    "field": ("項目", "field"),
    "decision": ("判定", "decision"),
    "recorded": ("記録", "recorded"),
    "redecided": ("再判定", "decided again"),
}

LangOption = Annotated[str, typer.Option("--lang", help="ja or en; default: from LANG.")]


def default_language() -> str:
    """The language the terminal asks for."""
    return "ja" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("ja") else "en"


class _Words:
    def __init__(self, language: str) -> None:
        self._ja = language == "ja"
        self.language: Language = "ja" if self._ja else "en"

    def __call__(self, key: str, **values: int) -> str:
        ja, en = _TEXTS[key]
        return (ja if self._ja else en).format(**values)

    def meaning(self, code: str) -> str:
        known = registry().get(code)
        return known.text(self.language) if known is not None else code


def _fail(error: ZtError, words: _Words) -> typer.Exit:
    typer.echo(f"{error}\n{words.meaning(error.code)}", err=True)
    return typer.Exit(2)


def create_app(make_redecide: Callable[[], Redecide] | None = None) -> typer.Typer:
    """The command group; `make_redecide` wires the decision path when `replay` is asked for."""
    group = typer.Typer(no_args_is_help=True, help="Prove the decision log, and decide it again.")

    @group.command("verify")
    def verify_command(
        folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="The log's folder, and its archives.")],
        checkpoints: Annotated[
            list[Path] | None, typer.Option("--checkpoints", help="Second directory or syslog file; repeatable.")
        ] = None,
        keys: Annotated[
            list[Path] | None, typer.Option("--key", help="Public key of the checkpoints (PEM); repeatable.")
        ] = None,
        lang: LangOption = "",
    ) -> None:
        """Find every edit, removal, reordering and truncation of the anchored log.

        Exit 0: nothing anchored was changed. 1: faults. 2: it could not be verified.
        """
        words = _Words(lang or default_language())
        try:
            trusted = CheckpointKeys([load_public_key(key) for key in keys or ()])
            lines = list(read_checkpoints(checkpoints or ()))
            report = verify(read_log(folders), lines, genuine=trusted.verify)
        except ZtError as error:
            raise _fail(error, words) from None
        except OSError as error:
            typer.echo(f"{error.filename}: {error.strerror}", err=True)
            raise typer.Exit(2) from None
        raise typer.Exit(show_verification(report, words))

    @group.command("replay")
    def replay_command(
        folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="The log's folder, and its archives.")],
        inputs: Annotated[Path | None, typer.Option(help="Folder of the inputs; default: DIR/inputs.")] = None,
        archive: Annotated[Path | None, typer.Option(help="Archived policies; default: DIR/archive.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Stop after so many differences.")] = 20,
        lang: LangOption = "",
    ) -> None:
        """Decide every recorded decision again; effect, reasons, obligations and threshold must agree byte for byte.

        Exit 0: all agree. 1: differences. 2: it could not be replayed.
        """
        words = _Words(lang or default_language())
        if make_redecide is None:
            typer.echo(words("unwired"), err=True)
            raise typer.Exit(2)
        try:
            segments = read_log(folders, inputs=inputs)
            report = replay(segments, make_redecide(), Archive(archive or folders[0] / "archive"), limit=limit)
        except ZtError as error:
            raise _fail(error, words) from None
        except OSError as error:
            typer.echo(f"{error.filename}: {error.strerror}", err=True)
            raise typer.Exit(2) from None
        raise typer.Exit(show_replay(report, words))

    return group


def show_verification(report: AuditReport, words: _Words) -> int:
    """Print the table and what was found; return the exit status."""
    console = Console()
    table = Table(words("chain"), words("sidecar"), words("files"), words("records"))
    table.add_column(words("anchored"), justify="right")
    table.add_column(words("unanchored"), justify="right")
    for chain in report.chains:
        present, proven = chain.present, chain.proven
        cells = (chain.chain, chain.sidecar, chain.segments, present, proven, present - proven)
        table.add_row(*(_plain(cell) for cell in cells))
    if len(report.chains) > 1:
        files = sum(chain.segments for chain in report.chains)
        cells = (words("total"), "", files, report.records, report.anchored, report.unanchored)
        table.add_row(*(_plain(cell) for cell in cells), style="bold")
    console.print(table)
    _show_findings(console, words, "fault", report.faults)
    _show_findings(console, words, "note", report.notes)
    if report.faults:
        console.print(words("bad", count=len(report.faults)), style="bold red")
        return 1
    if not report.anchored:
        console.print(words("nothing"), style="bold yellow")
        return 2
    console.print(words("good"), style="bold green")
    return 0


def show_replay(report: ReplayReport, words: _Words) -> int:
    """Print the differences; return the exit status."""
    console = Console()
    if report.differences:
        table = Table(*(words(name) for name in ("where", "decision", "field", "recorded", "redecided")))
        for one in report.differences:
            cells = (one.where, one.decision_id, one.field, one.recorded, one.redecided)
            table.add_row(*(_plain(cell) for cell in cells))
        console.print(table)
        code = "LOG_REPLAY_DIFFERS"
        console.print(f"{code}: {words.meaning(code)}", soft_wrap=True, highlight=False)
    _show_findings(console, words, "fault", report.faults)
    numbers = {"decisions": report.decisions, "replayed": report.replayed, "same": report.same}
    console.print(words("replayed", **numbers), highlight=False)
    if report.differences or report.faults:
        return 1
    if not report.replayed:
        console.print(words("empty"), style="bold yellow")
        return 2
    return 0


def _show_findings(console: Console, words: _Words, kind: str, findings: Iterable[Finding]) -> None:
    """One line a finding, never wrapped, so that it can be searched and cut."""
    found = list(findings)
    for finding in found[:SHOWN]:
        detail = f" ({finding.message})" if finding.message else ""
        line = f"{words(kind)} {finding.code} {finding.where}: {words.meaning(finding.code)}{detail}"
        console.print(_plain(line), soft_wrap=True)
    if len(found) > SHOWN:
        console.print(words("more", count=len(found) - SHOWN))


def _plain(text: object) -> Text:
    """Text from a log as it is: no markup, and nothing a terminal would act on."""
    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text)))


app = create_app()
