"""`zt rollout`: changes that go out ring by ring, by asking the control plane with an admin key."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from zt_engine.adapters.control_http import ControlClient, read_key
from zt_engine.authoring.yaml_text import read_yaml
from zt_engine.bootstrap.installation import ADMIN_KEY
from zt_engine.cli.group_options import Anywhere
from zt_engine.cli.output import chosen_language
from zt_engine.cli.rollout_report import say, show_list, show_one
from zt_engine.config import CONFIG_NAME, load_control
from zt_engine.core.errors import ConfigError, Problem

app = typer.Typer(cls=Anywhere, no_args_is_help=True)

Number = Annotated[int, typer.Argument(min=1, help="The number of a rollout.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit for ever.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class _Where:
    """Which control plane is asked, and as whom; set by the group's options."""

    config: Path = Path(CONFIG_NAME)
    server: str = ""
    key: Path | None = None
    ca: Path | None = None
    lang: str | None = None


@app.callback()
def group(
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="Says where the control plane is.")] = Path(
        CONFIG_NAME
    ),
    server: Annotated[str, typer.Option(help="URL of the control plane, instead of --config.")] = "",
    key: Annotated[Path | None, typer.Option(help="File of the admin key; default: keys/admin.key.")] = None,
    ca: Annotated[Path | None, typer.Option(help="CA certificates (PEM) the control plane is known by.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")] = None,
) -> None:
    """Begin a rollout, look at it, reach its next ring, take it back."""
    _Where.config, _Where.server, _Where.key, _Where.ca, _Where.lang = config, server, key, ca, lang
    chosen_language(lang)


@contextlib.contextmanager
def client() -> Iterator[ControlClient]:
    """Open the control plane that is named."""
    url, key, ca = _Where.server, _Where.key, _Where.ca
    if not url or key is None:
        settings = load_control(_Where.config)
        url = url or settings.control.public_url
        key = key or settings.path(Path(ADMIN_KEY))
        if ca is None and settings.control.ca_file is not None:
            ca = settings.path(settings.control.ca_file)
    opened = ControlClient(url.rstrip("/"), key=read_key(key), ca_file=ca, language=chosen_language(_Where.lang))
    with contextlib.closing(opened):
        yield opened


@app.command("list")
def list_(json_: AsJson = False) -> None:
    """List what is under way and what was, newest first."""
    with client() as plane:
        found = plane.get("v1", "rollouts")
    if json_:
        print(json.dumps(found["items"], indent=2, ensure_ascii=False))
    else:
        show_list(found["items"], chosen_language(_Where.lang))


@app.command()
def show(number: Number, json_: AsJson = False) -> None:
    """Show which rings are reached, what shadows have seen, the guards, and the incident if there was one."""
    with client() as plane:
        found = plane.get("v1", "rollouts", str(number))
    if json_:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show_one(found, chosen_language(_Where.lang))


@app.command()
def begin(
    file: Annotated[Path, typer.Argument(help="`kind`, `record`, `plan` and `reason` (YAML or JSON).")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, instead of the file's `reason`.")] = "",
) -> None:
    """Begin to roll out an overlay, a grant or a threat level; a release is staged by `zt policy publish --plan`."""
    body = read_file(file)
    with client() as plane:
        found = plane.post("v1", "rollouts", body={**body, "reason": reason} if reason else body)
    _moved(found)


@app.command()
def advance(number: Number, reason: Reason) -> None:
    """Reach the next ring."""
    with client() as plane:
        _moved(plane.post("v1", "rollouts", str(number), "advance", body={"reason": reason}))


@app.command()
def abort(number: Number, reason: Reason) -> None:
    """Take a rollout back everywhere."""
    with client() as plane:
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
    say(found["state"], chosen_language(_Where.lang), number=found["ref_seq"], reached=", ".join(found["reached"]))
