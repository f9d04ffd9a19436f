"""The backend that bears witness: every request, with the very bytes the proxy wrote, goes to three kinds of stack.

Each stack answers with a record of what it executed. The bytes go to a new connection of each stack, so that what one
of them takes for a second request is a second record. The proxy gets one plain answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import msgspec

from zt_engine.corpus.execution import IDENTITY, RECORD, Execution, executions
from zt_engine.corpus.stacks.processes import Stack, start_stacks
from zt_engine.corpus.tunnel import PREFACE, agreed, serve_h2

END = b"\r\n\r\n"
MAX_HEAD = 1 << 18
MAX_BODY = 1 << 20
STACK_SECONDS = 5.0
IDLE_SECONDS = 30.0
RECORDS_PATH = b"/.corpus/records"
ANSWERED = "Corpus-Backend"
"""The header that says an answer comes from this backend."""

_encode = msgspec.json.Encoder().encode


class Backend:
    """Listens, hands on, remembers. A context manager."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, identity: Sequence[str] = ()) -> None:
        """`identity` are further headers that say who asks."""
        self.stacks: tuple[Stack, ...]
        self.stacks, self.lacking = start_stacks((*(name.lower() for name in identity), *IDENTITY))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.create_server((host, port), family=family, backlog=256)
        self.host, self.port = self._sock.getsockname()[:2]
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._records: list[Execution] = []
        self._busy = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"[{self.host}]:{self.port}" if ":" in str(self.host) else f"{self.host}:{self.port}"

    def take(self) -> list[Execution]:
        """Return what was executed since this was last asked, once nothing is under way."""
        deadline = time.monotonic() + STACK_SECONDS
        with self._done:
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self._done.wait(left)
            taken, self._records = self._records, []
        return taken

    def close(self) -> None:
        """Stop listening, and the stacks."""
        self._sock.close()
        for stack in self.stacks:
            stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        kept = bytearray()
        client.settimeout(IDLE_SECONDS)
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (request := _request(client, kept)) is not None:
                answer = self._answer(request)
                switched = agreed(request)
                client.sendall(switched or answer)
                if switched and _preface(client, kept):
                    serve_h2(client, kept, self._answer)
                    return

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(b"GET " + RECORDS_PATH + b" "):
            body = b"".join(RECORD + _encode(record) + b"\n" for record in self.take())
            return _plain(body)
        with self._lock:
            self._busy += 1
        records = [record for stack in self.stacks for record in executions(_ask(stack.address, request))]
        with self._done:
            self._records += records
            self._busy -= 1
            self._done.notify_all()
        body = ", ".join(record.stack for record in records).encode() + b"\n"
        return _plain(body, status=b"200 OK" if records else b"400 Bad Request", head=request.startswith(b"HEAD "))


def _preface(client: socket.socket, kept: bytearray) -> bool:
    """Whether what comes next is HTTP/2. Whoever switches with h2c begins with its preface."""
    while len(kept) < len(PREFACE) and PREFACE.startswith(kept):
        piece = client.recv(65536)
        if not piece:
            return False
        kept += piece
    return kept.startswith(PREFACE)


def _plain(body: bytes, *, status: bytes = b"200 OK", head: bool = False) -> bytes:
    lines = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\n%b: 1\r\nContent-Length: %d\r\n\r\n"
    return lines % (status, ANSWERED.encode(), len(body)) + (b"" if head else body)


def _request(client: socket.socket, kept: bytearray) -> bytes | None:
    """Read one request, with the framing that its head announces; None when the peer has hung up."""
    while END not in kept:
        piece = client.recv(65536)
        if not piece or len(kept) > MAX_HEAD:
            return None
        kept += piece
    size = kept.index(END) + len(END)
    head = bytes(kept[:size])
    fields = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    if any(name.strip() == b"transfer-encoding" and b"chunked" in value for name, _, value in fields):
        while b"0\r\n\r\n" not in kept[size:] and len(kept) < MAX_BODY:
            piece = client.recv(65536)
            if not piece:
                break
            kept += piece
        size = kept.index(b"0\r\n\r\n", size) + 5 if b"0\r\n\r\n" in kept[size:] else len(kept)
    else:
        lengths = [
            int(value) for name, _, value in fields if name.strip() == b"content-length" and value.strip().isdigit()
        ]
        size += min(lengths[0], MAX_BODY) if lengths else 0
        while len(kept) < size:
            piece = client.recv(65536)
            if not piece:
                return None
            kept += piece
    request = bytes(kept[:size])
    del kept[:size]
    return request


def _ask(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes to a stack, say that no more will come, and return all it answers."""
    answer = bytearray()
    with suppress(OSError), socket.create_connection(address, timeout=STACK_SECONDS) as stack:
        stack.sendall(request)
        stack.shutdown(socket.SHUT_WR)
        while piece := stack.recv(65536):
            answer += piece
    return bytes(answer)


def fetch_records(address: tuple[str, int], *, seconds: float = 10.0) -> Sequence[Execution]:
    """Ask a backend elsewhere, past the proxy, for its records; raises OSError."""
    with socket.create_connection(address, timeout=seconds) as sock:
        sock.sendall(b"GET " + RECORDS_PATH + b" HTTP/1.1\r\nHost: corpus\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while piece := sock.recv(65536):
            answer += piece
    return list(executions(bytes(answer)))
