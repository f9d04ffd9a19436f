"""People's pages: who is let in, what a form needs, and that whatever goes wrong is a page that says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.portal_support import PortalOffice


@pytest.fixture
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        yield made


def test_whoever_comes_without_a_session_is_sent_to_sign_in_and_comes_back(office: PortalOffice) -> None:
    browser = office.browser()
    sent = browser.once("GET", "/?lang=en")

    assert (sent.status_code, sent.headers["location"]) == (303, "/.zt/login?to=/%3Flang%3Den")
    assert browser.sign_in("tanaka").status_code == 200
    assert "What would you like to do?" in browser.text
