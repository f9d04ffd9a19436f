"""Heads that were read before, byte for byte but for the request id: what they proved need not be proven again.

A browser's page and a program's poll send the same head many times, and reading it is most of the work of a remembered
decision. So the memory of a decision is kept under the head that asked for it, with the value of its request id cut
out. A head that equals it has the same request line, the same headers in the same order and the same credential of the
proxy; only its id is another, and every id of letters, digits, `-` and `_` is read alike. So it is the same request.
Nothing about its decision follows from that: `Authorizer.stands` asks for everything that decision rests on, and if
anything has changed, the request is decided anew.

A proof of possession (DPoP) is used once, so a request that carries one leaves no memory.
"""

from __future__ import annotations

import secrets
from itertools import count

from zt_engine.core.generations import Generations
from zt_engine.core.request import is_request_id
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.reading import ID_LINE

CRLF = b"\r\n"
END_BYTES = 48 << 20
HEAD_BYTES = 32 << 20
ENTRY_BYTES = 600
"""What an entry takes beside its bytes: the memory, the table."""
STEP = 8
"""An end is looked up by every eighth byte, then compared as a whole: copying and hashing two kilobytes costs more."""

_Name = bytes | tuple[int | tuple[str, ...], bytes]
"""What a head is kept under. The peer stands beside the bytes: no bytes that somebody else sends are the same name."""


class Repeats:
    """A bounded number of bytes of heads, all of one hook.

    A head is kept in two parts, because its end is long and mostly the same for everything one person asks for: the
    headers behind the request id, with certificate and token, once for all heads that end alike. Of two ends that
    differ in no sampled byte the later one is kept; a token's signature is ten samples long, a session's cookie five.
    """

    __slots__ = ("_ends", "_heads", "_id_line", "_next")

    def __init__(self, id_line: bytes = ID_LINE, *, end_bytes: int = END_BYTES, head_bytes: int = HEAD_BYTES) -> None:
        """`id_line` begins the line with the request id; empty for a proxy that sends none."""
        self._id_line = id_line
        self._ends: Generations[bytes, tuple[bytes, bytes]] = Generations(end_bytes, _end_size)
        """From the sample of an end to the whole of it, and what stands for it in the names of heads."""
        self._heads: Generations[_Name, Memory] = Generations(head_bytes, _size)
        self._next = count(1).__next__

    def find(self, head: bytes, peer: Peer) -> tuple[Memory, bytes] | None:
        """Return the memory of a decision about these very bytes, which are a whole head, and their request id.

        None: they have to be read. `peer` is who is at the other end of the connection, who was part of the question.
        """
        if not self._id_line:
            found = self._heads.get(head if peer is None else (peer, head))
            return None if found is None else (found, secrets.token_hex(16).encode("ascii"))
        start = head.find(self._id_line) + len(self._id_line)
        stop = head.find(CRLF, start)
        known = self._ends.get(head[stop::STEP])
        if known is None:
            return None
        rest, end = known
        # INVARIANT: all bytes are compared, not the sample only.
        if len(head) - stop != len(rest) or not head.startswith(rest, stop):
            return None
        found = self._heads.get(end + head[:start] if peer is None else (peer, end + head[:start]))
        if found is None:
            return None
        number = head[start:stop]
        return (found, number) if is_request_id(number) else None

    def keep(self, head: bytes, peer: Peer, memory: Memory) -> None:
        """Keep a memory under a whole head; one whose request id stands under another spelling is not kept."""
        if not self._id_line:
            self._heads.put(head if peer is None else (peer, head), memory)
            return
        line = head.find(self._id_line)
        if line >= 0:
            start = line + len(self._id_line)
            rest = head[head.index(CRLF, start) :]
            known = self._ends.get(rest[::STEP])
            if known is None or known[0] != rest:
                # Never used again, so that a head whose end was forgotten can never be found with another end.
                known = rest, self._next().to_bytes(8)
                self._ends.put(rest[::STEP], known)
            end = known[1]
            self._heads.put(end + head[:start] if peer is None else (peer, end + head[:start]), memory)

    def clear(self) -> None:
        """Forget every head: who may ask has changed."""
        self._ends.clear()
        self._heads.clear()

    def __len__(self) -> int:
        return len(self._heads)


def _end_size(_: bytes, known: tuple[bytes, bytes]) -> int:
    return len(known[0]) + len(known[0]) // STEP + ENTRY_BYTES


def _size(name: _Name, _: object) -> int:
    if isinstance(name, bytes):
        return len(name) + ENTRY_BYTES
    peer, head = name
    return len(head) + ENTRY_BYTES + (0 if isinstance(peer, int) else sum(map(len, peer)))
