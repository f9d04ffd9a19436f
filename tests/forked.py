"""Programs as processes of their own that need not import anything first: forked from one that has imported it all.

Most of what a short command costs is its imports, and a suite starts hundreds of them. What is forked here is a process
like any other: its own pid, descriptors, folder, environment, signals and exit status. Two things are not its own: it
was not newly imported, and /proc tells the command line and environment of the one it was forked from. Tests of these
start Python.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
ZT = "zt_engine.cli:main"
IMPORTED = (
    "zt_engine.cli",
    *(f"zt_engine.cli.{name}" for name in ("agent", "control", "device", "init", "sidecar")),
    "tests.store_support",
)
Stream = int | IO[Any] | None


class Forked:
    """What `subprocess.Popen` is, as far as tests use it."""

    def __init__(
        self,
        words: list[str],
        *,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        target: str = ZT,
    ) -> None:
        """`target` is the function that the process calls, with these words as its arguments."""
        self.args = words
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self._waiting = threading.Lock()
        theirs, closed = [], []
        for number, (name, given) in enumerate((("stdin", stdin), ("stdout", stdout), ("stderr", stderr))):
            descriptor, ours, done = _opened(given, number)
            if ours is not None:
                mode = "r" if number else "w"
                encoding = "utf-8" if text else None
                setattr(self, name, os.fdopen(ours, mode if text else f"{mode}b", encoding=encoding))
            theirs.append(descriptor)
            closed += done
        self._status, status = os.pipe()
        asked = {"words": words, "env": dict(env), "cwd": str(cwd), "target": target}
        socket.send_fds(_parent(), [json.dumps(asked).encode()], [*theirs, status])
        for number in (*closed, status):
            os.close(number)
        self.pid = int(self._line())

    def _line(self) -> bytes:
        """Read what is said of the process: its pid first, then its status."""
        said = b""
        while not said.endswith(b"\n"):
            piece = os.read(self._status, 1)
            if not piece:
                raise RuntimeError("the process that forks others is gone")
            said += piece
        return said

    def poll(self) -> int | None:
        """Return the exit status, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended; TimeoutExpired when it does not in time."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with self._waiting:
            if self.returncode is None:
                self.returncode = int(self._line())
                os.close(self._status)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Read everything it says until its end."""
        end = None if timeout is None else time.monotonic() + timeout
        said: dict[str, Any] = {"stdout": None, "stderr": None}

        def read(name: str, stream: IO[Any]) -> None:
            with stream:
                said[name] = stream.read()

        streams = {name: stream for name in said if (stream := getattr(self, name)) is not None}
        readers = [threading.Thread(target=read, args=(name, stream), daemon=True) for name, stream in streams.items()]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return said["stdout"], said["stderr"]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)


def run(words: list[str], *, env: Mapping[str, str], timeout: float = 100.0, **how: Any) -> tuple[int, str, str]:
    """Run a command to its end; return its status and what it said."""
    process = Forked(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.wait(), out, err


def _opened(given: Stream, number: int) -> tuple[int, int | None, list[int]]:
    """Return what becomes their descriptor `number`, our end of it, and what is closed here once it has been sent."""
    if given == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        return null, None, [null]
    if given == subprocess.PIPE:
        reading, writing = os.pipe()
        theirs, ours = (writing, reading) if number else (reading, writing)
        return theirs, ours, [theirs]
    if given is None:
        return number, None, []
    return given if isinstance(given, int) else given.fileno(), None, []


@cache
def _parent() -> socket.socket:
    """Start the process that others are forked from, once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# -- the other side ---------------------------------------------------------------------------------------------------


def serve(asked: socket.socket) -> str:
    """Fork whenever that is asked for; return in those only that were forked, with the name of what to call."""
    began: dict[int, int] = {}
    """The pipe on which the end of each process is told."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready = select.select([asked, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _tell_of_ends(began)
        if asked not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 4)
        if not message:
            os._exit(0)
        status = descriptors[3]
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (asked.detach(), woken, wake, status, *began.values()):
                os.close(number)
            return _become(json.loads(message), descriptors[:3])
        for number in descriptors[:3]:
            os.close(number)
        began[pid] = status
        os.write(status, b"%d\n" % pid)


def _tell_of_ends(began: dict[int, int]) -> None:
    while began:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(began[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(began.pop(pid))


def _become(asked: dict[str, Any], descriptors: list[int]) -> str:
    """Be what was asked for: its streams, folder, environment and arguments."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in set(descriptors) - {0, 1, 2}:
        os.close(descriptor)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["zt", *asked["words"]]
    sys.modules["__main__"].__package__ = None  # or commands say in their help how this module was run
    return str(asked["target"])


def main() -> None:
    """Import everything, and fork. In the processes that were forked: do what they are for, and end as Python does."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    module, _, function = serve(asked).partition(":")
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a test run that is killed leaves nothing behind
    getattr(import_module(module), function)()


if __name__ == "__main__":
    main()
