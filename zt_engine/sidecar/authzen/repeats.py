"""Requests that were read before, byte for byte but for their `X-Request-ID`: nothing of them is read again.

As for proxies (`sidecar/repeats.py`) nothing follows about the decision: `Authorizer.stands` is asked each time.
"""

from __future__ import annotations

import re

import msgspec

from zt_engine.core.generations import Generations
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.authzen.evaluation import RuleMemory
from zt_engine.sidecar.authzen.peps import Pep

MARK = b"\r\nX-Request-ID: "
CRLF = b"\r\n"
END = b"\r\n\r\n"
BYTES = 48 << 20
ENTRY_BYTES = 700
_PLAIN = re.compile(rb"[!-~]{1,200}")


class Warm(msgspec.Struct, gc=False):
    """What a request came to, and who asked."""

    memory: Memory | RuleMemory
    pep: Pep


class Repeats:
    """A bounded number of bytes of requests."""

    def __init__(self) -> None:
        self._known: Generations[tuple[bytes, tuple[str, ...]], Warm] = Generations(BYTES, _size)

    def find(self, raw: bytes, names: tuple[str, ...]) -> tuple[Warm, bytes] | None:
        """Return what these very bytes came to, and their request id.

        What was kept had its id in the head; bytes that are equal to it but for the id therefore have theirs there.
        """
        key, number = split(raw)
        found = self._known.get((key, names))
        if found is None or (number and _PLAIN.fullmatch(number) is None):
            return None
        return found, number

    def keep(self, raw: bytes, names: tuple[str, ...], warm: Warm) -> None:
        """Keep what a whole request came to."""
        head = raw.find(END)
        if raw.find(MARK) < head:
            self._known.put((split(raw)[0], names), warm)

    def clear(self) -> None:
        """Forget everything: who may ask has changed."""
        self._known.clear()


def split(raw: bytes) -> tuple[bytes, bytes]:
    """Return a request without the value of its id, and that value."""
    start = raw.find(MARK)
    if start < 0:
        return raw, b""
    start += len(MARK)
    stop = raw.find(CRLF, start)
    return raw[:start] + raw[stop:], raw[start:stop]


def _size(key: tuple[bytes, tuple[str, ...]], _: object) -> int:
    return len(key[0]) + ENTRY_BYTES
