from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.errors import InputError
from zt_engine.core.request import canonical_address, canonical_host, canonical_method, canonical_path, canonical_target


def target(uri: bytes, host: bytes = b"portal.example") -> str:
    return canonical_target(uri, host, scheme=b"https", port=b"443").path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/cases/123", "/cases/123"),
        (b"/cases/123/", "/cases/123/"),
        (b"/a?x=1&y=%2F", "/a"),
        (b"/%E7%A7%98", "/%E7%A7%98"),
        (b"/%e7%a7%98", "/%E7%A7%98"),
        (b"/a%20b", "/a%20b"),
        (b"/a...b/..c/.hidden", "/a...b/..c/.hidden"),
        (b"https://portal.example/cases/1?q", "/cases/1"),
        (b"HTTPS://Portal.Example:443/cases/1", "/cases/1"),
    ],
)
def test_a_target_with_one_reading_is_accepted(raw: bytes, path: str) -> None:
    assert target(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"cases",
        b"*",
        b"/a//b",
        b"//admin",
        b"/a/./b",
        b"/a/../b",
        b"/..",
        b"/.",
        b"/pub/%2e%2e/admin",
        b"/pub/..%2fadmin",
        b"/pub/%252e%252e/admin",
        b"/%61dmin",
        b"/admin;x=1",
        b"/pub/..;/admin",
        b"/pub/..\\admin",
        b"/pub/..%5cadmin",
        b"/adm%00in",
        b"/a%zz",
        b"/a%2",
        b"/\xc3\xa9",
        b"/a#frag",
        b"/a?x#frag",
        b"/a b",
        b"/a\tb",
        b"/a%0d%0ab",
        b"/a%7f",
        b"/a%3Fb",
        b"/a%3bb",
        b"/%ff",
        b"/%c0%ae",
        b"/e%CC%81",
        b"http://evil/admin",
        b"https://evil/admin",
        b"https://portal.example",
        b"https:/portal.example/a",
        b"/a<b",
        b'/a"b',
        b"/a|b",
        b"/a{b}",
        b"/a^b",
        b"/a`b",
        b"/a[b]",
        b"/x?\x00",
        b"/x?\xff",
        b"/" + b"a" * 9000,
    ],
)
def test_a_target_with_two_readings_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError) as refused:
        target(raw)

    assert refused.value.code in {"PATH_AMBIGUOUS", "HOST_AMBIGUOUS", "TARGET_TOO_LARGE"}


@given(st.text(alphabet="/.%2efaF5c;\\?#aé0", max_size=24).map(lambda text: ("/" + text).encode()))
def test_canonical_is_idempotent_and_nothing_else_raises(raw: bytes) -> None:
    try:
        once = canonical_path(raw)
    except InputError:
        return

    assert canonical_path(once) == once
    assert not {b"", b".", b".."}.intersection(once.strip(b"/").split(b"/")) - ({b""} if once == b"/" else set())


@given(st.binary(max_size=64))
def test_any_bytes_are_a_target_or_an_input_error(raw: bytes) -> None:
    try:
        canonical_target(raw, b"portal.example", scheme=b"https", port=b"443")
    except InputError:
        pass


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        (b"Portal.Example", "portal.example"),
        (b"portal.example:8443", "portal.example"),
        (b"[2001:DB8::1]:443", "2001:db8::1"),
        (b"[::1]", "::1"),
    ],
)
def test_a_host_is_lower_case_without_port(raw: bytes, host: str) -> None:
    assert canonical_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a,b",
        b"a b",
        b"user@a",
        b"a:b",
        b"a:",
        b"a..b",
        b".a",
        b"a.",
        b"-a",
        b"a_b",
        b"\xff",
        b"[::1",
        b"[::1%eth0]",
        b"a" * 300,
        b"a:123456",
    ],
)
def test_an_odd_host_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="HOST_AMBIGUOUS"):
        canonical_host(raw)


@pytest.mark.parametrize("raw", [b"", b"get", b"Get", b"GET ", b"G-T", b"GET\x00", b"A" * 33])
def test_an_odd_method_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="METHOD_AMBIGUOUS"):
        canonical_method(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"203.0.113.7", "203.0.113.7"), (b"::ffff:203.0.113.7", "203.0.113.7"), (b"2001:DB8:0::1", "2001:db8::1")],
)
def test_an_address_has_one_spelling(raw: bytes, text: str) -> None:
    assert canonical_address(raw) == text


@pytest.mark.parametrize("raw", [b"", b"fe80::1%eth0", b"203.0.113.7, 10.0.0.1", b"a", b"\xff", b"0x7f.1"])
def test_an_odd_address_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="ADDRESS_INVALID"):
        canonical_address(raw)


def test_a_dpop_url_is_rebuilt_from_what_the_proxy_vouches_for_and_the_raw_path() -> None:
    at = canonical_target(b"/%e7%a7%98?x=1", b"portal.example:8443", scheme=b"https", port=b"8443")

    assert at.url == "https://portal.example:8443/%e7%a7%98"
    assert canonical_method(b"PROPFIND") == "PROPFIND"


@pytest.mark.parametrize("spelling", ["%{:02X}", "%{:02x}"])
def test_a_byte_is_escaped_only_if_it_has_to_be_and_may_stand_in_a_path(spelling: str) -> None:
    """Every byte by the definition; those that spell no character by themselves are refused as no UTF-8."""
    stands_for_itself = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    separates = frozenset(b"/\\;?#") | frozenset(range(0x20)) | {0x7F}
    accepted = set()
    for byte in range(256):
        try:
            assert canonical_path(f"/a{spelling.format(byte)}-".encode()) == f"/a%{byte:02X}-".encode()
            accepted.add(byte)
        except InputError as refused:
            assert refused.code == "PATH_AMBIGUOUS"

    assert accepted == set(range(128)) - stands_for_itself - separates


@given(st.text(alphabet="aé秘 %$", min_size=1, max_size=40), st.booleans())
def test_the_canonical_form_has_every_escape_in_upper_case(name: str, lower: bool) -> None:
    escaped = quote(name, safe="$")
    raw = "/" + (re.sub("%..", lambda found: found[0].lower(), escaped) if lower else escaped)
    try:
        canonical = canonical_path(raw.encode())
    except InputError:
        assert "%25" in escaped
        return

    assert canonical == f"/{escaped}".encode()


@pytest.mark.parametrize(
    ("raw", "accepted"),
    [
        (b"/a" * 128, True),
        (b"/a" * 129, False),
        (b"/" + b"%E7%A7%98" * 128, True),
        (b"/" + b"%E7%A7%98" * 129, False),
        (b"/a?" + b"%20" * 2000, True),
        (b"/" + b"a" * 8000, True),
    ],
)
def test_what_costs_more_to_read_than_its_length_is_bounded_by_number(raw: bytes, accepted: bool) -> None:
    if accepted:
        assert target(raw) == raw.partition(b"?")[0].decode()
        return
    with pytest.raises(InputError, match="TARGET_TOO_LARGE"):
        target(raw)
