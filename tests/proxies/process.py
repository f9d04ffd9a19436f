"""A proxy as a process of a test: started in a folder of its own, waited for, stopped, with what it said kept."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

START_SECONDS = 20.0
STOP_SECONDS = 10.0
RETRY_SECONDS = 0.02


class ProxyProcess:
    """One running proxy. `address` answers when the constructor returns."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        address: tuple[str, int],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` in `folder`; raises AssertionError with what it said when it does not come up."""
        self.address = address
        self._output = folder / "proxy.out"
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "HOME": str(folder), **(environment or {})},
            )
        try:
            self._await()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to its standard output and error."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=1):
                return
            time.sleep(RETRY_SECONDS)
        raise AssertionError(f"the proxy did not come up: {self.said[-2000:]}")

    def stop(self) -> None:
        """Stop it, by force if it does not listen."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on now; a proxy that cannot take a socket over has to be told one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])
