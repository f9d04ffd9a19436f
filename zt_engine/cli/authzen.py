"""`zt authzen`: rules for resources that are no part of the catalogue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.bootstrap.authzen_bundle import build_rules
from zt_engine.bootstrap.workbench import opa_executable, read_key
from zt_engine.cli.output import Language, chosen_language, describe
from zt_engine.cli.policy import Lang, Opa, _write
from zt_engine.core.errors import ConfigError

app = typer.Typer(no_args_is_help=True)
_BUILT: Final[dict[Language, str]] = {
    "ja": "{out}: {size} バイト、鍵 {key} で署名済み",
    "en": "{out}: {size} bytes, signed by {key}",
}


@app.callback()
def group() -> None:
    """Rules for resources that are no part of the catalogue."""


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(help="The folder with the Rego and data.json.")],
    key: Annotated[Path, typer.Option("--key", help="The private key (PEM) to sign with.")],
    entrypoint: Annotated[
        list[str], typer.Option("--entrypoint", "-e", help="A rule that may be asked, such as records/allow.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the bundle goes.")] = Path("authzen.tar.gz"),
    key_id: Annotated[str | None, typer.Option("--key-id", help="Its id; default: the file's name.")] = None,
    v0_compatible: Annotated[
        bool, typer.Option("--v0-compatible", help="Files without `import rego.v1` are in Rego before OPA 1.0.")
    ] = False,
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Compile a folder of plain Rego into the bundle that `authzen.bundle` or `rego.bundle` names."""
    language = chosen_language(lang)
    signing = read_key(key, key_id)
    try:
        raw = build_rules(folder, entrypoint, OpaBinary(opa_executable(opa)), key=signing, v0=v0_compatible)
    except ConfigError as error:
        for problem in error.problems:
            print(describe(problem, language), file=sys.stderr)
        raise typer.Exit(1) from None
    _write(out, raw)
    print(_BUILT[language].format(out=out, size=len(raw), key=signing.key_id))
