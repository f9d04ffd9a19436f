"""A browser's cookies: which attributes each is set with, and that of one name only one value is ever read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core import cookies
from zt_engine.core.cookies import SIGN_IN, SIGN_OUT, Ticket

KEPT = Ticket("__Host-zt-kept", r"[a-z]{2,4}")


def test_a_cookie_is_kept_from_pages_other_hosts_and_plain_http() -> None:
    fixed = "Path=/; Secure; HttpOnly; SameSite=Lax"

    assert cookies.issued("__Host-a", "b", seconds=60) == f"__Host-a=b; {fixed}; Max-Age=60"
    assert cookies.gone("__Host-a") == f"__Host-a=; {fixed}; Max-Age=0"
    assert {SIGN_IN.name, SIGN_OUT.name} == {"__Host-zt-login", "__Host-zt-leaving"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"", ""),
        (b"__Host-zt-kept=abc", "abc"),
        (b"a=b;\t __Host-zt-kept=abc; c=d", "abc"),
        (b"x__Host-zt-kept=abc", ""),
        (b"__Host-zt-kept=a", ""),
        (b"__Host-zt-kept=abcde", ""),
        (b"__Host-zt-kept=abc ", ""),
        (b'__Host-zt-kept="abc"', ""),
        (b"__host-zt-kept=abc", ""),
        (b"__Host-zt-kept=abc; __Host-zt-kept=xyz", ""),
    ],
)
def test_a_value_is_read_from_the_cookie_of_its_name_and_from_two_none(sent: bytes, read: str) -> None:
    assert KEPT.read(sent) == read


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_else_is_sent_nothing_but_the_one_value_is_read(before: bytes, after: bytes) -> None:
    assert KEPT.read(before + b"; __Host-zt-kept=abc; " + after) in ("abc", "")
    assert KEPT.read(before + b"; __Host-zt-kept=abc; __Host-zt-kept=abd; " + after) == ""
