"""The commands, one module a group; a module is imported when its command is called.

So a sidecar's process holds nothing of the control plane, and a host that runs one need not install the other.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from zt_engine.core.errors import ConfigError, Problem

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "Make a folder with keys, a signed policy pack and a configuration that works as it stands.",
        "up": "Run everything on one machine: control plane and sidecar.",
        "decide": "Make one decision from a file, and explain it point by point.",
        "demo": "A real nginx, and a day of requests that tells what this does.",
        "agent": "Enroll this machine as a device, and keep its posture known.",
        "control": "Run the control plane: devices, directory, situation.",
        "device": "Approve, quarantine, revoke and invite devices.",
        "situation": "Raise and lower the threat level; declare overlays and grants; revoke.",
        "rollout": "Roll a change out ring by ring, look at it, take it back.",
        "sidecar": "Run the data plane.",
        "hook": "Print what a reverse proxy needs.",
        "doctor": "Find what is unsafe in a reverse proxy.",
        "authzen": "Rules for AuthZEN callers.",
        "corpus": "Send what attackers send through a proxy, and see what its backend executes.",
        "policy": "Check, test, build and publish policy.",
        "bundle": "Carry releases to a site without a connection.",
        "audit": "Verify and replay the decision log.",
    }
)
EXTRAS: Final[Mapping[str, str]] = MappingProxyType({"control": "control", "agent": "agent"})
"""Commands that need more than the base install, and the extra that has it."""


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Load without the collector of circles: modules stay, so its rounds find nothing, and are a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Commands(TyperGroup):
    """The groups by name, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order they are shown."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; ConfigError EXTRA_MISSING when what it needs is not installed."""
        if cmd_name not in COMMANDS:
            return None
        try:
            with _no_collector():
                module = import_module(f"zt_engine.cli.{cmd_name}")
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(cmd_name)
            if extra is None or (error.name or "").startswith(("zt_engine", "device_inventory")):
                raise
            problem = Problem(
                code="EXTRA_MISSING",
                message=f"`zt {cmd_name}` needs `{error.name}`",
                hint=f"pip install 'zt-engine[{extra}]'",
            )
            raise ConfigError((problem,)) from None
        holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        group = getattr(module, "app", None)
        if group is None:
            holder.command(cmd_name)(getattr(module, cmd_name))
            return typer.main.get_command(holder)
        holder.add_typer(group, name=cmd_name)
        return typer.main.get_group(holder).get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Show what there is without importing any of it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=Commands,
    name="zt",
    help="Zero-trust access policy engine: an authorization sidecar for reverse proxies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def say_version(wanted: bool) -> None:
    """Print the installed version, and end."""
    if wanted:
        typer.echo(f"zt-engine {version('zt-engine')}")
        raise typer.Exit


@app.callback()
def commands(
    _version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Zero-trust access policy engine: an authorization sidecar for reverse proxies."""
