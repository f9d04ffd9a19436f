"""Sessions through a real nginx at a real provider, in the hands of scripts, tabs, impatient fingers and thieves."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from tests.e2e.test_browser_sign_in import SESSION, Site, sign_in
from tests.peers import find_peer
from tests.providers import provider

pytestmark = pytest.mark.filterwarnings("ignore")

SCRIPT = {"accept": "*/*", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if find_peer("nginx (wheel)") is None and find_peer("nginx (Debian)") is None:
        if os.environ.get("CI"):
            pytest.fail("no nginx")
        pytest.skip(reason="no nginx on this machine")
    with provider() as issuing:
        found = Site(tmp_path_factory.mktemp("sessions"), issuing, onward=True)
        yield found
        found.close()


def answer_of(away: httpx.Response) -> str:
    """Sign in at the provider that a browser was sent to; return where it sends the browser back to."""
    return httpx.post(away.headers["location"], data={"sub": "tanaka"}, trust_env=False).headers["location"]


def handle(browser: httpx.Client) -> str:
    return next(cookie.value or "" for cookie in browser.cookies.jar if cookie.name == SESSION)


def test_forty_requests_of_a_script_at_once_get_a_remedy_and_neither_a_cookie_nor_a_way_to_the_provider(
    site: Site,
) -> None:
    with site.browser() as browser, ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: browser.get(f"/api/items?page={number}", headers=SCRIPT), range(40)))

        assert {answer.status_code for answer in answers} == {401}
        for number, answer in enumerate(answers):
            problem = answer.json()
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert (problem["status"], problem["code"]) == (401, "AUTH_REQUIRED")
            assert problem["sign_in"] == f"/.zt/login?to=%2Fapi%2Fitems%3Fpage%3D{number}"
            assert not {"set-cookie", "location"} & set(answer.headers)
        assert len(browser.cookies) == 0


def test_a_script_that_asks_to_sign_in_is_told_that_it_cannot(site: Site) -> None:
    with site.browser() as browser:
        answer = browser.get("/.zt/login?to=/", headers=SCRIPT)

    assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_REQUIRED")
    assert not {"set-cookie", "location"} & set(answer.headers)


def test_two_tabs_sign_in_beside_each_other_and_both_get_the_page_they_wanted(site: Site) -> None:
    with site.browser() as browser:
        backs = [answer_of(browser.get(f"/.zt/login?to=/tab/{tab}")) for tab in (1, 2)]
        homes = [browser.get(back) for back in backs]

        assert [(home.status_code, home.headers["location"]) for home in homes] == [(303, "/tab/1"), (303, "/tab/2")]
        assert [browser.get(home.headers["location"]).status_code for home in homes] == [200, 200]


def test_the_back_button_to_a_used_answer_leads_on_and_not_in_circles(site: Site) -> None:
    with site.browser() as browser, site.browser() as other:
        back = answer_of(browser.get("/.zt/login?to=/cases/1"))
        browser.get(back)
        before = handle(browser)

        again = browser.get(back)
        twice = browser.get(back)

        for answer in (again, twice):
            assert (answer.status_code, "location" in answer.headers) == (200, False)
            assert "サインイン済みです" in answer.text
            assert 'href="/"' in answer.text
        assert handle(browser) == before
        assert other.get(back).status_code == 403  # another browser is told nothing of it


def test_an_answer_sent_twice_at_once_begins_one_session(site: Site) -> None:
    with site.browser() as browser, ThreadPoolExecutor(4) as pool:
        back = answer_of(browser.get("/.zt/login?to=/cases/1"))
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
        with site.browser() as finger:
            answers = list(pool.map(lambda _: finger.get(back, headers={"cookie": cookies}), range(4)))

    assert sorted(answer.status_code for answer in answers) == [303, 403, 403, 403]
    assert sum(SESSION in str(answer.headers) for answer in answers) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda back: back.replace("state=", "state=x"),
        lambda back: re.sub(r"code=[^&]+", "code=stolen", back),
        lambda back: re.sub(r"code=[^&]+", "error=access_denied", back),
        lambda back: back + "&iss=https%3A%2F%2Fevil.example",
        lambda back: back.partition("?")[0],
        lambda back: back + "&pad=" + "x" * 9000,
    ],
)
def test_a_callback_that_was_tampered_with_begins_no_session(site: Site, change: object) -> None:
    with site.browser() as browser:
        back = answer_of(browser.get("/.zt/login?to=/cases/1"))
        answer = browser.get(change(back))  # type: ignore[operator]

    assert answer.status_code in (403, 414, 503)
    assert SESSION not in str(answer.headers)


@pytest.mark.parametrize(
    ("cookie", "code"),
    [
        (lambda held: held[:-1], "SESSION_MALFORMED"),
        (lambda held: held + "x" * 3000, "SESSION_MALFORMED"),
        (lambda held: f"{held}; {SESSION}={held}", "SESSION_DOUBLED"),
        (lambda held: f'"{held}"', "SESSION_MALFORMED"),
        (lambda held: "", "SESSION_MALFORMED"),
        (lambda held: held[::-1], "AUTH_REQUIRED"),
    ],
)
def test_a_session_cookie_that_is_none_opens_nothing(site: Site, cookie: object, code: str) -> None:
    with site.browser() as browser, site.browser() as thief:
        sign_in(browser, "/.zt/login?to=/")
        sent = f"{SESSION}={cookie(handle(browser))}"  # type: ignore[operator]
        answer = thief.get("/cases/1", headers={"cookie": sent, "accept": "application/json"})

    assert answer.status_code in (401, 403)
    assert answer.json()["code"] == code


def test_twenty_kilobytes_of_cookies_open_nothing_and_break_nothing(site: Site) -> None:
    with site.browser() as browser, site.browser() as thief:
        sign_in(browser, "/.zt/login?to=/")
        held = handle(browser)
        many = "; ".join([f"{SESSION}={held}", *(f"c{number}={'x' * 3000}" for number in range(7))])
        assert len(many) > 20_000
        assert thief.get("/cases/1", headers={"cookie": many}).status_code in (400, 401, 403, 431)
        assert browser.get("/cases/1").status_code == 200


def test_while_a_hundred_requests_run_signing_out_lets_none_in_that_comes_after_it_and_keeps_none_waiting(
    site: Site,
) -> None:
    with site.browser() as browser, site.browser() as runner, ThreadPoolExecutor(20) as pool:
        sign_in(browser, "/.zt/login?to=/")
        cookies = {"cookie": f"{SESSION}={handle(browser)}", "accept": "application/json"}

        def ask(number: int) -> tuple[float, float, int]:
            began = time.monotonic()
            status = runner.get(f"/cases/{number}", headers=cookies, timeout=20).status_code
            return began, time.monotonic(), status

        running = [pool.submit(ask, number) for number in range(100)]
        for one in running[:30]:
            one.result()
        sent = time.monotonic()
        assert browser.post("/.zt/logout", headers=SAME).status_code == 200
        ended = time.monotonic()
        found = [one.result() for one in running] + [ask(number) for number in range(5)]

    assert len(found) == 105
    assert {status for _, _, status in found} == {200, 401}
    assert all(status == 200 for _, done, status in found if done < sent)
    assert all(status == 401 for began, _, status in found if began > ended)


def test_signing_out_goes_over_the_provider_and_comes_back_to_this_browser_alone(site: Site) -> None:
    with site.browser() as browser, site.browser() as other:
        sign_in(browser, "/.zt/login?to=/")
        left = browser.post("/.zt/logout", headers=SAME)
        assert browser.get("/cases/1").status_code == 401  # wherever the browser goes now

        onward = left.headers["refresh"].partition("url=")[2]
        query = {name: values[0] for name, values in parse_qs(urlsplit(onward).query).items()}
        assert urlsplit(onward).path == "/oauth2/end_session"
        assert query["post_logout_redirect_uri"] == f"https://portal.example:{site.lab.address[1]}/.zt/signed-out"
        assert query["id_token_hint"].count(".") == 2
        with httpx.Client(trust_env=False) as provider:
            form = dict(re.findall(r'name="([^"]+)"[^>]*value="([^"]*)"', provider.get(onward).text))
            confirmed = provider.post(urljoin(onward, "/oauth2/end_session/confirm"), data=form)
        back = confirmed.headers["location"]
        assert back == f"{query['post_logout_redirect_uri']}?state={query['state']}"
        home = browser.get(back)

        assert home.status_code == 200
        assert "サインアウトしました" in home.text
        assert other.get(back).status_code == 403
        assert browser.get(back).status_code == 403  # once
