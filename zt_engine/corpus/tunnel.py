"""A change of protocols: the backend agrees to any but WebSocket, and serves what comes through the tunnel.

A proxy that lets such an upgrade through no longer sees requests (h2c smuggling). What comes then is executed and
recorded like anything else, as HTTP/2 or as plain HTTP/1.1: a blind proxy makes no difference between the two.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAMED = b"websocket"


def agreed(request: bytes) -> bytes:
    """Return the 101 for a request that wants another protocol, empty for one that does not."""
    head = request.partition(b"\r\n\r\n")[0]
    fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    wanted = [value.strip() for name, _, value in fields if name.strip().lower() == b"upgrade"]
    named = [token.strip() for value in wanted for token in value.split(b",") if token.strip()]
    others = [token for token in named if token.lower() != _FRAMED]
    linked = any(name.strip().lower() == b"connection" and b"upgrade" in value.lower() for name, _, value in fields)
    if not (others and linked):
        return b""
    chosen = next((token for token in others if token.lower() == b"h2c"), others[0])
    return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % chosen


def serve_h2(client: socket.socket, kept: bytearray, answer: Callable[[bytes], object]) -> None:
    """Serve HTTP/2 on a connection until it ends; each request is handed on as the HTTP/1.1 it stands for."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    data = bytes(kept)
    kept.clear()
    while data:
        try:
            events = connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            events = []
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                answer(_as_http1(event.headers))
                connection.send_headers(event.stream_id, [(b":status", b"200")], end_stream=True)
        client.sendall(connection.data_to_send())
        data = client.recv(65536)


def _as_http1(headers: list[tuple[bytes, bytes]]) -> bytes:
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    lines = [b"%b %b HTTP/1.1" % (pseudo.get(b":method", b"GET"), pseudo.get(b":path", b"/"))]
    lines += [b"Host: " + pseudo.get(b":authority", b"")]
    lines += [b"%b: %b" % (name, value) for name, value in headers if not name.startswith(b":")]
    return b"\r\n".join([*lines, b"", b""])


def over_h2(message: bytes, *, first: int) -> bytes:
    """Return a request, written as HTTP/1.1, as the bytes of HTTP/2 with its preface; `first` numbers its stream.

    Behind an upgrade the first stream is the request that asked for it, so the next one is 3.
    """
    head = message.partition(b"\r\n\r\n")[0]
    line, *fields = head.split(b"\r\n")
    method, target, _ = line.split(b" ", 2)
    named = [(name.strip().lower(), value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
    host = next((value for name, value in named if name == b"host"), b"")
    pseudo = [(b":method", method), (b":path", target), (b":scheme", b"http"), (b":authority", host)]
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()
    connection.send_headers(first, pseudo + [field for field in named if field[0] != b"host"], end_stream=True)
    return connection.data_to_send()
