"""The messages of Envoy's external authorization as bytes, and what becomes of bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.errors import InputError
from zt_engine.sidecar.grpc import check, health, wire

NUMBERS = st.integers(0, (1 << 64) - 1)
FIELDS = st.integers(1, (1 << 29) - 1)
HEADERS = st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=40)), max_size=6)


def question(
    *, address: bytes = b"203.0.113.7", port: int = 443, method: bytes = b"GET", path: bytes = b"/cases/1",
    host: bytes = b"portal.example", certificate: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None,
) -> bytes:  # fmt: skip
    """A CheckRequest as Envoy writes it."""
    lines = b"".join(wire.data(1, wire.data(1, name) + wire.data(3, value)) for name, value in headers or [])
    http = wire.data(1, b"17") + wire.data(2, method) + wire.data(4, path) + wire.data(5, host)
    http += wire.number(9, (1 << 64) - 1) + wire.data(13, lines)
    source = wire.data(1, wire.data(1, wire.data(2, address) + wire.number(3, 50000))) + wire.data(5, certificate)
    target = wire.data(1, wire.data(1, wire.data(2, b"192.0.2.1") + wire.number(3, port)))
    attributes = wire.data(1, source) + wire.data(2, target) + wire.data(4, wire.data(2, http)) + wire.data(11, b"")
    return wire.data(1, attributes)


@given(FIELDS, NUMBERS)
def test_a_number_is_read_as_it_was_written(field: int, value: int) -> None:
    assert list(wire.fields(wire.number(field, value))) == [(field, value)]


@given(st.lists(st.tuples(FIELDS, st.binary(max_size=300)), max_size=8))
def test_fields_are_read_in_the_order_in_which_they_were_written(written: list[tuple[int, bytes]]) -> None:
    message = b"".join(wire.data(field, value) for field, value in written)

    assert list(wire.fields(message)) == written


@given(st.binary(max_size=400))
def test_whatever_bytes_come_they_are_a_question_or_a_fault_of_the_asker(message: bytes) -> None:
    try:
        found = check.read_check(message)
    except InputError as error:
        assert error.code == "HOOK_FRAMING"
    else:
        assert isinstance(found, check.Check)


@given(st.data())
def test_a_question_that_is_cut_off_or_changed_is_never_more_than_a_fault(data: st.DataObject) -> None:
    whole = bytearray(question(headers=[(b"authorization", b"Bearer a"), (b"x-request-id", b"1")]))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    piece = bytes(whole[: data.draw(st.integers(0, len(whole)))])

    try:
        check.read_check(piece)
    except InputError as error:
        assert error.code == "HOOK_FRAMING"


@given(HEADERS, st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 65535))
def test_a_question_is_read_with_every_line_of_its_headers(
    headers: list[tuple[bytes, bytes]], path: bytes, certificate: bytes, port: int
) -> None:
    found = check.read_check(question(headers=headers, path=path, certificate=certificate, port=port))

    assert list(found.headers) == [line for line in headers if not line[0].startswith(b":")]
    assert (found.path, found.certificate, found.port) == (path, certificate, port)
    assert (found.method, found.host, found.address) == (b"GET", b"portal.example", b"203.0.113.7")
    assert not found.merged


@pytest.mark.parametrize(
    "message",
    [b"\x0b", b"\x0a\x05a", b"\x0a", b"\x08" + b"\xff" * 11, b"\x00\x00", b"\x0d\x00", b"\x09\x00", b"\x08\x01",
     wire.data(1, wire.number(4, 1)), wire.data(1, wire.number(1, 1))],
)  # fmt: skip
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(InputError, match="HOOK_FRAMING"):
        check.read_check(message)


@given(st.sampled_from([401, 403]), HEADERS, st.binary(max_size=100))
def test_invariant_a_denial_says_so_with_a_code_that_is_not_zero(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    message = dict(wire.fields(check.denied(status, [check.option(*line) for line in headers], body)))

    (code,) = wire.fields(message[1])  # type: ignore[arg-type]
    response = list(wire.fields(message[2]))  # type: ignore[arg-type]
    assert code in ((1, 7), (1, 16))
    assert 3 not in message
    assert response[0] == (1, wire.number(1, status))
    assert response[-1] == (3, body)


@given(HEADERS)
def test_an_allow_overwrites_what_a_client_sent(headers: list[tuple[bytes, bytes]]) -> None:
    message = dict(wire.fields(check.allowed([check.option(*line) for line in headers])))

    assert list(wire.fields(message[1])) == [(1, 0)]  # type: ignore[arg-type]
    for _, option in wire.fields(message[3]):  # type: ignore[arg-type]
        assert dict(wire.fields(option))[3] == 2  # type: ignore[arg-type]


def test_health_is_serving_only_when_decisions_can_be_made() -> None:
    assert [health.response(ready=ready) for ready in (True, False)] == [b"\x08\x01", b"\x08\x02"]
