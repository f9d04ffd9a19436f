"""Questions over gRPC that were read before, but for what differs in every one: time, port of the client, ids.

As for HTTP (`sidecar.repeats`) nothing follows about the decision: `Authorizer.stands` is asked each time.
"""

from __future__ import annotations

import re

import msgspec

from zt_engine.core.generations import Generations
from zt_engine.core.request import is_request_id
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.grpc.wire import fields, last, payload
from zt_engine.sidecar.hooks.credentials import Peer

MAX_BYTES = 48 << 20
ENTRY_BYTES = 1200
SOURCE, REQUEST, FIRST, SECOND, ADDRESS = 0x0A, 0x22, 0x0A, 0x12, 0x12
"""Tags: fields 1 and 4 of the attributes, fields 1 and 2 of a message, the address of a socket."""
HEADER_MAP = 13
"""The field of the raw headers."""
MARK = b"\x0a\x0cx-request-id\x1a"
"""How the line of the request id begins among the raw headers, up to the length of its value."""

TAIL = b"\x5a\x00\x6a\x00"
"""What follows the request where a route hands on no metadata: two empty messages."""
_PORT = re.compile(rb"\x18[\x80-\xff]{0,2}[\x00-\x7f]")
"""A port as the field of a number of up to three bytes."""

Key = tuple[bytes | int, ...]
"""Everything that a question says; `key_of` alone makes them."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What a question came to, and what a denial would be worded by."""

    memory: Memory
    accept: bytes
    languages: bytes
    plain: bool
    """Whether it is an allow that hands on its headers and nothing else."""


class GrpcRepeats:
    """A bounded number of questions, by everything they say that means something."""

    def __init__(self) -> None:
        self._known: Generations[tuple[Peer, Key], Kept] = Generations(MAX_BYTES, _size)

    def find(self, key: Key, peer: Peer) -> Kept | None:
        """Return what the same question of the same asker came to."""
        return self._known.get((peer, key))

    def keep(self, key: Key, peer: Peer, kept: Kept) -> None:
        """Keep it."""
        self._known.put((peer, key), kept)

    def clear(self) -> None:
        """Forget everything: who may ask has changed."""
        self._known.clear()


def _size(key: tuple[Peer, Key], _: Kept) -> int:
    return ENTRY_BYTES + sum(len(part) for part in key[1] if isinstance(part, bytes))


def key_of(message: bytes) -> tuple[Key, bytes] | None:
    """Return what a question says without what differs in every one, and its request id.

    None for a message in any form but the one that Envoy writes; such a one is read. What is cut out (`request.time`,
    `http.id`, the port of the client and the value of the request id) says nothing to a decision, and it is cut where
    the format says it stands, so that two messages with one key say the same if `says_id` holds for one of them. Ids
    of different lengths have different keys; those of Envoy have one.
    """
    try:
        return _cut(message)
    except IndexError:
        return None


def says_id(message: bytes, number: bytes) -> bool:
    """Whether the id that `key_of` cut out of a message is all that one of its headers says, as Envoy writes it.

    `key_of` looks for its mark alone. The same bytes may stand in the path or in a line that goes on behind them and
    says something else, and there they are no id. It is asked once for a question, before that is kept: what has the
    same key has the mark in the same place. Raises InputError HOOK_FRAMING for a message that cannot be read.
    """
    http = last(last(last(message, 1), 4), 2)
    maps = [payload(value) for key, value in fields(http) if key == HEADER_MAP]
    return len(maps) == 1 and (1, MARK + bytes((len(number),)) + number) in fields(maps[0])


def _cut(message: bytes) -> tuple[Key, bytes] | None:
    size, at = _length(message, 1)
    if message[0] != FIRST or at + size != len(message) or message[at] != SOURCE:
        return None
    size, peer = _length(message, at + 1)
    source = peer + size
    # The address of a socket: its text begins at the sixth byte, and all that may follow it is the port.
    outer, address = message[peer + 1], peer + 6
    port, end = address + message[peer + 5], peer + 2 + outer
    if message[peer] != FIRST or message[peer + 2] != FIRST or message[peer + 4] != ADDRESS or end > source:
        return None
    if outer > 127 or message[peer + 3] != outer - 2 or _PORT.fullmatch(message, port, end) is None:
        return None
    asked = _request(message, source)
    size, at = _length(message, asked + 1)
    stop = at + size
    tail = message[stop:]
    if message[asked] != REQUEST or (tail != TAIL and _request(message, stop) != len(message)):
        return None
    found = _without_ids(message, at, stop)
    if found is None:
        return None
    before, number, after = found
    # The second says where the source ends in the third: the same bytes behind another end would mean something else.
    key = message[address:port], source - end, message[end:asked], before, after, tail
    return (key, number) if is_request_id(number) else None


def _request(message: bytes, at: int) -> int:
    """Return where, from the beginning of a field on, the request's field begins; where they end if it is not there.

    Raises IndexError for a field that is cut off, has a tag of more than a byte or no length, or is a source.
    """
    end = len(message)
    while at < end:
        tag = message[at]
        if tag == REQUEST:
            break
        if tag & 0x87 != 2 or tag == SOURCE:
            raise IndexError
        size, at = _length(message, at + 1)
        at += size
    return at


def _without_ids(message: bytes, at: int, stop: int) -> tuple[bytes, bytes, bytes] | None:
    """Return what a request says before the value of its id, the id, and what it says behind it."""
    if message[at] == FIRST:
        if message[at + 1] > 127:
            return None
        at += 2 + message[at + 1]
    if message[at] != SECOND:
        return None
    size, at = _length(message, at + 1)
    if at + size != stop or message[at] != FIRST or message[at + 1] > 127:
        return None
    at += 2 + message[at + 1]
    mark = message.find(MARK, at, stop)
    # The header is required, so one more of these bytes stands for something else, and nobody says which is which.
    if mark < 0 or message.find(MARK, mark + 1, stop) >= 0:
        return None
    begin = mark + len(MARK)
    end = begin + 1 + message[begin]
    if message[begin] > 127 or end > stop:
        return None
    # Its length is said in the first: the lengths around it say the same, or the message is none.
    return message[at : begin + 1], message[begin + 1 : end], message[end:stop]


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
