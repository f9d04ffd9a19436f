"""Our own listener with an application that answers 200 at once: what `auth_request` costs when nothing is decided.

python -m benchmarks.noop_listener PORT ANSWER_FILE [CERTIFICATE KEY CLIENT_CA]
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
from pathlib import Path

import uvloop

from zt_engine.sidecar.listener import DecisionServer, Limits


class NoopApp:
    """Answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def repeat(self, head: bytes, uid: int | None) -> None:
        """Every request is read."""

    def answer(
        self,
        path: bytes,
        method: bytes,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        uid: int | None,
        head: bytes,
    ) -> bytes:
        return self._answer

    def seal(self, answers: list[bytes]) -> list[bytes]:
        return answers


def mutual(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """Return the TLS of a listener at which a proxy shows a certificate, as a sidecar has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    return context


async def serve(port: int, answer: bytes, tls: ssl.SSLContext | None) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    server = DecisionServer(NoopApp(answer), Limits(), loop)
    await server.listen(sock, tls=tls)
    await stopped.wait()
    await server.close()


if __name__ == "__main__":
    secured = mutual(*sys.argv[3:]) if len(sys.argv) > 3 else None
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), secured))
