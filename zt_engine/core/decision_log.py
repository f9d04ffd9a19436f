"""The decision log as bytes: lines, the hash chain over them, records about the chain, and checkpoints.

A log is a row of chains, one for each process that ran; a chain is a row of lines; a line is one JSON object that ends
in `,"seq":N,"prev_hash":"<hex>"}`, where `prev_hash` is the SHA-256 of the line before, without its newline. The first
line of a chain is a record `chain.opened` whose `prev_hash` is the head of the chain before it (zeros for the very
first), so that a whole chain cannot disappear either. Lines that begin with `{"record":` speak about the log itself and
take a `seq` like any other; all other lines are decision events.

A checkpoint says "chain C had `count` lines and its head was H" and is signed; it anchors every byte up to there.
Pure: no files, no clock, no keys. `adapters.log_segments` writes, `authoring.audit` verifies.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Final, Literal

import msgspec

GENESIS: Final = b"0" * 64
LOG_FORMAT: Final = 1
RECORD_PREFIX: Final = b'{"record":'
CHECKPOINT_CONTEXT: Final = b"zt-decision-log-checkpoint-v1\n"
# Longer than any event can be; a reader that meets more than this without a newline is not reading a log.
MAX_LINE: Final = 1 << 20
# What msgspec raises on bytes that are not the JSON asked for: bad UTF-8 and deep nesting are not its own errors.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_EMPTY: Final = sha256()
_TAIL_LENGTH: Final = 8 + 16 + 14 + 64 + 2
_TAIL = re.compile(rb',"seq":(0|[1-9][0-9]{0,15}),"prev_hash":"([0-9a-f]{64})"\}\Z')
_SIGNATURE = re.compile(rb',"signature":"([0-9a-f]{128})"\}\Z')
_SEGMENT_NAME = re.compile(r"(decisions|inputs)-([0-9]{8}T[0-9]{9}Z-[0-9a-f]{8})-([0-9]{12})\.jsonl\Z")


# --- lines -----------------------------------------------------------------------------------------------------------


class Link(msgspec.Struct, frozen=True):
    """What ties a line to the one before it."""

    seq: int
    prev_hash: bytes


def line_hash(line: bytes) -> bytes:
    """The hash that the next line names: hex SHA-256 of the line without its newline."""
    return hexlify(sha256(line).digest())


def link_of(line: bytes) -> Link | None:
    """Read `seq` and `prev_hash` off the end of a line; None when it is no line of ours.

    Taken from the fixed end and not from parsed JSON: the bytes are what is hashed, and a repeated name earlier in the
    object must not be able to stand for the real one.
    """
    if line[:1] != b"{" or (found := _TAIL.search(line, max(0, len(line) - _TAIL_LENGTH))) is None:
        return None
    return Link(int(found[1]), found[2])


class Head(msgspec.Struct, frozen=True):
    """How long a chain is and the hash of its last line."""

    count: int
    hash: bytes


class Chain:
    """Append bodies, get linked lines; what is not committed yet can be taken back as a whole."""

    __slots__ = ("_hash", "_seq", "committed", "pending")

    def __init__(self, head: Head = Head(0, GENESIS)) -> None:  # noqa: B008  (a frozen value)
        self._seq = head.count
        self._hash = head.hash
        self.committed = head
        self.pending: list[bytes] = []

    def append(self, body: bytes) -> None:
        """Link one more line: `body` is JSON members without braces."""
        self.extend((body,))

    def extend(self, bodies: Iterable[bytes]) -> None:
        """Link one line for each body. Hot path: about 1.5 us a line, most of it SHA-256."""
        seq, head, pending = self._seq, self._hash, self.pending
        for body in bodies:
            line = b'{%b,"seq":%d,"prev_hash":"%b"}' % (body, seq, head)
            digest = _EMPTY.copy()  # OpenSSL looks the algorithm up for a new one, which takes half as long as hashing
            digest.update(line)
            head = hexlify(digest.digest())
            seq += 1
            pending.append(line)
        self._seq, self._hash = seq, head

    @property
    def next_seq(self) -> int:
        """The `seq` that the next line will carry."""
        return self._seq

    def commit(self) -> None:
        """The pending lines are written: they are part of the chain now."""
        self.committed = Head(self._seq, self._hash)
        self.pending = []

    def rollback(self) -> None:
        """The pending lines were not written: nobody may ever hear of them."""
        self._seq, self._hash = self.committed.count, self.committed.hash
        self.pending = []


class Step(msgspec.Struct, frozen=True):
    """One line as a walk saw it: its number, its link (None when unreadable), its hash, and what is wrong with it."""

    number: int
    line: bytes
    link: Link | None
    hash: bytes
    fault: str = ""


def walk(lines: Iterable[bytes], after: Head | None) -> Iterator[Step]:
    """Follow a segment's lines (with their newlines) from `after`; None starts wherever the first line says.

    Every line yields one step. After a fault the walk goes on from the line as it stands, so that one change is one
    fault. A last line without a newline is `LOG_LINE_TORN`.
    """
    for number, raw in enumerate(lines, 1):
        if not raw.endswith(b"\n"):
            yield Step(number, raw, None, b"", "LOG_LINE_TORN")
            return
        line = raw[:-1]
        link = link_of(line)
        digest = line_hash(line)
        if link is None:
            yield Step(number, line, None, digest, "LOG_LINE_MALFORMED")
            after = None if after is None else Head(after.count + 1, digest)
            continue
        yield Step(number, line, link, digest, "" if after is None else _break(link, after))
        after = Head(link.seq + 1, digest)


def _break(link: Link, after: Head) -> str:
    if link.seq > after.count:
        return "LOG_LINE_MISSING"
    if link.seq < after.count:
        return "LOG_LINE_ORDER"
    return "" if link.prev_hash == after.hash else "LOG_LINE_EDITED"


# --- records about the log itself ------------------------------------------------------------------------------------


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of the chain before; `live` when its process was still writing (a hand-over without a gap)."""

    chain: str
    seq: int
    hash: str
    live: bool = False


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """A torn end of the predecessor that was cut off and set aside: a crash happened in the middle of a write."""

    segment: str
    bytes: int
    sha256: str


