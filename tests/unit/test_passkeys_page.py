"""The page that asks for a key: nobody is signed in at it, and what comes of it leads back to where one came from."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from tests.passkey_support import BEFORE, HOST, KeyOffice, options, secret_of
from tests.passkey_support import office as office
from tests.passkey_support import one_office as one_office


def test_the_page_asks_for_a_key_names_the_page_and_leads_back_to_its_host_alone(office: KeyOffice) -> None:
    key, kept = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid, asked="acr_values=phr&max_age=300")
    browser = office.browser()  # nobody is signed in here
    path = f"/step-up/{secret_of(begun)}"

    page = browser.get(path)

    assert page.status_code == 200
    assert f"https://{HOST}/cases/1?page=2" in browser.text
    assert f"form-action 'self' https://{HOST};" in page.headers["content-security-policy"]
    assert f'href="https://{HOST}/.zt/login?to=/cases/1%3Fpage%3D2&amp;acr_values=phr&amp;max_age=300"' in page.text
    assert [one["id"] for one in json.loads(options(page.text))["allowCredentials"]] == [kept.credential]
    assert "set-cookie" not in page.headers

    sent = browser.once("POST", path, _form(key.get(options(page.text))), **POST)
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"https://{HOST}/.zt/proven?code=")


POST = {
    "content_type": "application/x-www-form-urlencoded",
    "sec_fetch_site": "same-origin",
    "origin": "https://control.example",
}


def _form(answer: bytes) -> bytes:
    return urlencode({"answer": answer.decode()}).encode()


def test_what_another_site_posts_uses_up_nothing(office: KeyOffice) -> None:
    key, _ = office.with_key()
    begun = office.begin(office.signed_in(**BEFORE))
    browser, path = office.browser(), f"/step-up/{secret_of(begun)}"
    page = browser.get(path)
    answer = _form(key.get(options(page.text)))

    crossed = browser.once("POST", path, answer, **POST | {"sec_fetch_site": "cross-site"})
    assert (crossed.status_code, "SESSION_CROSS_SITE" in crossed.text) == (403, True)
    assert browser.once("POST", path, answer, **POST | {"sec_fetch_site": "", "origin": ""}).status_code == 403
    assert browser.once("POST", path, answer, **POST).status_code == 303


def test_whatever_goes_wrong_is_a_page_that_leads_back_to_where_one_came_from(office: KeyOffice) -> None:
    key, _ = office.with_key(counter=10)
    begun = office.begin(office.signed_in(**BEFORE))
    browser, path = office.browser(language="ja"), f"/step-up/{secret_of(begun)}"
    page = browser.get(path)

    wrong = browser.once("POST", path, _form(key.get(options(page.text), counter=3)), **POST)

    assert "PASSKEY_COUNTER" in wrong.text
    assert "複製されたおそれ" in wrong.text
    assert f'href="https://{HOST}/cases/1?page=2"' in wrong.text
    again = browser.get(path)
    assert "PASSKEY_CHALLENGE" in again.text


@pytest.mark.parametrize("secret", ["A" * 43, "short", "A" * 44, "%2e%2e", "A" * 42 + "!"])
def test_an_address_that_nobody_was_given_is_a_page_that_says_so(office: KeyOffice, secret: str) -> None:
    answer = office.browser().get(f"/step-up/{secret}")

    assert answer.status_code in (404, 422)
    assert "text/html" in answer.headers["content-type"]
