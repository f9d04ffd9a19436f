"""Contestants as processes: pinned to a core, paused while another one is measured, gone at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parent.parent


class BenchmarkError(Exception):
    """A contestant did not come up, or answered something it must not: there is nothing to measure."""


def cores() -> tuple[int, int]:
    """Return the core of the contestants and the core of the client; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[1] if len(available) > 1 else available[0]


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Keep this thread, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Contestant:
    """One program under measurement, with all its children."""

    def __init__(
        self, name: str, command: Sequence[str | Path], *, core: int, log: Path, port: int, ready: str,
        env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.port = port
        self.metrics = ""
        """Where a sidecar tells what it counted."""
        self._log = log
        self._ready = ready
        with log.open("ab") as output, pinned(core):
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the program answers 200; raises BenchmarkError with what it said when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if status_of(self._ready) == 200:
                return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def pause(self) -> None:
        """Stop all of it in its tracks, so that its timers cost the others nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run for the length of a block."""
        self.resume()
        try:
            yield
        finally:
            self.pause()

    def cpu_seconds(self) -> float:
        """Return the processor time all of it has used: the share of a rate that other programs cannot disturb."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it ended between the listing and the look
                continue
            if int(fields[2]) == self._process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Return the memory its first process has."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it and everything it started."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        try:
            # A session of its own: the group has the id of the process.
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def status_of(url: str) -> int:
    """Return the status of a GET, 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def text_of(url: str) -> str:
    """Return the body of a GET."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
