"""Node and PHP as processes of their own, on free loopback ports; they end with the one who started them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import IO

from zt_engine.core.errors import UnavailableError
from zt_engine.corpus.execution import MARK, RECORD
from zt_engine.corpus.stacks.php_emulated import EmulatedPhpStack
from zt_engine.corpus.stacks.wsgi import WsgiStack

FOLDER = "zt_engine.corpus.stacks"


class _Process:
    name = ""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.address: tuple[str, int] = ("127.0.0.1", port)

    def close(self) -> None:
        """Stop the process."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class NodeStack(_Process):
    """node's own `http` server."""

    name = "node"

    @classmethod
    def start(cls, executable: str, names: Sequence[str]) -> NodeStack:
        """Start it; raises UnavailableError CORPUS_STACK when it says nothing."""
        arguments = [",".join(names), MARK, RECORD.decode()]
        process = subprocess.Popen(  # noqa: S603  # found on PATH, told nothing that anybody sent
            [executable, str(_file("node.js")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
        )
        assert process.stdout is not None  # it is a pipe
        line = process.stdout.readline().strip()
        if not line.isdigit():
            process.kill()
            raise UnavailableError("CORPUS_STACK", "node did not start", where=executable)
        return cls(process, int(line))


class PhpStack(_Process):
    """`php -S`, PHP's own server, with one script for every path."""

    name = "php"

    @classmethod
    def start(cls, executable: str, names: Sequence[str]) -> PhpStack:
        """Start it; raises UnavailableError CORPUS_STACK when it does not say where it listens."""
        variables = {"corpus_identity": ",".join(names), "corpus_mark": MARK, "corpus_record": RECORD.decode()}
        router = _file("router.php")
        process = subprocess.Popen(  # noqa: S603  # found on PATH, told nothing that anybody sent
            [
                executable,
                "-n",
                "-d",
                "display_errors=stderr",
                "-S",
                "127.0.0.1:0",
                "-t",
                str(router.parent),
                str(router),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), **variables},
        )
        assert process.stderr is not None  # it is a pipe
        said = process.stderr.readline()
        port = re.search(rb"127\.0\.0\.1:(\d+)", said)
        if port is None:
            process.kill()
            raise UnavailableError("CORPUS_STACK", "php did not start", where=executable)
        # It reports every request there, and would wait for a reader.
        threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
        return cls(process, int(port[1]))


Stack = WsgiStack | NodeStack | PhpStack | EmulatedPhpStack


def start_stacks(names: Sequence[str]) -> tuple[tuple[Stack, ...], tuple[str, ...]]:
    """Start what this machine has, and return it with what it lacks. PHP is emulated where it is missing.

    `names` are the identity headers that are recorded, in lower case.
    """
    stacks: list[Stack] = [WsgiStack(names)]
    lacking = []
    node, php = shutil.which("node"), shutil.which("php")
    if node is None:
        lacking.append("node")
    else:
        stacks.append(NodeStack.start(node, names))
    if php is None:
        lacking.append("php (emulated)")
        stacks.append(EmulatedPhpStack(names))
    else:
        stacks.append(PhpStack.start(php, names))
    return tuple(stacks), tuple(lacking)


def _drain(stream: IO[bytes]) -> None:
    with stream:
        for _ in stream:
            pass


def _file(name: str) -> Path:
    return Path(str(resources.files(FOLDER) / name))
