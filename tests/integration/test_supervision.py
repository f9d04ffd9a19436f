"""`zt up` keeps real processes running: in order, again when they fall, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from zt_engine.adapters.stream_http import trusting
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.one_machine import _silent
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
        async def started() -> str:
            return "" if any(line.startswith(f"{name} ") for line in lines(folder, "started")) else "not started yet"

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
    async def never() -> str:
        return "it never serves"

    async def run() -> None:
        program = Program("only", ("only", str(tmp_path)), never)
        supervisor = Supervisor([program], folder=tmp_path, command=(sys.executable, "-c", CHILD))
        running = asyncio.create_task(supervisor.run())
        await until(lambda: lines(tmp_path, "started"))
        supervisor.stop()
        await running

    asyncio.run(run())

    assert not alive(int(lines(tmp_path, "started")[0].split()[1]))


def test_whatever_a_program_is_waited_for_the_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.bootstrap.supervision.WORD_SECONDS", 0.0)
    asked: list[str] = []

    async def slow() -> str:
        asked.append("its CA is not believed")
        return asked[-1] if len(asked) < 3 else ""

    async def run() -> None:
        program = Program("control", ("control", str(tmp_path)), slow)
        supervisor = Supervisor([program], folder=tmp_path, command=(sys.executable, "-c", CHILD))
        running = asyncio.create_task(supervisor.run())
        await until(lambda: len(asked) == 3 and lines(tmp_path, "started"))
        supervisor.stop()
        await running

    with capture_logs() as logs:
        asyncio.run(run())

    said = [(line["program"], line["why"]) for line in logs if line["event"] == "program.not_ready"]
    assert said == [("control", "its CA is not believed")] * 2


def test_a_control_plane_whose_ca_is_not_believed_is_not_waited_for_without_a_word(tmp_path: Path) -> None:
    """The one reason that waiting never cures, told with the setting that does."""
    _, certificate, key = write_server_certificate(tmp_path, ["localhost"], now=time.time())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def asked() -> str:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await _silent(f"https://localhost:{port}/healthz", verify=trusting(None))

    assert "certificate verify failed" in (why := asyncio.run(asked()))
    assert "control.ca_file" in why
