"""`zt policy`: check, test, build, publish packs. Exit 0: nothing wrong; 1: faults found; 2: it could not be run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from zt_engine.authoring.rehearsal import Row
from zt_engine.bootstrap.new_pack import new_pack, new_service
from zt_engine.bootstrap.packs import pack_folder
from zt_engine.bootstrap.workbench import ENGINES, Workbench, read_key
from zt_engine.cli import publish
from zt_engine.cli.output import Language, chosen_language, describe
from zt_engine.core.errors import ConfigError, Problem

app = typer.Typer(no_args_is_help=True)
for _name, _command in publish.COMMANDS.items():
    app.command(_name)(_command)

Pack = Annotated[str, typer.Argument(help="A pack's folder, such as policies/jp-gov, or an installed pack's name.")]
Opa = Annotated[str | None, typer.Option("--opa", envvar="OPA", help="The program opa; default: the one on PATH.")]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]

_TEXTS = {
    "new": {
        "ja": "{pack} の準備ができました。編集して zt policy test {pack}",
        "en": "{pack} is ready: edit it, then zt policy test {pack}",
    },
    "clean": {"ja": "{pack}: 問題はありません。", "en": "{pack}: nothing wrong."},
    "faults": {"ja": "{pack}: {count}件の問題があります。", "en": "{pack}: {count} faults."},
    "rego": {
        "ja": "Regoテスト: {passed}件成功、網羅率 {coverage:.1f} %",
        "en": "Rego tests: {passed} passed, coverage {coverage:.1f} %",
    },
    "scenarios": {
        "ja": "シナリオ（{engine}）: {all}件中{passed}件成功",
        "en": "Scenarios ({engine}): {passed} of {all} passed",
    },
    "built": {
        "ja": "{out}: {size} バイト、リビジョン {revision}、{signed}",
        "en": "{out}: {size} bytes, revision {revision}, {signed}",
    },
    "signed": {"ja": "鍵 {key} で署名済み", "en": "signed by {key}"},
    "unsigned": {"ja": "署名なし", "en": "unsigned"},
    "columns": {
        "ja": "結果 エンジン シナリオ だれが 端末 対象 効果 理由",
        "en": "ok engine scenario who device target effect reasons",
    },
}


@app.command()
def check(packs: list[Pack], opa: Opa = None, lang: Lang = None) -> None:
    """Say everything that is wrong with packs, each fault with file and line, without running them."""
    language = chosen_language(lang)
    bench = Workbench(opa)
    found = [_report(folder, bench.check(folder).problems, language) for folder in map(_folder, packs)]
    raise typer.Exit(1 if any(found) else 0)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The pack's folder, such as policies/acme; its name is the pack's.")],
    like: Annotated[str, typer.Option("--like", help="The shipped pack that it begins as: corp or jp-gov.")] = "corp",
    service: Annotated[
        str, typer.Option("--service", help="Add a service to the pack in the folder: layer, tests, scenarios.")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="The host of that service.")] = "",
    lang: Lang = None,
) -> None:
    """Begin a pack of one's own, or a service in it, as files that pass every step of publishing as they stand."""
    language = chosen_language(lang)
    if service:
        written = new_service(folder, service, host=host or f"{service.replace('_', '-')}.example")
        for path in written:
            print(path)
    else:
        new_pack(folder, like=like)
    print(_say("new", language, pack=folder))


@app.command("test")
def run_tests(
    packs: list[Pack],
    engine: Annotated[str, typer.Option("--engine", help="wasm, opa or both.")] = "both",
    table: Annotated[bool, typer.Option("--table", help="Print every scenario with its answer.")] = False,
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Check packs, run their Rego tests (every rule must be reached), and their scenarios on each engine."""
    language = chosen_language(lang)
    engines = ENGINES if engine == "both" else (engine,)
    if not set(engines) <= set(ENGINES):
        raise typer.BadParameter("wasm, opa or both", param_hint="--engine")
    bench = Workbench(opa)
    failed = False
    for folder in map(_folder, packs):
        tested = bench.test(folder, engines=engines, language=language)
        if table:
            _table(tested.rows, language)
        failed |= _report(folder, tested.problems, language)
        if tested.rego is not None:
            print(_say("rego", language, passed=tested.rego.passed, coverage=tested.rego.coverage))
        for name in engines:
            rows = [row for row in tested.rows if row.engine == name]
            passed = sum(row.problem is None for row in rows)
            print(_say("scenarios", language, engine=name, passed=passed, all=len(rows)))
    raise typer.Exit(1 if failed else 0)


@app.command()
def build(
    pack: Pack,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the bundle goes.")] = Path("bundle.tar.gz"),
    key: Annotated[Path | None, typer.Option("--key", help="The private key (PEM) to sign with.")] = None,
    key_id: Annotated[str | None, typer.Option("--key-id", help="Its id; default: the file's name.")] = None,
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Compile a pack that passes its check into a bundle: the same sources give the same bytes."""
    language = chosen_language(lang)
    signing = read_key(key, key_id) if key is not None else None
    bench = Workbench(opa)
    folder = _folder(pack)
    try:
        built = bench.build(folder, key=signing)
    except ConfigError as error:
        _report(folder, error.problems, language)
        raise typer.Exit(1) from None
    _write(out, built.raw)
    signed = _say("signed", language, key=signing.key_id) if signing is not None else _say("unsigned", language)
    print(_say("built", language, out=out, size=len(built.raw), revision=built.bundle.revision, signed=signed))


def _folder(pack: str) -> Path:
    """A folder as it was named; else an installed pack of that name."""
    path = Path(pack)
    return path if path.is_dir() or "/" in pack else pack_folder(pack)


def _report(folder: Path, problems: Sequence[Problem], language: Language) -> bool:
    """Print faults on standard error as `file:line: CODE: ...`; say whether there were any."""
    for problem in problems:
        print(describe(problem, language), file=sys.stderr)
    print(_say("faults" if problems else "clean", language, pack=folder, count=len(problems)))
    return bool(problems)


def _table(rows: Iterable[Row], language: Language) -> None:
    table = Table(*_TEXTS["columns"][language].split())
    for row in rows:
        question, answer = row.scenario.question, row.answer
        table.add_row(
            "✓" if row.problem is None else "✗",
            row.engine,
            row.scenario.name(language),
            row.scenario.who,
            str((question.device or {}).get("id", "-")),
            f"{question.request.get('method', 'GET')} {question.request['url']}",
            answer.effect if answer is not None else "-",
            " ".join(answer.reasons) if answer is not None else "-",
        )
    console = Console()
    console.print(table, width=None if console.is_terminal else 240)


def _write(out: Path, raw: bytes) -> None:
    """Put the bundle in place in one step: whoever follows the folder never sees half of it."""
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".bundle-", delete=False) as file:
            temporary = Path(file.name)
            file.write(raw)
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        problem = Problem(code="BUNDLE_NOT_WRITTEN", message=str(error.strerror), where=str(out))
        raise ConfigError((problem,)) from None


def _say(text: str, language: Language, **values: object) -> str:
    return _TEXTS[text][language].format(**values)