class ChainOpened(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="chain.opened"):
    """The first line of every chain."""

    format: int = LOG_FORMAT
    chain: str
    sidecar: str
    at: str
    predecessor: Predecessor | None = None
    recovered: tuple[Recovered, ...] = ()


class SegmentOpened(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="segment.opened"):
    """The first line of every further file of a chain; `anchored` repeats the last checkpoint that had left by then."""

    chain: str
    sidecar: str
    at: str
    anchored: int


class RemovedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that retention took away."""

    name: str
    bytes: int


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log begins from now on; everything before may be gone, nothing at or behind it may."""

    chain: str
    seq: int


class SegmentsRemoved(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="segments.removed"):
    """Retention's note, written and anchored before files go; the newest is enough, its `floor` covers all before."""

    at: str
    action: Literal["deleted", "archived"]
    segments: tuple[RemovedSegment, ...]
    floor: Floor


class ChainClosed(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="chain.closed"):
    """The last line of a chain whose process ended in order."""

    at: str


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="noted"):
    """A change of what decides: a bundle, catalogue or trust file taken into use."""

    at: str
    kind: str
    digest: str
    text: str = ""


Record = ChainOpened | SegmentOpened | SegmentsRemoved | ChainClosed | Noted

_record_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_encode = msgspec.json.Encoder().encode


def record_body(record: Record) -> bytes:
    """A record as the body of a line."""
    return _encode(record)[1:-1]


def record_of(line: bytes) -> Record | None:
    """The record on a line; None for a decision event or for a record that this version does not know."""
    if not line.startswith(RECORD_PREFIX):
        return None
    try:
        return _record_decoder.decode(line)
    except UNREADABLE:
        return None


# --- names -----------------------------------------------------------------------------------------------------------


class SegmentName(msgspec.Struct, frozen=True, order=True):
    """What a file name says; names sort as the log runs."""

    chain: str
    first: int


def segment_name(chain: str, first: int, *, kind: str = "decisions") -> str:
    """The file of `chain` that begins with line `first`."""
    return f"{kind}-{chain}-{first:012d}.jsonl"


def parse_segment_name(name: str, *, kind: str = "decisions") -> SegmentName | None:
    """Read a file name back; None for any other file."""
    found = _SEGMENT_NAME.match(name)
    return SegmentName(found[2], int(found[3])) if found is not None and found[1] == kind else None


class LogSegment(msgspec.Struct, frozen=True, kw_only=True):
    """One file for a reader: what its name says, its lines (with newlines), and the inputs of its events by digest."""

    name: str
    chain: str
    first: int
    lines: Callable[[], Iterable[bytes]]
    find_input: Callable[[str], bytes | None] = lambda _: None


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: chain `chain` had `count` lines at `time`, and `head` was the hash of the last."""

    checkpoint: int = 1
    alg: str = "Ed25519"
    key: str
    sidecar: str
    chain: str
    count: int
    head: str
    time: str


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as it was read: `signed` are the bytes the signature is over."""

    value: Checkpoint
    signed: bytes
    signature: bytes


_checkpoint_decoder = msgspec.json.Decoder(Checkpoint)


def checkpoint_payload(checkpoint: Checkpoint) -> bytes:
    """The bytes to sign, with a context so that the signature means nothing elsewhere."""
    return CHECKPOINT_CONTEXT + _encode(checkpoint)


def checkpoint_line(checkpoint: Checkpoint, signature: bytes) -> bytes:
    """The line that leaves: the object with its signature as the last member, without a newline."""
    return b'%b,"signature":"%b"}' % (_encode(checkpoint)[:-1], hexlify(signature))


def parse_checkpoint(line: bytes) -> SignedCheckpoint | None:
    """Read a checkpoint line (or a syslog line that carries one); None when it is none. Nothing is proven yet."""
    start = line.find(b'{"checkpoint":')
    if start < 0 or (found := _SIGNATURE.search(line.rstrip())) is None:
        return None
    unsigned = line[start : found.start()] + b"}"
    try:
        value = _checkpoint_decoder.decode(unsigned)
    except UNREADABLE:
        return None
    if value.checkpoint != 1 or value.alg != "Ed25519" or value.count < 0:
        return None
    signature = bytes.fromhex(found[1].decode())
    return SignedCheckpoint(value=value, signed=CHECKPOINT_CONTEXT + unsigned, signature=signature)
