"""wrk as the client: one thread, sixteen connections, requests that were made ahead, and what came of them."""

from __future__ import annotations

import json
import subprocess
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.processes import BenchmarkError, pinned

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("keys.lua")


class Sample(msgspec.Struct, frozen=True):
    """One measured run. Times in microseconds."""

    rate: float
    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    errors: int
    """Answers that are no 2xx or 3xx, and sockets that broke: above zero the run is worth nothing."""


class Load(msgspec.Struct, frozen=True):
    """What wrk sends: a file of whole requests in turn, or heads and tails put together by a list of numbers."""

    requests: Path
    tails: Path | None = None
    order: Path | None = None


def write_requests(path: Path, requests: Iterable[bytes]) -> Load:
    """Write requests that are sent one after the other, again and again."""
    write_strings(path, requests)
    return Load(path)


def write_parts(folder: Path, heads: Sequence[tuple[bytes, int]], tails: Sequence[bytes], order: array[int]) -> Load:
    """Write requests that are put together when they are sent: heads with the number of their tail, and an order.

    A hundred thousand requests as whole strings would not fit wrk's memory.
    """
    write_strings(folder / "heads", (len_prefix(number) + text for text, number in heads))
    write_strings(folder / "tails", tails)
    (folder / "order").write_bytes(order.tobytes())
    return Load(folder / "heads", folder / "tails", folder / "order")


def reordered(load: Load, path: Path, order: array[int]) -> Load:
    """Return the same heads and tails in another order."""
    path.write_bytes(order.tobytes())
    return Load(load.requests, load.tails, path)


def write_strings(path: Path, strings: Iterable[bytes]) -> None:
    """Write byte strings, each behind its length in four bytes."""
    with path.open("wb") as file:
        for text in strings:
            file.write(len_prefix(len(text)) + text)


def len_prefix(number: int) -> bytes:
    """Return four bytes, least significant first."""
    return number.to_bytes(4, "little")


def run(wrk: Path, load: Load, *, port: int, seconds: float, core: int, offset: int = 0) -> Sample:
    """Run wrk against a port of this machine and return what it measured."""
    whole = max(1, round(seconds))
    files = [str(path) for path in (load.requests, load.tails, load.order) if path is not None]
    command = [str(wrk), "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "--timeout", "5s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}/", "--", str(offset), *files]
    with pinned(core):
        done = subprocess.run(command, capture_output=True, text=True, timeout=whole + 60, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise BenchmarkError(f"wrk failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return sample_of(json.loads(lines[-1]))


def sample_of(report: dict[str, float]) -> Sample:
    """Return the figures of the one line that `keys.lua` prints."""
    seconds = report["duration_us"] / 1e6
    errors = sum(int(report[name]) for name in ("connect", "read", "write", "status", "timeout"))
    return Sample(
        rate=report["requests"] / seconds, requests=int(report["requests"]), seconds=seconds, p50=report["p50"],
        p95=report["p95"], p99=report["p99"], errors=errors,
    )  # fmt: skip
