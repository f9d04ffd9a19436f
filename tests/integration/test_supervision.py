"""`zt up` keeps real processes running: in order, again when they fall, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from zt_engine.bootstrap.supervision import Program, Supervisor

CHILD = """
import os, signal, sys
name, folder = sys.argv[1], sys.argv[2]
def told(number, frame):
    with open(f"{folder}/told", "a") as file:
        file.write(f"{name} {number}\\n")
    if number == signal.SIGTERM:
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, told)
with open(f"{folder}/started", "a") as file:
    file.write(f"{name} {os.getpid()}\\n")
while True:
    signal.pause()
"""


def lines(folder: Path, name: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return (folder / name).read_text().splitlines()
    return []


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # what other processes write
            await asyncio.sleep(0.01)


def programs(folder: Path, *names: str) -> list[Program]:
    def ready(name: str):
        async def started() -> bool:
            return any(line.startswith(f"{name} ") for line in lines(folder, "started"))

        return started

    return [Program(name, (name, str(folder)), ready(name)) for name in names]


@contextlib.asynccontextmanager
async def supervised(folder: Path, *names: str) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(programs(folder, *names), folder=folder, command=(sys.executable, "-c", CHILD))
    running = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: len(lines(folder, "started")) >= len(names))
        yield supervisor
    finally:
        supervisor.stop()
        await running


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_programs_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    async def run() -> None:
        async with supervised(tmp_path, "first", "second"):
            pass

    asyncio.run(run())

    assert [line.split()[0] for line in lines(tmp_path, "started")] == ["first", "second"]
    assert lines(tmp_path, "told") == [f"second {int(signal.SIGTERM)}", f"first {int(signal.SIGTERM)}"]


def test_a_program_that_falls_is_started_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with supervised(tmp_path, "only"):
            fallen = int(lines(tmp_path, "started")[0].split()[1])
            os.kill(fallen, signal.SIGKILL)
            await until(lambda: len(lines(tmp_path, "started")) == 2)

    asyncio.run(run())

    pids = [int(line.split()[1]) for line in lines(tmp_path, "started")]
    assert len(set(pids)) == 2
    assert not any(alive(pid) for pid in pids)


def test_a_reload_reaches_every_program(tmp_path: Path) -> None:
    async def run() -> None:
        async with supervised(tmp_path, "first", "second") as supervisor:
            supervisor.reload()
            await until(lambda: len(lines(tmp_path, "told")) == 2)

    asyncio.run(run())

    assert sorted(lines(tmp_path, "told")[:2]) == [f"first {int(signal.SIGHUP)}", f"second {int(signal.SIGHUP)}"]


def test_stopping_before_anything_is_ready_leaves_nothing_behind(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async def run() -> None:
        program = Program("only", ("only", str(tmp_path)), never)
        supervisor = Supervisor([program], folder=tmp_path, command=(sys.executable, "-c", CHILD))
        running = asyncio.create_task(supervisor.run())
        await until(lambda: lines(tmp_path, "started"))
        supervisor.stop()
        await running

    asyncio.run(run())

    assert not alive(int(lines(tmp_path, "started")[0].split()[1]))
