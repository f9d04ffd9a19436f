"""Keeps the programs of one machine running: started in order, started again when they fall, stopped in reverse order.

A program that falls at once is started again less and less often, up to once in `MOST_SECONDS`, so that a broken
configuration neither burns a processor nor needs a person to start anything once it is repaired.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger()

ZT = (sys.executable, "-c", "import sys; from zt_engine.cli import main; sys.argv[0] = 'zt'; main()")
"""The command `zt` of this very interpreter, wherever its scripts are installed."""

FIRST_SECONDS = 0.5
MOST_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A program that ran for so long begins again with the shortest pause."""
WORD_SECONDS = 5.0
"""How long a program may take to serve before the log says what it is waited for, and how often it says so again."""
STOP_SECONDS = 30.0
"""A sidecar drains for ten seconds; whoever takes longer than this is killed."""


class Program(msgspec.Struct, frozen=True):
    """One program: what it is called in the log, and the words after `zt`."""

    name: str
    arguments: tuple[str, ...]
    ready: Callable[[], Awaitable[str]]
    """Why it does not serve yet; empty when it does, and then the next program is started."""
    before: Callable[[], Awaitable[None]] | None = None
    """What has to be done before it is started for the first time."""
    environment: Mapping[str, str] = {}
    """What it finds in its environment beside what this process has there."""


class Supervisor:
    """Runs programs until `stop`. Each has its own standard streams: this process's."""

    def __init__(self, programs: Sequence[Program], *, folder: Path, command: Sequence[str] = ZT) -> None:
        self._programs = programs
        self._command = command
        self._folder = folder
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}

    def stop(self) -> None:
        """End `run`: every program is told to stop, the last one first."""
        self._stopping.set()

    def reload(self) -> None:
        """Have every program read its configuration again."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    async def run(self) -> None:
        """Start everything in order, and keep it running until `stop`."""
        keepers: list[asyncio.Task[None]] = []
        try:
            for program in self._programs:
                if program.before is not None and not self._stopping.is_set():
                    await program.before()
                keepers.append(asyncio.create_task(self._keep(program)))
                await self._until_ready(program)
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for program in reversed(self._programs):
                await self._end(program.name)
            await asyncio.gather(*keepers)

    async def _until_ready(self, program: Program) -> None:
        time = asyncio.get_running_loop().time
        word = time() + WORD_SECONDS
        while not self._stopping.is_set() and (why := await program.ready()):
            if time() >= word:
                log.warning("program.not_ready", program=program.name, why=why)
                word = time() + WORD_SECONDS
            await self._pause(0.05)

    async def _keep(self, program: Program) -> None:
        pause = FIRST_SECONDS
        time = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            started = time()
            process = await self._start(program)
            status = await process.wait()
            self._running.pop(program.name, None)
            if self._stopping.is_set():
                return
            pause = FIRST_SECONDS if time() - started > STEADY_SECONDS else pause
            log.error("program.ended", program=program.name, status=status, again_after_seconds=pause)
            await self._pause(pause)
            pause = min(2 * pause, MOST_SECONDS)

    async def _start(self, program: Program) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *program.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            cwd=self._folder,
            env={**os.environ, **program.environment},
            start_new_session=True,  # Ctrl-C is ours to pass on, in order
        )
        self._running[program.name] = process
        log.info("program.started", program=program.name, pid=process.pid)
        if self._stopping.is_set():  # told to stop while it was being started
            process.terminate()
        return process

    async def _end(self, name: str) -> None:
        process = self._running.get(name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            log.warning("program.killed", program=name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
