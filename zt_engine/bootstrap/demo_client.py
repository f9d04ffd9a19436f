"""The demo's client: one request as raw bytes over TLS, because a polite library would tidy crafted targets up."""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

TIMEOUT = 10.0
_DECISION = re.compile(rb"sidecar-1-[0-9a-f]{8}-[0-9a-f]+")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, and how long it took from the first byte sent to the last one received, without the handshake."""

    status: int
    headers: dict[str, str]
    body: bytes
    microseconds: int

    @property
    def decision_id(self) -> bytes:
        """The decision's id, which every answer of ours shows; empty when it is not there."""
        found = _DECISION.search(self.body)
        return found[0] if found else b""


class DemoClient:
    """Sends requests to nginx; `certificates` has a PEM file (certificate and key) for each device."""

    def __init__(self, authority: Path, certificates: Path) -> None:
        self._authority = authority
        self._certificates = certificates
        self._context = functools.cache(self._make_context)

    def send(
        self, port: int, host: str, device: str, *, method: str, target: str, headers: Sequence[tuple[str, str]]
    ) -> Answer:
        """Send one request, byte for byte as given, and read the answer until the server closes."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if method in ("POST", "PUT"):
            lines.append("Content-Length: 0")
        request = "\r\n".join([*lines, "", ""]).encode("utf-8")
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain,
            self._context(device).wrap_socket(plain, server_hostname=host) as secure,
        ):
            started = time.perf_counter_ns()
            secure.sendall(request)
            received = bytearray()
            while piece := secure.recv(65536):
                received += piece
            spent = time.perf_counter_ns() - started
        return read_answer(bytes(received), microseconds=spent // 1000)

    def repeat(
        self, port: int, host: str, device: str, *, target: str, headers: Sequence[tuple[str, str]], times: int
    ) -> list[int]:
        """Send one GET many times over one connection; return the microseconds of each."""
        connection = http.client.HTTPSConnection(host, port, context=self._context(device), timeout=TIMEOUT)
        connection.sock = self._context(device).wrap_socket(
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT), server_hostname=host
        )
        spent = []
        try:
            for _ in range(times):
                started = time.perf_counter_ns()
                connection.request("GET", target, headers=dict(headers))
                connection.getresponse().read()
                spent.append((time.perf_counter_ns() - started) // 1000)
        finally:
            connection.close()
        return spent

    def _make_context(self, device: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._authority))
        if device:
            context.load_cert_chain(self._certificates / f"{device}.pem")
        return context


def read_answer(raw: bytes, *, microseconds: int) -> Answer:
    """Split an answer with `Connection: close` into its parts."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1]) if first.startswith("HTTP/1.") else 0
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _dechunked(body)
    return Answer(status=status, headers=headers, body=body, microseconds=microseconds)


def _dechunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            break
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)


def unix_get(path: Path, target: str) -> Answer:
    """GET over a Unix socket, for the admin listener; raises OSError while nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(path))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: zt\r\nConnection: close\r\n\r\n".encode())
        received = bytearray()
        while piece := sock.recv(65536):
            received += piece
    return read_answer(bytes(received), microseconds=0)
