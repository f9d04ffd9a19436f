"""A refusal shows the way to sign in and back to what was asked for, and never a way to anywhere else."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.decision import Decision, Effect, Unmet
from zt_engine.core.session import check_return
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.hooks.answers import deny_head
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.signing import sign_in_link

DENIALS = Denials(DeniedPage(registry(), default_language="en", signs_in=True))
STEP_UP = deny_head(
    Decision(effect=Effect.STEP_UP, reasons=("AUTH_WEAK",), unmet=(Unmet("AUTH_WEAK", acr="mfa", max_age=60),)),
    scheme="bearer", has_credential=True,
)  # fmt: skip
DENY = deny_head(Decision.deny("TRUST_LOW"), scheme="", has_credential=False)
HTML, JSON = {b"accept": b"text/html"}, {b"accept": b"application/json"}


def link_of(answer: bytes) -> str | None:
    found = re.search(r'<a class="act" href="([^"]+)"', answer.decode())
    return html.unescape(found[1]) if found is not None else None


@pytest.mark.parametrize("name", [b"X-Original-URI", b"X-Forwarded-Uri"])
def test_a_page_leads_to_what_was_asked_for_with_what_is_asked_of_the_provider(name: bytes) -> None:
    link = link_of(DENIALS.write(STEP_UP, b"d-1", {**HTML, name: b"/cases/1?x=%22%3E&y='"}))

    assert link is not None and urlsplit(link).path == "/.zt/step-up"
    assert parse_qs(urlsplit(link).query) == {"to": ["/cases/1?x=%22%3E&y='"], "acr_values": ["mfa"], "max_age": ["60"]}


def test_a_proxy_that_says_it_in_the_request_line_is_told_the_same() -> None:
    link = link_of(DENIALS.write(STEP_UP, b"d-1", HTML, target=b"/cases/2"))

    assert link is not None and parse_qs(urlsplit(link).query)["to"] == ["/cases/2"]


def test_a_program_is_told_where_in_json() -> None:
    body = DENIALS.write(STEP_UP, b"d-1", {**JSON, b"x-forwarded-uri": b"/a"}).partition(b"\r\n\r\n")[2]

    problem = json.loads(body)
    assert problem["sign_in"].startswith("/.zt/step-up?to=%2Fa&") and problem["decision"] == "d-1"


def test_where_signing_in_helps_nobody_there_is_no_way() -> None:
    answer = DENIALS.write(DENY, b"d-1", HTML, target=b"/cases/2")

    assert link_of(answer) is None and b"0-sign-in-0" not in answer and b"d-1" in answer


@given(
    to=st.one_of(
        st.text(max_size=40), st.sampled_from(["//e", "/\\e", "/a\\e", "/é", "https://e", "/.zt/logout", "", "\r\n/"])
    )
)
def test_no_link_leads_off_the_host_or_back_to_these_pages(to: str) -> None:
    link = sign_in_link(to, "")

    (back,) = parse_qs(urlsplit(link).query, keep_blank_values=True)["to"]
    assert link.startswith("/.zt/login?") and link.isascii() and link.isprintable()
    assert back.startswith("/") and not back.startswith(("//", "/\\", "/.zt/"))
    check_return(back)  # so whoever has signed in is not told that there is no such page


@given(target=st.binary(max_size=60))
def test_no_target_breaks_a_page_or_its_markup(target: bytes) -> None:
    answer = DENIALS.write(STEP_UP, b"d-1", HTML, target=target)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head and link_of(answer) is not None
