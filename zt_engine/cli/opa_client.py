"""`zt control opa-client`: OPAs that fetch bundles from the control plane, each with a token of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.adapters.opa_clients import (
    FILE,
    OpaClientToken,
    clients_fault,
    digest_of,
    make_token,
    read_clients,
    write_clients,
)
from zt_engine.cli.output import Language, chosen_language
from zt_engine.config import CONFIG_NAME, ControlSettings, load_control
from zt_engine.core.errors import ConfigError, Problem

app = typer.Typer(no_args_is_help=True)

Config = Annotated[Path, typer.Option("--config", envvar="ZT_CONFIG", help="The configuration file.")]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]

_TEXTS: dict[str, dict[Language, str]] = {
    "made": {
        "en": "{name}: the token is in {file}. It cannot be shown again.",
        "ja": "{name}: トークンは {file} にあります。再表示はできません。",
    },
    "removed": {"en": "{name}: the token opens nothing any more.", "ja": "{name}: トークンを無効にしました。"},
}


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What the OPA is called; one token for each.")],
    out: Annotated[Path | None, typer.Option(help="The token's file; default: keys/opa-NAME.token.")] = None,
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Make a token for an OPA. The server keeps its digest only."""
    language = chosen_language(lang)
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) is None:
        raise typer.BadParameter("small letters, digits, `-` and `_`", param_hint="NAME")
    settings = load_control(config)
    path = clients_path(settings)
    known = read_clients(path)
    if name in {one.name for one in known}:
        raise clients_fault(path, f"`{name}` is there already")
    target = out or settings.path(Path("keys") / f"opa-{name}.token")
    token = make_token()
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        problem = Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(target), hint="name another --out")
        raise ConfigError((problem,)) from None
    with os.fdopen(descriptor, "wb") as file:
        # Without a line break: OPA sends what is in the file as it is.
        file.write(token)
    write_clients(path, (*known, OpaClientToken(name=name, sha256=digest_of(token))))
    print(_TEXTS["made"][language].format(name=name, file=target))


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose token.")], config: Config = Path(CONFIG_NAME), lang: Lang = None
) -> None:
    """Take a token out; it opens nothing from the next request on."""
    language = chosen_language(lang)
    path = clients_path(load_control(config))
    known = read_clients(path)
    kept = tuple(one for one in known if one.name != name)
    if len(kept) == len(known):
        raise clients_fault(path, f"there is no `{name}`")
    write_clients(path, kept)
    print(_TEXTS["removed"][language].format(name=name))


@app.command("list")
def show(config: Config = Path(CONFIG_NAME), lang: Lang = None) -> None:
    """List the OPAs that have a token."""
    chosen_language(lang)
    for one in read_clients(clients_path(load_control(config))):
        print(one.name)


def clients_path(settings: ControlSettings) -> Path:
    """Return where the clients stand: beside the administrators."""
    return settings.path(settings.control.admins).with_name(FILE)
