"""Blocks of headers that a connection had before: what HPACK makes of them is looked up where it must come out alike.

A proxy sends the same few headers with every call, and so do we. What a block of bytes says, and what bytes say some
headers, follows from the block and from the table of the connection (RFC 7541 2.3). So both are kept for as long as
the table holds what it held, and only of blocks that leave it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from h2.utilities import HeaderValidationFlags, validate_headers
from hpack import Decoder, Encoder, HeaderTuple
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from hpack.struct import Header

MOST_KEPT = 32
MOST_BYTES = 1024
"""Of a block, or of headers, that are kept; a proxy's are hardly a tenth of that."""

Headers = tuple[tuple[bytes, bytes], ...]
_REQUEST = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)
_TRAILERS = _REQUEST._replace(is_trailer=True)


class Held:
    """What a table held when what is known was worked out, and how much it could hold."""

    __slots__ = ("_entries", "_size", "_table")

    def __init__(self, table: HeaderTable) -> None:
        self._table = table
        self._size = table.maxsize
        self._entries = table.dynamic_entries.copy()

    def still(self) -> bool:
        """Whether the table is as it was."""
        return self._table.dynamic_entries == self._entries and self._table.maxsize == self._size


class KnownDecoder(Decoder):
    """Decodes blocks, those that it knows without decoding them."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self._known: dict[bytes, list[HeaderTuple]] = {}
        self._held = Held(self.header_table)

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Return the headers of a block; raises what hpack does."""
        if not self._held.still():
            self._known.clear()
            self._held = Held(self.header_table)
        known = self._known.get(data) if raw else None
        if known is not None:
            return known
        headers = super().decode(data, raw)
        # A block that sets the size of the table has to set it each time.
        if raw and data and data[0] >> 5 != 1 and len(data) <= MOST_BYTES and self._held.still():
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[data] = list(headers)
        return headers


class KnownEncoder(Encoder):
    """Encodes headers, those that it knows without encoding them."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Headers, bytes] = {}
        self._held = Held(self.header_table)

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:
        """Return the block of headers that are pairs of bytes and no secrets."""
        wanted = tuple(headers)
        if not self._held.still():
            self._known.clear()
            self._held = Held(self.header_table)
        told = self.header_table.resized  # a new size, once, by the next block
        known = self._known.get(wanted)
        if known is not None and not told:
            return known
        block = super().encode(wanted, huffman)
        if not told and len(self._known) < MOST_KEPT and self._held.still():
            self._known[wanted] = block
        return block


class Validity:
    """Whether the headers of requests are as HTTP/2 wants them; the same ones are looked at once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[tuple[Header, ...]] = set()

    def of_request(self, headers: Iterable[Header]) -> None:
        """Raise h2's ProtocolError for headers that no request may have (RFC 9113 8.2, 8.3)."""
        asked = tuple(headers)
        if asked not in self._known:
            for _ in validate_headers(asked, _REQUEST):
                pass
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            if sum(len(name) + len(value) for name, value in asked) <= MOST_BYTES:
                self._known.add(asked)

    @staticmethod
    def of_trailers(headers: Iterable[Header]) -> None:
        """Raise it for what no request may end with."""
        for _ in validate_headers(headers, _TRAILERS):
            pass
