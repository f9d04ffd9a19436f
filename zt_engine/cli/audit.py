"""`zt audit`: is the decision log what was written (`verify`), and would it be decided the same again (`replay`)?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_checkpoints import CheckpointKeys, load_public_key
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport, Finding
from zt_engine.authoring.replay import ReplayReport, replay
from zt_engine.bootstrap.replaying import Replayer
from zt_engine.cli.output import Language, chosen_language, describe, print_error
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, Problem, ZtError

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
    "bad": ("異常が{count}件あります。", "Faults: {count}."),
    "nothing": (
        "署名済みの記録がないため、何も確認できません。--checkpoints と --key、または --config を指定してください。",
        "Nothing is anchored, so nothing is proven. Give --checkpoints and --key, or --config.",
    ),
    "more": ("ほか{count}件", "and {count} more"),
    "replayed": (
        "{decisions}件中{replayed}件を再判定し、{same}件が一致しました。",
        "{replayed} of {decisions} decisions were made again, {same} came out the same.",
    ),
    "unreached": (
        "残りの{count}件は、ポリシーの評価前に拒否されたか、単独の規則で判定されました。",
        "The other {count} were refused before policy was asked, or decided by a plain rule.",
    ),
    "empty": ("再判定できる記録がありません。", "There is no decision that could be made again."),
    "field": ("項目", "field"),
    "decision": ("判定", "decision"),
    "recorded": ("記録", "recorded"),
    "redecided": ("再判定", "decided again"),
}

NEEDS_CHECKPOINTS = frozenset({"LOG_CHECKPOINT_MISSING", "LOG_SEGMENT_MISSING", "LOG_CHAIN_MISSING"})
"""What only checkpoints can tell from what is allowed: without any, retention would look like a deletion."""

app = typer.Typer(no_args_is_help=True, help="Prove the decision log, and decide it again.")

Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="[DIR...]", help="The log's folder, and its archives. Or give --config.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A zt.toml: its log folder, checkpoints and key are used.")
]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log is, and what proves it."""

    folders: tuple[Path, ...]
    checkpoints: tuple[Path, ...] = ()
    keys: tuple[Path, ...] = ()


@app.command("verify")
def verify_log(
    folders: Folders = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option("--checkpoints", help="Second directory or syslog file; repeatable.")
    ] = None,
    keys: Annotated[
        list[Path] | None, typer.Option("--key", help="Public key of the checkpoints (PEM); repeatable.")
    ] = None,
    config: Config = None,
    lang: Lang = None,
) -> None:
    """Find every edit, removal, reordering and truncation of the anchored log.

    Exit 0: nothing anchored was changed. 1: faults. 2: it could not be verified.
    """
    language = chosen_language(lang)
    with _errors(language):
        place = _place(folders, config)
        proofs = (*(checkpoints or ()), *place.checkpoints)
        trusted = (*(keys or ()), *place.keys)
        genuine = CheckpointKeys([load_public_key(key) for key in trusted])
        # Checkpoints that no key can verify prove as little as none.
        lines = list(read_checkpoints(proofs)) if trusted else []
        report = verify(read_log(place.folders), lines, genuine=genuine.verify)
    if not lines:
        faults = tuple(fault for fault in report.faults if fault.code not in NEEDS_CHECKPOINTS)
        report = msgspec.structs.replace(report, faults=faults)
    raise typer.Exit(show_verification(report, language))


@app.command("replay")
def replay_log(
    folders: Folders = None,
    inputs: Annotated[Path | None, typer.Option(help="Folder of the inputs; default: DIR/inputs.")] = None,
    archive: Annotated[Path | None, typer.Option(help="Archived policies; default: DIR/archive.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Stop after so many differences.")] = 20,
    config: Config = None,
    lang: Lang = None,
) -> None:
    """Decide every recorded decision again; effect, reasons, obligations and threshold must agree byte for byte.

    Exit 0: all agree. 1: differences. 2: it could not be replayed.
    """
    language = chosen_language(lang)
    with _errors(language), contextlib.closing(Replayer()) as redecide:
        place = _place(folders, config)
        archived = Archive(archive or place.folders[0] / "archive")
        report = replay(read_log(place.folders, inputs=inputs), redecide, archived, limit=limit)
    raise typer.Exit(show_replay(report, language))


def _place(folders: list[Path] | None, config: Path | None) -> _Place:
    """What was named; raises ConfigError, and BadParameter when nothing was."""
    if config is None:
        if not folders:
            raise typer.BadParameter("give the log's folder, or --config zt.toml", param_hint="DIR")
        return _Place(folders=tuple(folders))
    settings = load(config)
    log = settings.log
    private = settings.path(log.key_file)
    public = private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")
    return _Place(
        folders=(settings.path(log.dir), *(folders or ())),
        checkpoints=(settings.path(log.checkpoints),),
        keys=(public,),
    )


@contextlib.contextmanager
def _errors(language: Language) -> Iterator[None]:
    """An error that keeps the command from its work is printed as everywhere; the exit status is 2."""
    try:
        yield
    except ZtError as error:
        _fail(error, language)
    except OSError as error:
        problem = Problem(code="LOG_FOLDER_UNREADABLE", message=str(error.strerror), where=str(error.filename))
        _fail(ConfigError((problem,)), language)


def _fail(error: ZtError, language: Language) -> NoReturn:
    print_error(error, language)
    raise typer.Exit(2) from None


class _Words:
    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, key: str, **values: int) -> str:
        ja, en = _TEXTS[key]
        return (ja if self.language == "ja" else en).format(**values)


def show_verification(report: AuditReport, language: Language) -> int:
    """Print the table and what was found; return the exit status."""
    words = _Words(language)
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


def show_replay(report: ReplayReport, language: Language) -> int:
    """Print the differences; return the exit status."""
    words = _Words(language)
    console = Console()
    if report.differences:
        table = Table(*(words(name) for name in ("where", "decision", "field", "recorded", "redecided")))
        for one in report.differences:
            cells = (one.where, one.decision_id, one.field, one.recorded, one.redecided)
            table.add_row(*(_plain(cell) for cell in cells))
        console.print(table)
        found = describe(Problem(code="LOG_REPLAY_DIFFERS", message=""), words.language)
        console.print(found, soft_wrap=True, highlight=False, markup=False)
    _show_findings(console, words, "fault", report.faults)
    numbers = {"decisions": report.decisions, "replayed": report.replayed, "same": report.same}
    console.print(words("replayed", **numbers), highlight=False)
    if report.decisions > report.replayed:
        console.print(words("unreached", count=report.decisions - report.replayed), highlight=False)
    if report.differences or report.faults:
        return 1
    if not report.replayed:
        console.print(words("empty"), style="bold yellow")
        return 2
    return 0


def _show_findings(console: Console, words: _Words, kind: str, findings: Iterable[Finding]) -> None:
    """As every problem is printed, never wrapped, so that it can be searched and cut; advice once a code."""
    found = list(findings)
    advised: set[str] = set()
    for finding in found[:SHOWN]:
        problem = Problem(code=finding.code, message=_printable(finding.message), where=_printable(finding.where))
        text = describe(problem, words.language, advice=finding.code not in advised)
        advised.add(finding.code)
        console.print(Text(f"{words(kind)}: {text}"), soft_wrap=True)
    if len(found) > SHOWN:
        console.print(words("more", count=len(found) - SHOWN))


def _plain(text: object) -> Text:
    """Text from a log as it is: no markup, and nothing a terminal would act on."""
    return Text(_printable(str(text)))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
