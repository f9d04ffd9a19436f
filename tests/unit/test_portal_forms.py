"""Forms of people's pages: one that is not this session's own, or no form at all, changes nothing."""

from __future__ import annotations

import pytest

from tests.control_support import URL, a_device
from tests.portal_support import PortalOffice
from tests.portal_support import office as office
from tests.portal_support import shared as shared

LOST = "/my/devices/laptop-1/lost"


@pytest.mark.parametrize(
    ("form", "headers", "code"),
    [
        ({}, {}, "FORM_STALE"),
        ({"csrf": "wrong"}, {}, "FORM_STALE"),
        ({"csrf": "other"}, {}, "FORM_STALE"),
        ({"csrf": "own"}, {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"origin": "null", "sec_fetch_site": ""}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"origin": "", "sec_fetch_site": ""}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"content_type": "text/plain"}, "FORM_STALE"),
        ({"csrf": "own"}, {"content_type": "application/json"}, "FORM_STALE"),
        ({"csrf": "own"}, {"content_type": ""}, "FORM_STALE"),
    ],
)
def test_a_form_that_is_not_this_sessions_own_changes_nothing(
    shared: PortalOffice, form: dict[str, str], headers: dict[str, str], code: str
) -> None:
    browser, other = shared.browser("tanaka"), shared.browser("tanaka")
    browser.get(LOST)
    other.get(LOST)
    assert browser.csrf
    assert browser.csrf != other.csrf
    sent = {name: {"own": browser.csrf, "other": other.csrf}.get(value, value) for name, value in form.items()}

    answer = browser.send(LOST, sent, **headers)

    assert (answer.status_code, code in answer.text) == (403, True)
    assert shared.control.device("laptop-1").status == "active"


def test_a_form_sent_after_the_session_ended_is_refused_with_the_way_to_sign_in(office: PortalOffice) -> None:
    office.control.put(a_device())
    browser = office.browser("tanaka")
    browser.get(LOST)
    form = {"csrf": browser.csrf}
    office.control.clock.advance(9 * 3600)

    answer = browser.send(LOST, form)

    assert (answer.status_code, 'href="/.zt/login?to=/"' in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"csrf=a&csrf=b", 400),
        (b"a=%FF", 400),
        (b"&".join(b"a%d=1" % n for n in range(65)), 400),
        (b"a=1" * 30_000, 413),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_a_page(shared: PortalOffice, body: bytes, status: int) -> None:
    browser = shared.browser("tanaka")
    kind = {"content_type": "application/x-www-form-urlencoded", "origin": URL, "sec_fetch_site": "same-origin"}

    answer = browser.once("POST", LOST, body, **kind)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
