"""Our FastCGI listener with an authorizer that allows at once: what `mod_authnz_fcgi` costs when nothing is decided.

python -m benchmarks.noop_fastcgi PORT ANSWER_FILE
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any, cast

import uvloop

from zt_engine.sidecar.app import Pending
from zt_engine.sidecar.fastcgi import pairs
from zt_engine.sidecar.fastcgi_listener import FastcgiServer
from zt_engine.sidecar.hooks.apache import USER
from zt_engine.sidecar.turn import Turn


class NoopAuthorizer:
    """Allows every question with the same bytes, and writes nothing down."""

    def __init__(self, answer: bytes) -> None:
        lines = (line.partition(b": ") for line in answer.split(b"\r\n")[1:] if line.startswith(b"Zt-"))
        variables = (b"Variable-%b: %b\r\n" % (name.upper().replace(b"-", b"_"), value) for name, _, value in lines)
        self._answer = b"Status: 200 OK\r\n" + USER + b"".join(variables) + b"\r\n"

    def ask(self, raw: bytes) -> Pending:
        """Read the question as every authorizer has to, and allow; the answer takes its turn as a decision does."""
        pairs(raw)
        return cast("Pending", self._answer)

    def seal(self, answers: list[Any]) -> list[bytes]:
        """Give the answers back."""
        return answers


async def serve(port: int, answer: bytes) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    authorizer = NoopAuthorizer(answer)
    server = FastcgiServer(authorizer.ask, Turn(authorizer, loop), loop)
    await server.listen(sock)
    await stopped.wait()
    await server.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
