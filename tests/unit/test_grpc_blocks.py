"""Blocks of headers that a connection had before begin what they would if each were decoded anew."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_engine.sidecar.grpc.blocks import MOST_KEPT, Begun, Blocks
from zt_engine.sidecar.grpc.frames import Code, ConnectionFault

LIMIT = 1 << 14
REQUEST = [(b":method", b"POST"), (b":path", b"/a"), (b":scheme", b"http"), (b":authority", b"zt")]
CALL = [*REQUEST, (b"content-type", b"application/grpc")]
BEGINS = b"\x83\x86\x01\x02zt"
"""Method, scheme and authority, which leave the table as it is."""
NAMES = st.sampled_from([b"te", b"x-a", b"x-b"])
VALUES = st.sampled_from([b"", b"0", b"trailers", b"y" * 60])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=3).map(lambda more: [*CALL, *more])


def read(blocks: Blocks, block: bytes) -> Begun | Code:
    try:
        return blocks.request(block)
    except ConnectionFault as fault:
        return fault.code


@settings(max_examples=500)
@given(st.data())
def test_known_blocks_are_read_as_one_that_knows_none_would_read_them(data: st.DataObject) -> None:
    known, plain, encoder = Blocks(LIMIT), Blocks(LIMIT), hpack.Encoder()
    blocks: list[bytes] = []
    begins = encoder.encode(CALL)
    indexed = st.lists(st.integers(0x80, 0xFF).map(lambda byte: bytes((byte,))), max_size=3).map(b"".join)
    made = st.one_of(
        HEADERS.map(encoder.encode),
        indexed.map(lambda more: begins + more),
        st.sampled_from([b"\x20", b"\x3f\x45", b"\x3f\xe1\x1f"]).map(lambda size: size + begins),  # of the table
        st.sampled_from([b"a", b"b"]).map(lambda name: begins + b"\x40\x01%b\x01x" % name),
        st.binary(max_size=5),
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 14))):
        block = data.draw(st.one_of(made, st.sampled_from(blocks)) if blocks else made)
        blocks.append(block)
        found = read(known, block)
        plain._known.clear()
        assert found == read(plain, block)
        assert known._table.dynamic_entries == plain._table.dynamic_entries
        assert known._decoder.header_table_size == plain._decoder.header_table_size
        if isinstance(found, Code):
            return  # the connection is over


def test_what_a_block_says_follows_from_what_the_ones_before_it_left() -> None:
    blocks, newest = Blocks(LIMIT), BEGINS + b"\xbe"

    asked = [blocks.request(BEGINS + b"\x44\x02/a").method]  # with its path as the newest entry of the table
    asked += [blocks.request(newest).method for _ in range(3)]
    asked += [blocks.request(BEGINS + b"\x44\x02/b").method, blocks.request(newest).method]

    assert asked == [b"/a"] * 4 + [b"/b"] * 2


def test_a_block_that_sets_the_size_of_the_table_sets_it_each_time() -> None:
    blocks = Blocks(LIMIT)
    for size in (b"\x3f\x45", b"\x3f\xe1\x1f", b"\x3f\x45"):
        blocks.request(size + BEGINS + b"\x04\x02/a")

    assert blocks._decoder.header_table_size == 100


def test_what_is_kept_of_a_connection_is_bounded() -> None:
    blocks = Blocks(LIMIT)
    for number in range(4 * MOST_KEPT):
        blocks.request(BEGINS + b"\x04\x05/%04d" % number)

    assert 0 < len(blocks._known) <= MOST_KEPT


@pytest.mark.parametrize(
    "headers",
    [
        [*REQUEST, (b"Upper", b"x")], [*REQUEST, (b"connection", b"close")], [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"x", b"a\nb")], [*REQUEST, (b"", b"x")], [*REQUEST, (b":status", b"200")],
        [*REQUEST, (b"host", b"other")], [*REQUEST, REQUEST[0]], REQUEST[1:], REQUEST[:1] + REQUEST[2:],
        [*REQUEST[:3], (b"x", b"y"), REQUEST[3]], [*REQUEST[:1], (b":path", b""), *REQUEST[2:]],
        [*REQUEST, (b"content-length", b"-1")], [*REQUEST, (b"content-length", b"1" * 30)],
    ],
)  # fmt: skip
def test_headers_that_no_request_may_have_are_refused_each_time(headers: list[tuple[bytes, bytes]]) -> None:
    encoder, blocks = hpack.Encoder(), Blocks(LIMIT)

    assert [read(blocks, encoder.encode(headers)) for _ in range(3)] == [Code.PROTOCOL_ERROR] * 3


def test_what_a_request_may_begin_with_it_may_not_end_with() -> None:
    encoder, blocks = hpack.Encoder(), Blocks(LIMIT)
    blocks.request(encoder.encode(REQUEST))
    blocks.trailers(encoder.encode([(b"x", b"y")]))

    with pytest.raises(ConnectionFault, match="PROTOCOL_ERROR"):
        blocks.trailers(encoder.encode(REQUEST))


@pytest.mark.parametrize(("block", "code"), [(b"\xff", Code.COMPRESSION_ERROR), (b"\xc0", Code.COMPRESSION_ERROR)])
def test_bytes_that_are_no_block_end_the_connection(block: bytes, code: Code) -> None:
    assert read(Blocks(LIMIT), block) == code


def test_more_headers_than_were_agreed_ask_for_calm() -> None:
    more = [(b"x-%d" % number, b"y" * 1000) for number in range(17)]

    assert read(Blocks(LIMIT), hpack.Encoder().encode([*CALL, *more])) == Code.ENHANCE_YOUR_CALM
