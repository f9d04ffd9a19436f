"""What a fleet is made of: processes of clients, a whole sidecar that is asked over HTTP, a bad line."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contestants import ZT
from benchmarks.follower_clients import REVOKED
from benchmarks.inventory_site import InventorySite
from benchmarks.processes import ROOT, BenchmarkError, Contestant, free_port, pinned
from benchmarks.site import HOOK

PAUSE = 0.004
"""Between two requests to the whole sidecar: what its last allow is known to."""
PATIENCE = 60.0


class Piped:
    """A process that is spoken with line by line, from here on to the end of a block."""

    def __init__(self, module: str, *arguments: str, cores: Sequence[int], log: Path) -> None:
        with log.open("ab") as errors, pinned(*cores):
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
            )  # fmt: skip

    def said(self) -> Any:
        """Return its next line; raises BenchmarkError when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line:
            raise BenchmarkError("the clients have ended")
        return json.loads(line)

    def tell(self, question: dict[str, str]) -> None:
        """Say something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()

    def state(self) -> dict[str, Any]:
        """Ask how it stands."""
        self.tell({"do": "state"})
        return dict(self.said())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Clients(Piped):
    """One process of clients."""

    def __init__(
        self, config: Path, folder: Path, first: int, count: int, *, cores: Sequence[int], log: Path, url: str = ""
    ) -> None:
        arguments = [str(config), str(folder), str(first), str(count), *([url] if url else [])]
        super().__init__("benchmarks.follower_clients", *arguments, cores=cores, log=log)


class Relay(Piped):
    """A bad line to a port of this machine."""

    def __init__(self, target: int, *, core: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__("benchmarks.slow_relay", str(port), str(target), cores=(core,), log=Path(os.devnull))
        if self.said() != "ready":
            raise BenchmarkError("the relay did not start")


def in_memory(otherwise: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is no disk's, where there is such a thing: so many sidecars have as many disks."""
    shared = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="zt-bench-", dir=shared if shared.is_dir() else otherwise)


class Readers(Piped):
    """Streams with nothing behind them, which are read as soon as there is something."""

    def __init__(self, folder: Path, count: int, port: int, *, cores: Sequence[int], log: Path) -> None:
        arguments = (str(folder), str(count), "2", str(port))
        super().__init__("benchmarks.stream_readers", *arguments, cores=cores, log=log)


class Running:
    """A contestant, until the end of a block."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant

    def __enter__(self) -> Contestant:
        self.contestant.wait_ready()
        return self.contestant

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.contestant.stop()


def whole_sidecar(site: InventorySite, *, core: int, log: Path) -> Running:
    """Start `zt sidecar run` on the site's own installation."""
    port, admin_port = free_port(), free_port()
    text = site.sandbox.config.read_text()
    text = re.sub(r"^listen = \[.*\]", f'listen = ["127.0.0.1:{port}"]', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^admin_listen = \S+", f'admin_listen = "127.0.0.1:{admin_port}"', text, count=1, flags=re.MULTILINE)
    config = site.sandbox.write("whole.toml", text.encode())
    command = [sys.executable, "-c", ZT, "sidecar", "run", "--config", config]
    return Running(
        Contestant(
            "whole sidecar", command, core=core, log=log, port=port, ready=f"http://127.0.0.1:{admin_port}/readyz"
        )
    )


def hook_request(pep_key: str, escaped: bytes, token: str, host: str, path: str) -> bytes:
    """Return what nginx would ask for a person on their laptop."""
    headers = (
        ("X-Original-URI", path), ("X-Original-Host", host), ("X-Original-Method", "GET"),
        ("X-Original-Proto", "https"), ("X-Original-Port", "443"), ("X-Real-IP", "192.0.2.7"),
        ("Zt-Request-Id", os.urandom(16).hex()), ("Zt-Client-Verify", "SUCCESS"),
        ("Zt-Client-Cert", escaped.decode()), ("Zt-Pep-Key", pep_key), ("Authorization", f"Bearer {token}"),
    )  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"GET {HOOK.decode()} HTTP/1.1\r\nHost: zt-sidecar\r\n{lines}\r\n".encode()


class Asking:
    """Somebody who asks the whole sidecar over HTTP all the time, in a thread."""

    def __init__(self, site: InventorySite, port: int) -> None:
        self._pep_key = site.sandbox.pep_key
        self._port = port
        self._head = b""
        self._before: list[bytes] = []
        self._changed = threading.Condition()
        self._allowed_at = 0.0
        self.allow_read_at = 0.0
        """When the last allow had been read, which is later than when it was decided."""
        self._denied = self._stopping = False
        self._problem = ""
        self.stale_allows = 0
        """Allows of what this sidecar has denied before."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping = True
        self._thread.join(PATIENCE)

    def begin(self, escaped: bytes, token: str, host: str, path: str) -> None:
        """Ask for something else from now on."""
        head = hook_request(self._pep_key, escaped, token, host, path)
        with self._changed:
            self._head = head
            self._allowed_at, self._denied = 0.0, False

    def allowed(self) -> None:
        """Wait until it is allowed."""
        self._wait(lambda: self._allowed_at > 0, "the allow")

    def denied(self) -> float:
        """Wait until it is denied; return when it was allowed last."""
        self._wait(lambda: self._denied, "the denial")
        return self._allowed_at

    def _wait(self, done: Any, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(done, PATIENCE):
                raise BenchmarkError(f"the whole sidecar: {what} did not come; {self._problem}")

    def _run(self) -> None:
        turn = 0
        while not self._stopping and not self._head:  # a connection that idles is closed
            time.sleep(PAUSE)
        with socket.create_connection(("127.0.0.1", self._port)) as sock, sock.makefile("rb") as answers:
            while not self._stopping:
                head = self._head
                if head and not self._denied:
                    at = time.monotonic()
                    opened = self._opens(sock, answers, head)
                    with self._changed:
                        if opened and head is self._head:
                            self._allowed_at, self.allow_read_at = at, time.monotonic()
                        elif self._allowed_at and head is self._head and self._problem == REVOKED:
                            self._denied = True
                            self._before.append(head)
                        self._changed.notify_all()
                elif self._before:
                    turn = (turn + 1) % len(self._before)
                    self.stale_allows += self._opens(sock, answers, self._before[turn])
                time.sleep(PAUSE)

    def _opens(self, sock: socket.socket, answers: Any, head: bytes) -> bool:
        sock.sendall(head)
        status = answers.readline()
        length = 0
        while (line := answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            if name.lower() == b"zt-reason":
                self._problem = value.strip().decode()
        answers.read(length)
        return bool(status.split(b" ")[1:2] == [b"200"])
