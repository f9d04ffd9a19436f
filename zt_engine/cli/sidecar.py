"""`zt sidecar run`: the decision process."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from zt_engine import logs
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.priority import stand_back
from zt_engine.bootstrap import joining
from zt_engine.bootstrap.collector import Collector
from zt_engine.bootstrap.shadow import open_shadow
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME, load
from zt_engine.core.joining import read_token

app = typer.Typer(no_args_is_help=True)

SWITCH_SECONDS = 0.0005
"""How long a decision waits for a thread that keeps the log or reads the folder; Python's 5 ms are ten decisions."""


@app.callback()
def group() -> None:
    """Run the data plane."""


@app.command()
def run(
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")] = Path(CONFIG_NAME),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
    lang: Annotated[
        str | None, typer.Option("--lang", help="ja or en, for what keeps it from starting; the log is English.")
    ] = None,
) -> None:
    """Answer proxies until SIGTERM. SIGHUP reads the configuration and its keys again.

    Started a second time, it takes over from the running process without refusing a request.
    """
    chosen_language(lang)
    logs.configure(verbose=verbose)
    uvloop.run(serve(config))


@app.command()
def join(
    token: Annotated[
        str, typer.Argument(help="What the control plane gave out for this sidecar; `-` reads it from standard input.")
    ],
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")] = Path(CONFIG_NAME),
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="CA of the control plane (PEM); `control_plane.ca_file` otherwise.")
    ] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="ja or en.")] = None,
) -> None:
    """Join a control plane, once: from then on devices, people and revocations come from there."""
    chosen_language(lang)
    settings = load(config)
    if token == "-":  # noqa: S105
        # An argument is seen by every user of the machine while it is of use.
        token = sys.stdin.readline()
    held = settings.control_plane.ca_file
    authorities = ca_file or (settings.path(held) if held is not None else None)
    url = read_token(token).url
    member = joining.join(settings, token, authorities=authorities, now=SystemClock().now())
    typer.echo(f"joined {url} as {member.membership.id}; what it knows is kept in {member.folder}")
    if not settings.control_plane.url:
        typer.echo(f'\nadd to {config}:\n\n[control_plane]\nurl = ["{url}"]')
        if authorities is not None:
            typer.echo(f'ca_file = "{authorities.resolve()}"')


@app.command()
def shadow(
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")] = Path(CONFIG_NAME),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
    lang: Annotated[str | None, typer.Option("--lang", help="ja or en, for what keeps it from starting.")] = None,
) -> None:
    """Decide what comes in once more under what is being rolled out, and report what comes out otherwise.

    Runs beside the sidecar until SIGTERM, and only when nobody else wants the processor.
    """
    chosen_language(lang)
    logs.configure(verbose=verbose)
    stand_back()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    watching = open_shadow(load(config), SystemClock())
    try:
        watching.run(stopped)
    finally:
        watching.close()


async def serve(config: Path) -> None:
    """Run one sidecar until it is told to stop, or another process has taken over from it."""
    program = SidecarProgram(load(config))
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    reloads: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        task = loop.create_task(program.reload(config))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await program.start()
        sys.setswitchinterval(SWITCH_SECONDS)
        collecting = loop.create_task(Collector(lambda: program.meters.asked).keep())
        ends = [loop.create_task(event.wait()) for event in (stopped, program.handed_over)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in (*ends, collecting):
            end.cancel()
    finally:
        await program.stop()
