"""Processes that use a store and are killed, and what they had acknowledged by then."""

from __future__ import annotations

import os
import subprocess

from tests.forked import Forked


class Child:
    """One process of `store_child`."""

    def __init__(self, task: str, url: str, run: str = "") -> None:
        self._process = Forked(
            [task, url, run],
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            target="tests.integration.store_child:main",
        )
        self._received = b""

    def wait_for(self, lines: int) -> None:
        """Return when it has acknowledged so much."""
        while self._received.count(b"\n") < lines:
            assert self._read(), "it ended by itself"

    def kill(self) -> list[str]:
        """Kill it where it stands; return everything it acknowledged."""
        self._process.kill()
        return self.end()

    def end(self) -> list[str]:
        """Wait for it to end, as one does by itself whose database is gone; return everything it acknowledged."""
        assert self._process.stdout is not None
        while not self._process.stdout.closed and self._read():
            pass
        self._process.stdout.close()
        self._process.wait()
        return self._received.decode().split("\n")[:-1]

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        piece = os.read(self._process.stdout.fileno(), 65536)
        self._received += piece
        return piece
