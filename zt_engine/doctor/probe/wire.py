"""One connection, raw bytes out, the head of one answer back."""

from __future__ import annotations

import re
import socket
import ssl

import msgspec

from zt_engine.doctor.probe.target import Target

TIMEOUT = 5.0
LARGEST = 64 << 10

_HEAD = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\r\n]*)?\r?\n((?:[^\r\n]+\r?\n)*)\r?\n", re.DOTALL)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; status 0 is a connection that was closed without an answer."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the first value of a header, or nothing."""
        return next((value for key, value in self.headers if key == name), "")


def ask(target: Target, raw: bytes, *, verify: bool = True) -> Answer:
    """Send bytes and return what is answered; OSError when nobody is there."""
    with socket.create_connection((target.address, target.port), timeout=TIMEOUT) as plain:
        sock: socket.socket = plain
        if target.encrypted:
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            name = target.host.rsplit(":", 1)[0].strip("[]")
            sock = context.wrap_socket(plain, server_hostname=name)
        received = b""
        try:
            sock.sendall(raw)
            while len(received) < LARGEST and not _whole(received, bodiless=raw.startswith(b"HEAD ")):
                piece = sock.recv(16 << 10)
                if not piece:
                    break
                received += piece
        except OSError:
            pass  # what came so far is the answer: some refuse by hanging up, some keep the connection
        return parsed(received)


def _whole(received: bytes, *, bodiless: bool) -> bool:
    """Whether nothing more will come, so that a connection that stays open need not be waited for."""
    found = _HEAD.match(received)
    if found is None:
        return False
    answer = parsed(received)
    length = answer.header("content-length")
    if bodiless or answer.status in {101, 204, 304}:
        return True
    if answer.header("transfer-encoding"):
        return received.endswith(b"0\r\n\r\n")
    return length.isascii() and length.isdigit() and len(answer.body) >= int(length[:9])


def parsed(received: bytes) -> Answer:
    """Return the answer that bytes are; what is no answer is status 0."""
    found = _HEAD.match(received)
    if found is None:
        return Answer()
    headers = []
    for line in found[2].decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return Answer(status=int(found[1]), headers=tuple(headers), body=received[found.end() :])
