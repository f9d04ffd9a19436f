"""`zt doctor`: what is unsafe in a proxy's configuration, and what a running proxy lets through."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from zt_engine.cli.output import Language, chosen_language, describe
from zt_engine.doctor.check import check as check_files
from zt_engine.doctor.finding import Finding, Report
from zt_engine.doctor.kinds import Kind
from zt_engine.doctor.probe.run import probe as run_probe
from zt_engine.doctor.probe.target import target
from zt_engine.doctor.probe.wire import ask
from zt_engine.pages.registry import registry

app = typer.Typer(no_args_is_help=True)

TEXTS = {
    "none": (
        "{files}個のファイルに問題は見つかりませんでした（{proxy}）。",
        "Files read: {files}. Nothing unsafe ({proxy}).",
    ),
    "refused": (
        "通過したリクエストはありませんでした（{proxy}）。",
        "Nothing passed ({proxy}).",
    ),
    "some": ("問題が{count}件あります（{proxy}）。", "Findings: {count} ({proxy})."),
    "blind": (
        "読めなかったものがあるため、見つからなかった問題が残っている可能性があります。",
        "Something could not be read, so there may be more than was found.",
    ),
    "fix": ("対処", "fix"),
    "write": ("記述例", "write"),
}

Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]
Shape = Annotated[Literal["text", "json"], typer.Option("--format", help="For people, or for programs.")]


@app.callback()
def group() -> None:
    """Find what is unsafe in a reverse proxy."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of one proxy that belong together.")],
    proxy: Annotated[Kind | None, typer.Option(help="Which proxy; default: by name and content.")] = None,
    shape: Shape = "text",
    lang: Lang = None,
) -> None:
    """Look for unsafe configuration. Exit status: 0 nothing found, 1 findings, 2 something was not readable."""
    language = chosen_language(lang)
    report = check_files([str(path) for path in files], proxy)
    _show(report, shape, language)
    raise typer.Exit(report.status)


@app.command()
def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="A running proxy, such as https://portal.example/.")],
    protected: Annotated[str, typer.Option(help="A path that needs a decision; default: the path of the URL.")] = "",
    public: Annotated[str, typer.Option(help="A folder that everybody may see, to leave it by `..`.")] = "/",
    host: Annotated[str, typer.Option(help="The host to ask for; default: the one of the URL.")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    shape: Shape = "text",
    lang: Lang = None,
) -> None:
    """Send harmless requests without credentials to a proxy of yours, and report which of them it lets through.

    Exit status: 0 nothing passed, 1 findings, 2 nothing could be told.
    """
    language = chosen_language(lang)
    chosen = target(url, protected=protected, host=host, public=public)
    report = run_probe(chosen, lambda request: ask(chosen, request.raw, verify=not insecure))
    _show(report, shape, language)
    raise typer.Exit(report.status)


def _show(report: Report, shape: str, language: Language) -> None:
    if shape == "json":
        print(json.dumps(_document(report, language), ensure_ascii=False, indent=2))
        return
    for finding in report.findings:
        print("\n".join(_lines(finding, language)))
    for problem in report.unreadable:
        print(f"zt: {describe(problem, language)}", file=sys.stderr)
    at = 0 if language == "ja" else 1
    if report.unreadable:
        print(TEXTS["blind"][at], file=sys.stderr)
    if report.findings:
        print(TEXTS["some"][at].format(count=len(report.findings), proxy=report.proxy))
    elif not report.unreadable:
        text = TEXTS["none"] if report.files else TEXTS["refused"]
        print(text[at].format(files=len(report.files), proxy=report.proxy))


def _lines(finding: Finding, language: Language) -> list[str]:
    entry = registry()[finding.code]
    at = 0 if language == "ja" else 1
    lines = [
        f"{finding.place}: {finding.code}: {entry.text(language)} [{finding.detail}]",
        f"    {TEXTS['fix'][at]}: {entry.hint(language)}",
    ]
    if finding.write:
        lines.append(f"    {TEXTS['write'][at]}: {finding.write}")
    return lines


def _document(report: Report, language: Language) -> dict[str, object]:
    """A finding as a program reads it; `code` is what stays the same in every version."""
    return {
        "proxy": report.proxy,
        "files": list(report.files),
        "findings": [
            {
                "code": finding.code,
                "file": finding.place.file,
                "line": finding.place.line,
                "detail": finding.detail,
                "consequence": registry()[finding.code].text(language),
                "fix": registry()[finding.code].hint(language),
                "write": finding.write,
            }
            for finding in report.findings
        ],
        "unreadable": [
            {"code": problem.code, "where": problem.where, "detail": problem.message} for problem in report.unreadable
        ],
    }
