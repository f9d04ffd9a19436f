"""Blocks of headers that a connection had before come out as if each were decoded and encoded anew."""

from __future__ import annotations

import h2.exceptions
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_engine.sidecar.grpc.blocks import MOST_BYTES, MOST_KEPT, KnownDecoder, KnownEncoder, Validity

NAMES = st.sampled_from([b":status", b"content-type", b"grpc-status", b"te", b"x-a", b"x-b"])
VALUES = st.sampled_from([b"", b"0", b"200", b"application/grpc", b"trailers", b"y" * 60])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
FEW = st.lists(HEADERS, min_size=1, max_size=3)
SIZES = st.sampled_from([0, 40, 100, 4096])
REQUEST = [(b":method", b"POST"), (b":path", b"/a"), (b":scheme", b"http"), (b":authority", b"zt")]
LIMIT = 1 << 14


def decoded(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | str:
    """The headers of a block, or the name of the error."""
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except hpack.HPACKError as error:
        return type(error).__name__


@settings(max_examples=400)
@given(FEW, st.data())
def test_known_headers_are_encoded_to_the_bytes_that_the_encoder_would_write(
    few: list[list[tuple[bytes, bytes]]], data: st.DataObject
) -> None:
    known, plain = KnownEncoder(), hpack.Encoder()
    for step in data.draw(st.lists(st.one_of(st.sampled_from(few), SIZES, HEADERS), max_size=14)):
        if isinstance(step, int):
            known.header_table_size = plain.header_table_size = step
        else:
            assert known.encode(step) == plain.encode(step)
        assert known.header_table.dynamic_entries == plain.header_table.dynamic_entries


def test_what_a_table_without_room_did_not_take_is_not_known_to_one_that_has_room() -> None:
    known, plain = KnownEncoder(), hpack.Encoder()
    for encoder in (known, plain):
        encoder.header_table_size = 0
    for size, headers in (
        (0, [(b"x", b"y")]),
        (0, [(b"x", b"y")]),
        (4096, [(b":status", b"200")]),
        (4096, [(b"x", b"y")]),
    ):
        known.header_table_size = plain.header_table_size = size
        assert known.encode(headers) == plain.encode(headers)
    assert len(known.header_table.dynamic_entries) == 1


@settings(max_examples=400)
@given(st.data())
def test_known_blocks_are_decoded_to_what_the_decoder_would_read(data: st.DataObject) -> None:
    known, plain, encoder = KnownDecoder(LIMIT), hpack.Decoder(LIMIT), hpack.Encoder()
    blocks: list[bytes] = []
    indexed = st.integers(0x80, 0xFF).map(lambda byte: bytes((byte,)))
    made = st.one_of(
        HEADERS.map(encoder.encode),
        st.lists(indexed, max_size=3).map(b"".join),
        st.sampled_from(
            [b"\x20", b"\x3f\x45", b"\x3f\xe1\x1f", b"\x3f\xe1\x1f\x82", b"\x20\x82"]
        ),  # sizes of the table
        st.builds(lambda name, value: b"\x40\x01%b\x01%b" % (name, value), *[st.sampled_from([b"a", b"b"])] * 2),
        st.binary(max_size=5),
    )
    for _ in range(data.draw(st.integers(1, 14))):
        block = data.draw(st.one_of(made, st.sampled_from(blocks)) if blocks else made)
        blocks.append(block)
        found = decoded(known, block)
        assert found == decoded(plain, block)
        assert known.header_table.dynamic_entries == plain.header_table.dynamic_entries
        assert known.header_table_size == plain.header_table_size
        if isinstance(found, str):
            return  # the connection is over


def test_a_block_that_sets_the_size_of_the_table_sets_it_each_time() -> None:
    decoder = KnownDecoder(LIMIT)
    for block in (b"\x3f\x45\x82", b"\x3f\xe1\x1f\x82", b"\x3f\x45\x82"):
        decoder.decode(block, raw=True)

    assert decoder.header_table_size == 100


def test_what_is_kept_of_a_connection_is_bounded() -> None:
    decoder, encoder, validity = KnownDecoder(LIMIT), KnownEncoder(), Validity()
    for number in range(4 * MOST_KEPT):
        decoder.decode(b"\x00\x01a\x03%03d" % number, raw=True)
        encoder.encode([(b":status", b"200"), (b"x", b"%d" % (number % 40))])
        validity.of_request([*REQUEST, (b"x", b"%d" % number)])

    assert len(decoder._known) <= MOST_KEPT and len(encoder._known) <= MOST_KEPT and len(validity._known) <= MOST_KEPT


@pytest.mark.parametrize(
    "headers",
    [
        [*REQUEST, (b"Upper", b"x")], [*REQUEST, (b"connection", b"close")], [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"x", b"a\nb")], [*REQUEST, (b"", b"x")], [*REQUEST, (b":status", b"200")],
        [*REQUEST, (b"host", b"other")], [*REQUEST, REQUEST[0]], REQUEST[1:], REQUEST[:1] + REQUEST[2:],
        [*REQUEST[:3], (b"x", b"y"), REQUEST[3]], [*REQUEST[:1], (b":path", b""), *REQUEST[2:]],
    ],
)  # fmt: skip
def test_headers_that_no_request_may_have_are_refused_each_time(headers: list[tuple[bytes, bytes]]) -> None:
    validity = Validity()
    validity.of_request(REQUEST)
    for _ in range(2):
        with pytest.raises(h2.exceptions.ProtocolError):
            validity.of_request(headers)
    validity.of_request(REQUEST)


def test_what_a_request_may_begin_with_it_may_not_end_with() -> None:
    Validity().of_request(REQUEST)
    Validity().of_trailers([(b"x", b"y")])
    with pytest.raises(h2.exceptions.ProtocolError):
        Validity().of_trailers(REQUEST)


def test_no_headers_are_kept_that_are_longer_than_a_block_that_is_kept() -> None:
    validity = Validity()
    for number in range(MOST_KEPT):
        validity.of_request([*REQUEST, (b"x", b"%d" % number * MOST_BYTES)])
    assert not validity._known
