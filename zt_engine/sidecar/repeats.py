"""Heads that were asked before, byte for byte but for the request id: what they proved need not be proven again.

A browser's page and a program's poll send the same head many times, and reading it is most of the work of a remembered
decision. So a head that was read, proven and decided is kept as it was, with the value of its request id cut out. A
head that equals it has the same request line, the same headers in the same order and the same credential of the proxy;
only its id is another, and every id of letters, digits, `-` and `_` is read alike. Nothing about time, keys, records or
policy is concluded from that: `Authorizer.stands` asks for all of it.

A proof of possession (DPoP) is used once, so a request that carries one is never kept.
"""

from __future__ import annotations

from itertools import count

from zt_engine.core.generations import Generations
from zt_engine.core.request import AccessRequest, is_request_id
from zt_engine.sidecar.authorize import Memory

ID_LINE = b"\r\nZt-Request-Id: "
CRLF = b"\r\n"
MAX_BYTES = 24 << 20
ENTRY_BYTES = 512
"""What an entry takes beside its head: the request, the memory of its decision, the table."""


class Repeat:
    """One head: the request it proved, at which socket's user id, and the last decision about it."""

    __slots__ = ("line", "memory", "request", "uid")

    def __init__(self, request: AccessRequest, uid: int | None) -> None:
        self.request = request
        self.uid = uid
        self.memory: Memory | None = None
        self.line = b""
        """The members of the log line that are the same as long as `memory` stands."""


class Repeats:
    """A bounded number of bytes of heads.

    A head is kept in two parts, because its end is long and mostly the same for everything one person asks for: the
    headers behind the request id, with certificate and token, once for all heads that end alike.
    """

    __slots__ = ("_ends", "_heads", "_next")

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._ends: Generations[bytes, bytes] = Generations(max_bytes // 2, lambda end, _: len(end) + ENTRY_BYTES)
        self._heads: Generations[bytes, Repeat] = Generations(max_bytes // 2, _size)
        self._next = count(1).__next__

    def find(self, head: bytes) -> tuple[Repeat, bytes] | None:
        """Return what is known of these bytes if they are a whole head that was kept, and their request id.

        None: they have to be read.
        """
        start = head.find(ID_LINE) + len(ID_LINE)
        stop = head.find(CRLF, start)
        end = self._ends.get(head[stop:])
        if end is None:
            return None
        found = self._heads.get(end + head[:start])
        if found is None:
            return None
        number = head[start:stop]
        return (found, number) if is_request_id(number) else None

    def keep(self, head: bytes, repeat: Repeat) -> None:
        """Keep a whole head that was proven; one whose request id stands under another spelling is not kept."""
        line = head.find(ID_LINE)
        if line >= 0:
            start = line + len(ID_LINE)
            rest = head[head.index(CRLF, start) :]
            end = self._ends.get(rest)
            if end is None:
                # Never used again, so that a head whose end was forgotten can never be found with another end.
                end = self._next().to_bytes(8)
                self._ends.put(rest, end)
            self._heads.put(end + head[:start], repeat)

    def clear(self) -> None:
        """Forget every head: who may ask has changed."""
        self._ends.clear()
        self._heads.clear()

    def __len__(self) -> int:
        return len(self._heads)


def _size(key: bytes, repeat: Repeat) -> int:
    return len(key) + len(repeat.line) + ENTRY_BYTES
