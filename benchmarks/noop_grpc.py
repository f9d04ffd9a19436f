"""Our gRPC listener with a hook that allows at once: what `ext_authz` over gRPC costs when nothing is decided.

python -m benchmarks.noop_grpc SOCKET ANSWER_FILE
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any, cast

import uvloop

from zt_engine.sidecar.grpc.check import allowed, option
from zt_engine.sidecar.grpc.listener import GrpcServer
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.turn import Turn


class NoopHook:
    """Allows every question with the same bytes, and writes nothing down."""

    def __init__(self, answer: bytes) -> None:
        lines = (line.partition(b": ") for line in answer.split(b"\r\n")[1:] if line)
        self._answer = allowed([option(name.lower(), value) for name, _, value in lines if name.startswith(b"Zt-")])

    def known(self, peer: Peer) -> bool:
        return True

    def answer(self, message: bytes, peer: Peer) -> bytes:
        return self._answer

    def seal(self, answers: list[Any]) -> list[bytes]:
        return answers


async def serve(path: str, answer: bytes) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    hook = NoopHook(answer)
    server = GrpcServer(cast("EnvoyGrpcHook", hook), Turn(hook, loop), loop, meters=Meters(), ready=lambda: True)
    await server.listen(sock)
    await stopped.wait()
    await server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]).read_bytes()))
