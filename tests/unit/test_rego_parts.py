"""`multipart/form-data` for a rule: one form of it, which every reader takes alike."""

from __future__ import annotations

import json
from email import policy
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.errors import InputError
from zt_engine.sidecar.rego.parts import parts

KIND = "multipart/form-data; boundary=----Form7x"
MARK = b"------Form7x"


def body(*pieces: bytes) -> bytes:
    return b"".join(MARK + b"\r\n" + piece + b"\r\n" for piece in pieces) + MARK + b"--\r\n"


def field(name: bytes, value: bytes, *more: bytes) -> bytes:
    return b"\r\n".join([b'Content-Disposition: form-data; name="%b"' % name, *more, b"", value])


def read(raw: bytes, kind: str = KIND) -> dict[str, list[Any]]:
    return parts(kind, raw, json.loads)


def test_what_a_browser_sends_is_read_with_its_fields_its_files_and_its_json() -> None:
    file = field(b'scan"; filename="a b.pdf', b"%PDF\xff", b"Content-Type: application/pdf")
    none = field(b'more"; filename="', b"", b"Content-Type: application/octet-stream")
    more = field(b"about", b'{"a": 1}', b"Content-Type: application/json")

    found = read(body(field(b"amount", b"5"), field(b"amount", "é\r\n6".encode()), file, none, more))

    assert found == {"amount": ["5", "é\r\n6"], "scan": ["%PDF\ufffd"], "more": [""], "about": [{"a": 1}]}


@pytest.mark.parametrize(
    "kind", ['Multipart/Form-Data;Boundary="----Form7x"', "multipart/form-data ; boundary=----Form7x"]
)
def test_a_boundary_may_stand_in_quotes(kind: str) -> None:
    assert read(body(field(b"a", b"1")), kind) == {"a": ["1"]}


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=----Form7x; charset=utf-8",
        "multipart/form-data; boundary=----Form7x; boundary=x", "multipart/form-data; boundary=a b",
        "multipart/form-data, text/plain; boundary=----Form7x", "multipart/form-data; boundary=x--",
        "text/plain; x=multipart/form-data; boundary=----Form7x", "multipart/form-data; boundary*=utf-8''----Form7x",
    ],
)  # fmt: skip
def test_a_type_that_does_not_say_plainly_where_parts_end_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="boundary"):
        read(body(field(b"a", b"1")), kind)


A = field(b"a", b"1")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\r\n", MARK + b"--\r\n", body(A)[:-4], body(A) + b"x", b"x\r\n" + body(A), b"\r\n" + body(A),
        body(A).replace(b"\r\n", b"\n"), body(A, field(b"b", b"1\n" + MARK + b"\r\n" + A)),
        body(field(b"a", b"1" + MARK)), body(field(b"a", b"1\r\n" + MARK + b"x")),
        body(A).replace(MARK + b"\r\n", MARK + b" \r\n"), body(b"", A), body(b"\r\n\r\n1"), body(b"a=1"),
        body(*[A] * 513), body(field(b"_charset_", b"x")),
        body(field(b"a", b"1", b"Content-Transfer-Encoding: base64")), body(field(b"a", b"1", b"X: 1")),
        body(field(b"a", b"1", b"Content-Type: text/plain; charset=utf-16")),
        body(field(b"a", b"1", b"Content-Type: application/octet-stream")),
        body(field(b"a", b"1", b"Content-Type: text/plain", b"Content-Type: application/json")),
        body(field(b"a", b"\xff")), body(field(b"\xff", b"1")), body(field(b"", b"1")), body(field(b" a", b"1")),
        body(field(b'a"; name="b', b"1")), body(field(b"a%22", b"1")), body(field(b"a\\", b"1")),
        body(field(b'a"; filename="f', b"1")), body(field(b'a"; filename="', b"1", b"Content-Type: text/plain")),
        body(field(b'a"; filename*="f', b"1", b"Content-Type: text/plain")),
        body(A, field(b'a"; filename="f', b"1", b"Content-Type: text/plain")),
        body(b"Content-Disposition: form-data; name=a\r\n\r\n1"),
        body(b'Content-Disposition: attachment; name="a"\r\n\r\n1'),
        body(b'Content-Disposition: form-data;\r\n name="a"\r\n\r\n1'), body(b"Content-Type: text/plain\r\n\r\n1"),
    ],
)  # fmt: skip
def test_parts_that_readers_take_differently_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read(raw)

    assert caught.value.code == "REGO_BODY"


@pytest.mark.parametrize(
    "file", [b"/", b".", b"..", b"a/", b" ", b"C:/..", b"&#47", b"&nbsp", b"..&#92", "\u3000".encode()]
)
def test_a_file_without_a_name_of_its_own_is_none_to_some_readers(file: bytes) -> None:
    with pytest.raises(InputError, match="none to some readers"):
        read(body(field(b'a"; filename="' + file, b"1", b"Content-Type: text/plain")))


def others(raw: bytes) -> dict[str, list[str]]:
    """What a reader that knows nothing of ours finds."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + KIND.encode() + b"\r\n\r\n" + raw)
    found: dict[str, list[str]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(name, str) and isinstance(payload, bytes)
        found.setdefault(name, []).append(payload.decode(errors="replace"))
    return found


@given(st.data())
def test_whatever_is_not_refused_is_what_another_reader_finds(data: st.DataObject) -> None:
    named = st.sampled_from([b"a", b"b", b"role", b"x[1]"])
    content = st.lists(st.sampled_from([b"1", b"\r\n", b"\n", b"--", b"-", b"Form7x", MARK, b": ", b" "]), max_size=6)
    drawn = data.draw(st.lists(st.tuples(named, content), min_size=1, max_size=4))
    raw = bytearray(body(*[field(name, b"".join(value)) for name, value in drawn]))
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(raw) - 1))
        other = data.draw(st.sampled_from([b"", b"\n", b"-", b"\r\n", b'"', MARK]))
        raw[place : place + data.draw(st.integers(0, 2))] = other
    try:
        found = read(bytes(raw))
    except InputError as error:
        assert error.code == "REGO_BODY"
        return

    assert found == others(bytes(raw))
