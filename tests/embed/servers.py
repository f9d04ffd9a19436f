"""Real servers with an application of the documentation, as processes of their own."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

from tests.peers import ROOT
from tests.proxies.process import ProxyProcess, free_port

PAGE = ROOT / "docs/embedding.md"


def example(name: str) -> str:
    """A file of the documentation, by the comment in its first line."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {name}\n"))


def command(program: str) -> list[str]:
    """The command of the documentation that starts a server."""
    lines = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    line = next(line.strip() for line in lines if line.startswith(program))
    return [word.strip('"') for word in line.split(" ")]


@contextmanager
def served(name: str, program: str, config: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Serve an application of the documentation with its own command, on a free port."""
    (folder / name).write_text(example(name))
    port = free_port()
    words = [word.replace("8080", str(port)) for word in command(program)]
    started = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    environment = {"ZT_CONFIG": str(config), "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    with ProxyProcess(started, folder=folder, address=("127.0.0.1", port), environment=environment) as process:
        yield process.address


def send(address: tuple[str, int], raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; status, headers by their names in lower case, and body of the answer."""
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(raw)
        answer = HTTPResponse(client, method=raw.partition(b" ")[0].decode())
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def get(target: bytes, *headers: bytes, host: bytes = b"portal.example") -> bytes:
    """A request, byte for byte."""
    lines = [b"GET %b HTTP/1.1" % target, b"Host: " + host, b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"
