"""`zt sidecar run`: the decision process."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from zt_engine import logs
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import CONFIG_NAME, load

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Run the data plane."""


@app.command()
def run(
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")] = Path(CONFIG_NAME),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
) -> None:
    """Answer proxies until SIGTERM. SIGHUP reads the configuration and its keys again."""
    logs.configure(verbose=verbose)
    uvloop.run(serve(config))


async def serve(config: Path) -> None:
    """Run one sidecar until it is told to stop."""
    program = SidecarProgram(load(config))
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(program.reload(config)))
    await program.start()
    try:
        await stopped.wait()
    finally:
        await program.stop()
