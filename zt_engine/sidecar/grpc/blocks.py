"""Blocks of headers as the calls that they begin, those that a connection had before without decoding them again.

A proxy sends the same few headers with every call. What a block of bytes says follows from the block and from the
table of the connection (RFC 7541 2.3). So it is kept for as long as the table holds what it held, and only of blocks
that leave it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import h2.exceptions
import msgspec
from h2.utilities import HeaderValidationFlags, validate_headers
from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from zt_engine.sidecar.grpc.frames import Code, ConnectionFault

if TYPE_CHECKING:
    from hpack.struct import Header

MOST_KEPT = 32
MOST_BYTES = 1024
"""Of a block that is kept; a proxy's are hardly a tenth of that."""

_REQUEST = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)
_TRAILERS = _REQUEST._replace(is_trailer=True)


class Begun(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a request say that a call depends on."""

    method: bytes
    """Its path: the gRPC method."""
    grpc: bool
    """Whether it is a call at all."""
    size: int | None
    """What `content-length` says that follows; None if it says nothing."""


class Blocks:
    """Reads the blocks of one connection, in the order in which they come."""

    __slots__ = ("_decoder", "_entries", "_known", "_room", "_table")

    def __init__(self, max_header_list_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_bytes)
        self._table: HeaderTable = self._decoder.header_table
        self._known: dict[bytes, Begun] = {}
        self._room = self._table.maxsize
        self._entries = self._table.dynamic_entries.copy()

    def request(self, block: bytes) -> Begun:
        """Return what a block begins; raises ConnectionFault for one that no request may begin with.

        (RFC 9113 8.2 and 8.3 as h2 has them.)
        """
        known = self._known.get(block)
        if known is not None:
            return known  # which leaves the table as it is
        headers = self._decoded(block, _REQUEST)
        found = dict(headers)
        kind = found.get(b"content-type", b"")
        begun = Begun(
            found.get(b":path", b""),
            found.get(b":method") == b"POST" and kind.startswith(b"application/grpc"),
            _size(found.get(b"content-length")),
        )
        # A block that sets the size of the table has to set it each time.
        if self._still() and block and block[0] >> 5 != 1 and len(block) <= MOST_BYTES:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[block] = begun
        return begun

    def trailers(self, block: bytes) -> None:
        """Read what a request ends with; raises ConnectionFault for what none may."""
        self._decoded(block, _TRAILERS)
        self._still()

    def _decoded(self, block: bytes, flags: HeaderValidationFlags) -> list[Header]:
        try:
            headers: list[Header] = list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM) from None
        except HPACKError:
            raise ConnectionFault(Code.COMPRESSION_ERROR) from None
        try:
            _each(validate_headers(headers, flags))
        except h2.exceptions.ProtocolError:
            raise ConnectionFault(Code.PROTOCOL_ERROR) from None
        return headers

    def _still(self) -> bool:
        """Whether the table is as it was before the last block; if not, nothing is known any more."""
        table = self._table
        if table.dynamic_entries == self._entries and table.maxsize == self._room:
            return True
        self._known.clear()
        self._room, self._entries = table.maxsize, table.dynamic_entries.copy()
        return False


def _each(headers: Iterable[Header]) -> None:
    for _ in headers:
        pass


def _size(said: bytes | None) -> int | None:
    if said is None:
        return None
    if not said.isdigit() or len(said) > 9:
        raise ConnectionFault(Code.PROTOCOL_ERROR)
    return int(said)
