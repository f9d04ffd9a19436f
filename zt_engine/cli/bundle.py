"""`zt bundle`: releases and decision logs in a file, from one site to another that it has no connection to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.publishing_ground import import_keys
from zt_engine.bootstrap.transferring import export_transfer, import_transfer
from zt_engine.cli import publish
from zt_engine.cli.output import Language, chosen_language
from zt_engine.config import load_control
from zt_engine.core.transfer import log_members

app = typer.Typer(no_args_is_help=True, help="Carry releases to a site without a connection.")

_TEXTS: dict[str, dict[Language, str]] = {
    "exported": {
        "en": "{file}: releases {seqs} of {tenant}, {files} files of the decision log, signed by {key}",
        "ja": "{file}: {tenant} のリリース {seqs}、判定ログのファイル{files}個、鍵 {key} で署名済み",
    },
    "believed": {
        "en": "release {theirs} of {tenant}, signed by {key}",
        "ja": "{tenant} のリリース {theirs}（鍵 {key} で署名済み）",
    },
    "again": {
        "en": "it was imported already, as release {seq} here ({state}): nothing changed.",
        "ja": "取り込み済みです（こちらのリリース {seq}、状態 {state}）。変更はありません。",
    },
    "log": {
        "en": "{count} files of the decision log are new: {command}",
        "ja": "判定ログの新しいファイル{count}個: {command}",
    },
}


@app.callback()
def group() -> None:
    """Carry releases to a site without a connection."""


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="The file to write; an older one there is replaced.")],
    since: Annotated[
        int | None, typer.Option("--from", min=1, help="The oldest release to take along; default: the newest alone.")
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="The folder of a decision log to take along.")] = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option("--checkpoints", help="Where its checkpoints are; repeatable.")
    ] = None,
    key: publish.Key = None,
    config: publish.Config = publish.CONFIG,
    lang: publish.Lang = None,
) -> None:
    """Write released bundles with their records and approvals to one file, signed as a whole."""
    language = chosen_language(lang)
    settings = load_control(config)
    with publish.plane_of(settings, language) as plane:
        publisher = publish.publisher_of(settings, plane, key)
        index = export_transfer(publisher, out, since=since, log=log, checkpoints=checkpoints or ())
    seqs = ", ".join(str(one.seq) for one in index.releases)
    files = len(log_members(index))
    _say("exported", language, file=out, seqs=seqs, tenant=index.tenant, files=files, key=publisher.key.key_id)


@app.command("import")
def take(
    file: Annotated[Path, typer.Argument(help="What another site exported.")],
    as_tenant: Annotated[
        str | None, typer.Option("--as-tenant", help="This site's tenant, to take another tenant's release for it.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Where its decision log goes; default: `imported` in publishing.state.")
    ] = None,
    key: publish.Key = None,
    config: publish.Config = publish.CONFIG,
    lang: publish.Lang = None,
) -> None:
    """Verify such a file and release its newest bundle here, under this site's key and number. Exit 1: refused."""
    language = chosen_language(lang)
    settings = load_control(config)
    folder = log or settings.path(settings.publishing.state) / "imported"
    with publish.unchanged(language), publish.plane_of(settings, language) as plane:
        publisher = publish.publisher_of(settings, plane, key)
        done = import_transfer(file, publisher, import_keys(settings), as_tenant=as_tenant, folder=folder)
    _say("believed", language, theirs=done.seq, tenant=done.tenant, key=done.key_id)
    if done.again:
        _say("again", language, seq=done.published.seq, state=done.published.state)
    else:
        publish.report(done.published, language)
    if done.new_files:
        command = f"zt audit verify {folder}/log --checkpoints {folder}/checkpoints --key FILE"
        _say("log", language, count=len(done.new_files), command=command)


def _say(text: str, language: Language, **values: object) -> None:
    print(_TEXTS[text][language].format(**values))
