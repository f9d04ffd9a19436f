"""Requests that were read before, byte for byte but for their `X-Request-ID`: nothing of them is read again.

As for proxies (`sidecar/repeats.py`) nothing follows about the decision: `Authorizer.stands` is asked each time.
"""

from __future__ import annotations

import re

from zt_engine.core.generations import Generations
from zt_engine.sidecar.authzen.pending import Warm

MARK = b"\r\nX-Request-ID: "
CRLF = b"\r\n"
END = b"\r\n\r\n"
BYTES = 48 << 20
ENTRY_BYTES = 1600
"""What an entry takes beside its bytes: the memory, what is written out of answer and record, the table."""
_PLAIN = re.compile(rb"[!#-\[\]-~]{1,200}").fullmatch
"""Ids that stand in JSON as they are."""


class Repeats:
    """A bounded number of bytes of requests."""

    def __init__(self) -> None:
        self._known: Generations[bytes, Warm] = Generations(BYTES, _size)
        self._named: Generations[tuple[tuple[str, ...], bytes], Warm] = Generations(BYTES, _size_of_named)

    def find(self, raw: bytes, names: tuple[str, ...]) -> tuple[Warm, bytes] | None:
        """Return what these very bytes came to, and their request id.

        What was kept had its id in the head; bytes that are equal to it but for the id therefore have theirs there.
        `names` are those of a certificate that came with the connection.
        """
        start = raw.find(MARK)
        if start < 0:
            number, key = b"", raw
        else:
            start += len(MARK)
            stop = raw.find(CRLF, start)
            number, key = raw[start:stop], raw[:start] + raw[stop:]
        found = self._named.get((names, key)) if names else self._known.get(key)
        if found is None or (number and _PLAIN(number) is None):
            return None
        return found, number

    def keep(self, raw: bytes, names: tuple[str, ...], warm: Warm) -> None:
        """Keep what a whole request came to."""
        start = raw.find(MARK)
        if start > raw.find(END):
            return
        key = raw
        if start >= 0:
            start += len(MARK)
            key = raw[:start] + raw[raw.index(CRLF, start) :]
        if names:
            self._named.put((names, key), warm)
        else:
            self._known.put(key, warm)

    def clear(self) -> None:
        """Forget everything: who may ask has changed."""
        self._known.clear()
        self._named.clear()


def _size(key: bytes, _: object) -> int:
    return len(key) + ENTRY_BYTES


def _size_of_named(key: tuple[tuple[str, ...], bytes], _: object) -> int:
    return len(key[1]) + ENTRY_BYTES
