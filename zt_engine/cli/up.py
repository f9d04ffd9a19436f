"""`zt up`: everything on one machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from zt_engine import logs
from zt_engine.bootstrap.one_machine import supervise
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME


def up(
    config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")] = Path(CONFIG_NAME),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
    lang: Annotated[str | None, typer.Option("--lang", help="ja or en, for what keeps it from starting.")] = None,
) -> None:
    """Run the control plane and a sidecar that follows it, until SIGTERM; what falls is started again.

    For one machine: the database is SQLite unless the configuration says otherwise. SIGHUP is
    passed on: the sidecar reads its settings again, the control plane its device CAs.
    """
    chosen_language(lang)
    logs.configure(verbose=verbose)
    asyncio.run(_run(config))


async def _run(config: Path) -> None:
    supervisor = supervise(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    await supervisor.run()
