"""A real nginx with the printed block, between a client that sends raw bytes and a backend that records them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.hook_support import (
    END,
    KEY,
    GateApp,
    Served,
    credential,
    header,
    listening,
    one_answer,
    status,
    until_closed,
)
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.sidecar.hooks.snippet import NginxBlock, key_line, render

HOST = b"portal.example"


class Received(NamedTuple):
    """One request as the backend got it."""

    head: bytes
    body: bytes

    @property
    def line(self) -> tuple[bytes, bytes, bytes]:
        method, target, version = self.head.partition(b"\r\n")[0].split(b" ")
        return method, target, version

    def values(self, name: str) -> list[bytes]:
        return header(self.head, name)

    @property
    def names(self) -> list[str]:
        return [line.partition(b":")[0].decode() for line in self.head.split(b"\r\n")[1:-2]]


class Accepting:
    """Listens at a free port, and serves each connection in a thread of its own."""

    def __init__(self) -> None:
        self._sock = listening()
        self.address = "{}:{}".format(*self._sock.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        raise NotImplementedError


class Backend(Accepting):
    """Records every byte it gets; answers what the test says, else 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[bytes, bytes] = {}
        super().__init__()

    def _serve(self, client: socket.socket) -> None:
        # A proxy may end a connection it no longer needs with a reset.
        with contextlib.suppress(ConnectionResetError), client, client.makefile("rb") as stream:
            while (request := read_request(stream)) is not None:
                self.received.append(request)
                target = request.line[1] if request.head.count(b" ") >= 2 else b""
                default = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nbackend"
                answer = self.answers.get(target, default)
                try:
                    client.sendall(answer.partition(END)[0] + END if request.line[0] == b"HEAD" else answer)
                except OSError:
                    return

    def close(self) -> None:
        self._sock.close()


def read_request(stream: Any) -> Received | None:
    """One request with its body, None when the peer has hung up."""
    head = b""
    while not head.endswith(END):
        line = stream.readline()
        if not line:
            return None
        head += line
    lengths = header(head, "content-length")
    if lengths:
        return Received(head, stream.read(int(lengths[0])))
    body = b""
    if header(head, "transfer-encoding"):
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size + 2)[:-2]
        stream.readline()
    return Received(head, body)


class Answer(NamedTuple):
    """What the client gets."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return status(self.head)

    def values(self, name: str) -> list[bytes]:
        return header(self.head, name)


class Lab:
    """Client -> nginx -> (hook, backend). `hook` is the gate that allows whatever it accepts."""

    def __init__(
        self,
        executable: Path,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        hook_socket: socket.socket | None = None,
        app: GateApp | None = None,
        beside: Callable[[NginxBlock], NginxBlock] | None = None,
        edit: Callable[[str], str] = str,
        **block: Any,
    ) -> None:
        self.app = app or GateApp(credential())
        self.backend = Backend()
        sock = hook_socket or listening(host)
        self.hook = Served(self.app, sock)
        front = reserve(host)
        self.address = front.getsockname()[:2]
        include = folder / "pep-key.conf"
        include.write_text(key_line(KEY), encoding="ascii")
        include.chmod(0o600)
        unix = sock.family == socket.AF_UNIX
        self.block = NginxBlock(
            **{
                "proxy": "front",
                "server_names": (HOST.decode(),),
                "listen": (listen_text(front),),
                "sidecar": (f"unix:{sock.getsockname()}" if unix else listen_text(sock),),
                "backend": self.backend.address,
                "key_include": "" if unix else str(include),
                "enforces": ("no_store",),
            }
            | block
        )
        blocks = [self.block] if beside is None else [self.block, beside(self.block)]
        text = edit("\n".join(map(render, blocks)))
        self.nginx = NginxProcess.start(executable, http=text, folder=folder, sockets=[front])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.nginx.stop()
        self.backend.close()
        self.hook.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def send(self, raw: bytes) -> Answer:
        """Send raw bytes and take one answer."""
        with self.connect() as client:
            client.sendall(raw)
            return Answer(*one_answer(client, bodiless=raw.startswith(b"HEAD ")))

    def send_until_closed(self, raw: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(raw)
            return until_closed(client)

    def get(self, target: bytes = b"/cases/1", *headers: bytes) -> Answer:
        return self.send(request(target, *headers))


def request(
    target: bytes = b"/cases/1",
    *headers: bytes,
    method: bytes = b"GET",
    host: bytes | None = HOST,
    version: bytes = b"1.1",
    body: bytes = b"",
) -> bytes:
    """A client's request, byte for byte as given."""
    lines: Iterable[bytes] = [b"%b %b HTTP/%b" % (method, target, version)]
    if host is not None:
        lines = [*lines, b"Host: " + host]
    return b"\r\n".join([*lines, *headers]) + END + body
