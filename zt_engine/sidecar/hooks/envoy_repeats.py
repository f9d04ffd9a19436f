"""Questions over gRPC that were read before, but for what differs in every one: time, port of the client, ids.

As for HTTP (`sidecar.repeats`) nothing follows about the decision: `Authorizer.stands` is asked each time.
"""

from __future__ import annotations

import msgspec

from zt_engine.core.generations import Generations
from zt_engine.core.request import is_request_id
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.hooks.credentials import Peer

MAX_BYTES = 48 << 20
ENTRY_BYTES = 1200
SOURCE, REQUEST, FIRST, SECOND, ADDRESS = 0x0A, 0x22, 0x0A, 0x12, 0x12
"""Tags: fields 1 and 4 of the attributes, fields 1 and 2 of a message, the address of a socket."""
MARK = b"\x0a\x0cx-request-id\x1a"
"""How the line of the request id begins among the raw headers, up to the length of its value."""

Key = tuple[bytes, ...]


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What a question came to, and what a denial would be worded by."""

    memory: Memory
    accept: bytes
    languages: bytes


class GrpcRepeats:
    """A bounded number of questions, by everything they say that means something."""

    def __init__(self) -> None:
        self._known: Generations[tuple[Peer, Key], Kept] = Generations(
            MAX_BYTES, lambda key, _: ENTRY_BYTES + sum(map(len, key[1]))
        )

    def find(self, key: Key, peer: Peer) -> Kept | None:
        """Return what the same question of the same asker came to."""
        return self._known.get((peer, key))

    def keep(self, key: Key, peer: Peer, kept: Kept) -> None:
        """Keep it."""
        self._known.put((peer, key), kept)

    def clear(self) -> None:
        """Forget everything: who may ask has changed."""
        self._known.clear()


def key_of(message: bytes) -> tuple[Key, bytes] | None:
    """Return what a question says without what differs in every one, and its request id.

    None for a message in any form but the one that Envoy writes; such a one is read. What is cut out (`request.time`,
    `http.id`, the port of the client and the value of the request id) says nothing to a decision, and it is cut where
    the format says it stands, so that two messages with one key say the same. Ids of different lengths have different
    keys; those of Envoy have one.
    """
    try:
        return _cut(message)
    except IndexError:
        return None


def _cut(message: bytes) -> tuple[Key, bytes] | None:
    if message[0] != FIRST:
        return None
    size, at = _length(message, 1)
    if at + size != len(message):
        return None
    parts: list[bytes] = []
    number = b""
    while at < len(message):
        begin, tag = at, message[at]
        size, start = _length(message, at + 1)
        at = start + size
        if tag == SOURCE:
            peer = _without_port(message[start:at])
            if peer is None:
                return None
            parts += peer
        elif tag == REQUEST:
            found = _without_ids(message[start:at])
            if number or found is None:
                return None
            before, number, after = found
            parts += (before, after)
        elif tag & 0x87 == 2:  # a tag of one byte, with a length
            parts.append(message[begin:at])
        else:
            return None
    return (tuple(parts), number) if at == len(message) and is_request_id(number) else None


def _without_port(peer: bytes) -> tuple[bytes, bytes] | None:
    """Return a peer's address, and everything about it but address and port."""
    outer, address = peer[1], peer[5]
    end, stop = 2 + outer, 6 + address
    if peer[0] != FIRST or peer[2] != FIRST or peer[4] != ADDRESS or max(outer, peer[3], address) > 127:
        return None
    # All that may follow the address in its message is the port, a number of up to three bytes.
    if peer[3] != outer - 2 or not 1 < end - stop <= 4 or peer[stop] != 0x18:
        return None
    if peer[end - 1] > 127 or any(byte < 128 for byte in peer[stop + 1 : end - 1]):
        return None
    return peer[6:stop], peer[end:]


def _without_ids(request: bytes) -> tuple[bytes, bytes, bytes] | None:
    at = 0
    if request[0] == FIRST:
        size, start = _length(request, 1)
        at = start + size
    if request[at] != SECOND:
        return None
    size, start = _length(request, at + 1)
    if start + size != len(request) or request[start] != FIRST:
        return None
    size, at = _length(request, start + 1)
    http = request[at + size :]
    mark = http.find(MARK)
    # The header is required, so one more of these bytes stands for something else, and nobody says which is which.
    if mark < 0 or http.find(MARK, mark + 1) >= 0:
        return None
    begin = mark + len(MARK)
    stop = begin + 1 + http[begin]
    if http[begin] > 127 or stop > len(http):
        return None
    return http[:begin], http[begin + 1 : stop], http[stop:]


def _length(message: bytes, at: int) -> tuple[int, int]:
    """Return the length at a position, and where what has it begins."""
    size = message[at]
    if size < 0x80:
        return size, at + 1
    size, shift = size & 0x7F, 7
    while True:
        at += 1
        byte = message[at]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size, at + 1
        shift += 7
        if shift > 28:
            raise IndexError
