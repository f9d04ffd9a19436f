"""From the text of a probe to bytes, and from a connection to answers. Nothing here repairs what it sends or gets."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec

END = b"\r\n\r\n"
MAX_ANSWER = 1 << 20

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([\\rnt0])|\*(\d+)\{([^}]*)\})")
_PLAIN = {"\\": "\\", "r": "\r", "n": "\n", "t": "\t", "0": "\0"}
_HOLE = re.compile(r"\{([a-z_]+)((?:\|[a-z]+)*)\}")

FILTERS: Mapping[str, Callable[[str], str]] = {
    "tail": lambda text: text.lstrip("/"),
    "escape": lambda text: _first_letter(text, lambda letter: f"%{ord(letter):02x}"),
    "double": lambda text: _first_letter(text, lambda letter: f"%25{ord(letter):02x}"),
    "upper": str.upper,
    "quoted": lambda text: quote(text, safe=""),
    "slashes": lambda text: text.replace("/", "//"),
    "wide": lambda text: _first_letter(text, lambda letter: quote(chr(ord(letter) + 0xFEE0))),
    "underscore": lambda text: text.replace("-", "_"),
    "dots": lambda text: text.replace("-", "."),
    "blanks": lambda text: text.replace("-", " "),
    "lower": str.lower,
    "reversed": lambda text: text[::-1],
}
"""What may follow a placeholder: `{protected|escape}` is `/%76ault`."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into the placeholders; raises KeyError for one that has none."""

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        for name in match[2].split("|")[1:]:
            found = FILTERS[name](found)
        return found

    return _HOLE.sub(value, text)


def compose(text: str, values: Mapping[str, str]) -> bytes:
    r"""Return the bytes of a message.

    Each line of the text ends with CR LF, but one that ends with a backslash. An empty line ends the head, and what
    follows it is the body, without a last CR LF; a text without one is a head alone. `\x00`, `\r`, `\n`, `\t`, `\0` and
    `\\` are bytes, `\*900{ab}` is `ab` 900 times. Characters beyond ASCII are sent as UTF-8.
    """
    lines = text.removesuffix("\n").split("\n")
    joined = "".join(line.removesuffix("\\") if _goes_on(line) else line + "\r\n" for line in lines)
    if "" in lines:
        joined = joined.removesuffix("\r\n") if lines[-1] != "" else joined
    elif not _goes_on(lines[-1]):
        joined += "\r\n"
    pieces, at = [], 0
    for match in _ESCAPE.finditer(joined):
        pieces += [fill(joined[at : match.start()], values).encode(), _byte(match, values)]
        at = match.end()
    return b"".join([*pieces, fill(joined[at:], values).encode()])


def _goes_on(line: str) -> bool:
    return line.endswith("\\") and not line.endswith("\\\\")


def _byte(match: re.Match[str], values: Mapping[str, str]) -> bytes:
    code, plain, times, repeated = match.groups()
    if code is not None:
        return bytes([int(code, 16)])
    if plain is not None:
        return _PLAIN[plain].encode()
    return fill(repeated, values).encode() * int(times)


def _first_letter(text: str, change: Callable[[str], str]) -> str:
    at = next(at for at, letter in enumerate(text) if letter.isalpha())
    return text[:at] + change(text[at]) + text[at + 1 :]


class Answer(NamedTuple):
    """One answer; status 0 is a connection that ended, or said nothing in time."""

    status: int
    head: bytes = b""
    body: bytes = b""


class Address(msgspec.Struct, frozen=True):
    """Where a probe is sent: an address of the internet, or a Unix socket, perhaps under TLS."""

    host: str
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str = ""

    def connect(self, seconds: float) -> socket.socket:
        """Open a connection."""
        if not self.port:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(seconds)
            sock.connect(self.host)
            return sock
        sock = socket.create_connection((self.host, self.port), timeout=seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return sock
        return self.tls.wrap_socket(sock, server_hostname=self.server_name or self.host)


def read_answer(sock: socket.socket, *, bodiless: bool, deadline: float, kept: bytearray) -> Answer:
    """Read one answer, interim ones skipped; `kept` has bytes of the next one before and after."""
    while True:
        while END not in kept:
            if not _more(sock, kept, deadline):
                return Answer(0, bytes(kept))
        head, _, rest = bytes(kept).partition(END)
        kept[:] = rest
        match = re.match(rb"HTTP/\d\.\d (\d{3})", head)
        status = int(match[1]) if match else 0
        if status // 100 != 1 or status == 101:
            break
    if bodiless or status in (101, 204, 304) or not status:
        return Answer(status, head)
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in head.split(b"\r\n"))
    }
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        ends: Callable[[], int] = lambda: kept.find(b"0\r\n\r\n") + 5 if b"0\r\n\r\n" in kept else -1  # noqa: E731
    elif fields.get(b"content-length", b"").isdigit():
        length = int(fields[b"content-length"])
        ends = lambda: length if len(kept) >= length else -1  # noqa: E731
    else:
        ends = lambda: -1  # noqa: E731  # until it is closed
    while (end := ends()) < 0 and _more(sock, kept, deadline):
        pass
    end = len(kept) if end < 0 else end
    body = bytes(kept[:end])
    del kept[:end]
    return Answer(status, head, body)


def _more(sock: socket.socket, kept: bytearray, deadline: float) -> bool:
    left = deadline - time.monotonic()
    if left <= 0 or len(kept) > MAX_ANSWER:
        return False
    sock.settimeout(left)
    try:
        piece = sock.recv(65536)
    except OSError:  # a timeout as well
        return False
    kept += piece
    return bool(piece)
