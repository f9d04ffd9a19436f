"""`zt rollout`: changes that go out ring by ring, by asking the control plane with an admin key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zt_engine.authoring.yaml_text import read_yaml
from zt_engine.cli.asking import asking
from zt_engine.cli.group_options import Anywhere
from zt_engine.cli.rollout_report import say, show_list, show_one
from zt_engine.core.errors import ConfigError, Problem

app = typer.Typer(cls=Anywhere, no_args_is_help=True)
asked = asking(app, "Begin a rollout, look at it, reach its next ring, take it back.")

Number = Annotated[int, typer.Argument(min=1, help="The number of a rollout.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit for ever.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("list")
def list_(json_: AsJson = False) -> None:
    """List what is under way and what was, newest first."""
    with asked.client() as plane:
        found = plane.get("v1", "rollouts")
    if json_:
        print(json.dumps(found["items"], indent=2, ensure_ascii=False))
    else:
        show_list(found["items"], asked.language)


@app.command()
def show(number: Number, json_: AsJson = False) -> None:
    """Show which rings are reached, what shadows have seen, the guards, and the incident if there was one."""
    with asked.client() as plane:
        found = plane.get("v1", "rollouts", str(number))
    if json_:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show_one(found, asked.language)


@app.command()
def begin(
    file: Annotated[Path, typer.Argument(help="`kind`, `record`, `plan` and `reason` (YAML or JSON).")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, instead of the file's `reason`.")] = "",
) -> None:
    """Begin to roll out an overlay, a grant or a threat level; a release is staged by `zt policy publish --plan`."""
    body = read_file(file)
    with asked.client() as plane:
        found = plane.post("v1", "rollouts", body={**body, "reason": reason} if reason else body)
    _moved(found)


@app.command()
def advance(number: Number, reason: Reason) -> None:
    """Reach the next ring."""
    with asked.client() as plane:
        _moved(plane.post("v1", "rollouts", str(number), "advance", body={"reason": reason}))


@app.command()
def abort(number: Number, reason: Reason) -> None:
    """Take a rollout back everywhere."""
    with asked.client() as plane:
        _moved(plane.post("v1", "rollouts", str(number), "abort", body={"reason": reason}))


def read_file(file: Path) -> dict[str, Any]:
    """Read a mapping from YAML or JSON; ConfigError ROLLOUT_FILE with the line of what is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(str(error)[:200], file) from None
    value = read_yaml(text, where=str(file), code="ROLLOUT_FILE").value
    if not isinstance(value, dict):
        raise _fault("the file is no mapping", file)
    return value


def _fault(message: str, file: Path) -> ConfigError:
    return ConfigError((Problem(code="ROLLOUT_FILE", message=message, where=str(file)),))


def _moved(found: dict[str, Any]) -> None:
    say(found["state"], asked.language, number=found["ref_seq"], reached=", ".join(found["reached"]))
