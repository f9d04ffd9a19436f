"""`zt decide`: one decision from a file, with everything that led to it. For operators: it shows thresholds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from zt_engine import logs
from zt_engine.bootstrap.deciding import Decider, Explained, is_policy_input, read_policy_input
from zt_engine.bootstrap.deciding_ground import Ground, ground_of_config, ground_of_pack, is_shipped, read_text
from zt_engine.bootstrap.kept_state import KeptTold
from zt_engine.cli.decide_report import show
from zt_engine.cli.output import chosen_language, print_error, warn_if_edited
from zt_engine.config import CONFIG_NAME
from zt_engine.core.errors import ZtError


def decide(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A question (YAML, JSON), or a finished policy input.")],
    config: Annotated[
        Path | None,
        typer.Option(envvar="ZT_CONFIG", help="Ask an installation; once joined: what its sidecar last kept."),
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option(help="Ask a pack, with the people of its scenarios: jp-gov, corp, or a folder (compiled by opa)."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain/--brief", help="Itemise the score and show what each layer said.")
    ] = True,
    show_input: Annotated[bool, typer.Option("--input", help="Print the policy input as Rego sees it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
    opa: Annotated[
        str | None, typer.Option("--opa", envvar="OPA", help="The program opa, for a folder; default: the one on PATH.")
    ] = None,
    lang: Annotated[str | None, typer.Option(help="ja or en; default: the environment's.")] = None,
) -> None:
    """Decide one request and say why: every reason, every point of the score, and what would turn it into an allow.

    Exit 0: it would be let through (allow or observe). 1: it would not. 2: the file or the policy cannot be used.
    docs/decide.md describes the file. `--config` of a sidecar that has joined a control plane: policy, devices, people
    and situation are what it last kept on its disk; the answer says how old that is. Nobody is asked.
    """
    language = chosen_language(lang)
    logs.configure()
    try:
        if pack is not None and is_shipped(pack):
            warn_if_edited(pack, language)
        explained, kept = _explained(file, config=config, pack=pack, opa=opa)
    except ZtError as error:
        print_error(error, language)
        raise typer.Exit(2) from None
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(_plain(explained, kept)), indent=2).decode())
    else:
        show(Console(highlight=False, soft_wrap=False), explained, language, full=explain, kept=kept)
        if show_input:
            print(json.dumps(json.loads(explained.raw or b"null"), indent=2, ensure_ascii=False))
    raise typer.Exit(0 if explained.decision.opens else 1)


def _explained(
    file: Path, *, config: Path | None, pack: str | None, opa: str | None
) -> tuple[Explained, KeptTold | None]:
    text = read_text(file)
    ground: Ground
    ground = ground_of_pack(pack, opa=opa) if pack is not None else ground_of_config(config or Path(CONFIG_NAME))
    try:
        decider = Decider(ground.parts, ground.engine, strongest=ground.strongest, lease=ground.lease)
        if is_policy_input(text):
            return decider.decide_input(read_policy_input(text)), ground.told()
        return decider.decide(ground.question(text, file, now=time.time())), ground.told()
    finally:
        ground.engine.close()


def _plain(explained: Explained, kept: KeptTold | None) -> dict[str, object]:
    """Everything that is shown, as one object with stable names."""
    return {
        "decision": explained.decision,
        "layers": explained.layers,
        "trust": explained.trust,
        "fixes": explained.fixes,
        "reasons": {code: explained.codes[code] for code in explained.decision.reasons if code in explained.codes},
        "notes": [str(note) for note in explained.notes],
        "input": explained.document,
        "kept": kept,
    }
