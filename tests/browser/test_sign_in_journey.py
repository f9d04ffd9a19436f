"""Signing in as people do it: in a real Chromium, through nginx and Caddy, at a real provider, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from tests.browser.chromium import ARGUMENTS, DESKTOP, PHONE, driving, findings, launched, profile, program, screenshot
from tests.browser.enrolling import Agent, Clicks
from tests.browser.managed import managed
from tests.browser.sign_in_world import HOST, KINDS, PAGE, Prompts, World, world
from tests.providers import provider
from tests.sidecar_support import wait_for

pytestmark = pytest.mark.filterwarnings("ignore")  # of the provider, whose thread is in this process
RULES = f"--host-resolver-rules=MAP {HOST} 127.0.0.1"
TITLE = "The wiki of the corp"
SESSION = "__Host-zt-session"
MOST_CLICKS = 5
PATIENCE = 60_000
"""Milliseconds for a page: the agent works beside it on the same machine."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program()
    with provider("tanaka") as issuing, world(tmp_path_factory.mktemp("site"), issuing) as made:
        yield made
        assert issuing.redeemed > 0 and issuing.refused == 0  # of PKCE, which it checks each time


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    with driving() as found:
        yield found


@pytest.fixture(scope="module")
def browser(driver: Playwright) -> Iterator[Browser]:
    started = launched(driver, RULES)
    yield started
    started.close()


@pytest.fixture
def person(browser: Browser, site: World) -> Iterator[BrowserContext]:
    """A fresh browser of somebody whose provider says that she used two factors."""
    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    with profile(browser, language="en") as context:
        yield context


def at_the_provider(page: Page, person: str = "tanaka") -> None:
    """Sign in where the provider asks who it is."""
    page.fill("input[name=sub]", person)
    page.click("text=Authorize >> nth=-1")


def sign_in(page: Page) -> None:
    """Go the way that a refusal shows."""
    page.click("a.act")
    at_the_provider(page)


@pytest.mark.timeout(300)
def test_from_the_invitation_to_the_first_pages_behind_two_proxies_it_takes_five_clicks_one_command_and_one_prompt(
    browser: Browser, site: World, tmp_path: Path
) -> None:
    press = Clicks()
    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    site.provider.remembers = True  # as providers do: who signed in with this browser is not asked again
    try:
        with profile(browser, language="ja", permissions=["clipboard-read", "clipboard-write"]) as context:
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            prompts = Prompts(page, site.issuer)
            page.goto(site.invite("tanaka"))
            assert page.get_by_label("招待のリンクまたはコード").input_value()
            assert page.locator("h1").inner_text() == "端末登録の招待が届きました"
            press(page, "サインインして進む")
            press(page, "tanaka")  # at the provider
            page.wait_for_url("**/enroll/notice")
            press(page, "確認しました。次へ")
            command = page.get_by_label("実行するコマンド").input_value()
            press(page, "コピーして次へ")
            page.wait_for_url("**/enroll/progress/*")
            assert page.evaluate("navigator.clipboard.readText()") == command

            agent = Agent(tmp_path / "machine", command, "ja")
            tab = context.new_page()
            also = Prompts(tab, site.issuer)
            tab.goto(agent.address())  # it opens this by itself, and the provider knows who it is
            # The first page looks again by itself, and nobody presses anything.
            page.get_by_role("heading", name="端末のターミナルで、収集する情報に同意してください").wait_for()
            agent.finish()
            page.get_by_role("heading", name="接続できました。").wait_for()
            assert findings(page) == []
            progress = page.url

            page.goto(site.url("nginx"))
            press(page, "サインインする")
            assert (page.url, page.inner_text("h1")) == (site.url("nginx"), TITLE)
            page.goto(site.url("caddy"))
            assert (page.url, page.inner_text("h1")) == (site.url("caddy"), TITLE)

            assert len(press.done) <= MOST_CLICKS, press.done
            assert len(prompts.seen) == 1 and also.seen == []

            page.goto(progress)
            press(page, "再確認")
            page.get_by_text("端末からの新しい報告は、まだ届いていません").wait_for()
            agent.report()
            press(page, "再確認")
            page.get_by_text("新しい報告を確認しました").wait_for()
    finally:
        site.provider.remembers = False


@pytest.mark.timeout(300)
def test_enrolling_without_scripts_one_pastes_the_link_and_the_back_button_and_a_second_tab_lead_right(
    browser: Browser, site: World
) -> None:
    press, link = Clicks(), site.invite("tanaka")
    with profile(browser, language="en", java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(link)
        page.get_by_label("Link or code of your invitation").fill(link)
        press(page, "Sign in and go on")
        page.wait_for_url("**/oauth2/authorize*")
        assert "code=" + link.partition("code=")[2][:26] not in page.url, "the provider is not told the code"
        press(page, "tanaka")
        page.wait_for_url("**/enroll/notice")
        press(page, "I have read this. Continue")
        assert page.get_by_label("The command").input_value().startswith("zt agent enroll ")
        press(page, "Copy and continue")
        page.wait_for_url("**/enroll/progress/*")
        waiting = page.url.rstrip("?")
        page.go_back()
        assert page.url == f"{site.control}/enroll/install"
        tab = context.new_page()
        tab.goto(f"{waiting}?pause=1")
        tab.get_by_text("Refreshing is paused.").wait_for()
        tab.goto(f"{site.control}/.zt/logout")
        press(tab, "Sign out")
        page.reload()
        page.wait_for_url("**/oauth2/authorize*")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_asked_for_refused_signed_in_to_and_shown_with_one_prompt(
    person: BrowserContext, site: World, kind: str
) -> None:
    page = person.new_page()
    prompts = Prompts(page, site.issuer)

    refused = page.goto(site.url(kind, PAGE + "?a=1&b=%C3%A9"))
    assert refused is not None and refused.status == 401
    assert findings(page) == []
    sign_in(page)

    assert (page.url, page.inner_text("h1")) == (site.url(kind, PAGE + "?a=1&b=%C3%A9"), TITLE)
    page.goto(site.url(kind, "/pages/other"))
    page.reload()
    assert page.inner_text("h1") == TITLE
    assert len(prompts.seen) == 1
    cookies = {cookie["name"]: cookie for cookie in person.cookies()}
    assert cookies[SESSION]["httpOnly"] and cookies[SESSION]["secure"] and cookies[SESSION]["sameSite"] == "Lax"


def test_a_step_up_asks_for_what_is_missing_once_and_returns_to_the_page_asked_for(
    person: BrowserContext, site: World
) -> None:
    site.says("tanaka", amr=["pwd"], acr="pwd")
    page = person.new_page()
    prompts = Prompts(page, site.issuer)
    page.goto(site.url("caddy", PAGE + "?page=2"))
    sign_in(page)
    assert page.inner_text("#code") == "MFA_REQUIRED"
    assert findings(page) == []

    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    page.click("a.act")
    asked = parse_qs(urlsplit(page.url).query)
    at_the_provider(page)

    assert (page.url, page.inner_text("h1")) == (site.url("caddy", PAGE + "?page=2"), TITLE)
    assert asked["acr_values"] == ["mfa"]
    assert len(prompts.seen) == 2  # one for each level


def test_a_step_up_that_comes_back_without_what_was_asked_for_ends_at_a_page_not_in_circles_and_then_returns(
    person: BrowserContext, site: World
) -> None:
    site.says("tanaka", amr=["pwd"])  # and no `acr` at all
    page = person.new_page()
    prompts = Prompts(page, site.issuer)
    page.goto(site.url("nginx", PAGE + "?page=2"))
    sign_in(page)
    assert page.inner_text("#code") == "MFA_REQUIRED"
    sign_in(page)

    assert page.inner_text("#code") == "SIGN_IN_UNMET" and findings(page) == []
    screenshot(page, "sign-in-unmet-en")
    assert "help desk" in page.inner_text("main") and len(prompts.seen) == 2
    assert "sign_in.step_up_unmet" in site.said("sidecar")

    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    sign_in(page)  # its link leads to the very page
    assert (page.url, page.inner_text("h1")) == (site.url("nginx", PAGE + "?page=2"), TITLE)


def test_a_key_registered_in_the_browser_is_the_step_up_behind_both_proxies_and_nobody_is_asked_for_more(
    person: BrowserContext, site: World
) -> None:
    site.says("tanaka", amr=["pwd"], acr="pwd", auth_time=int(time.time()))
    page = person.new_page()
    prompts = Prompts(page, site.issuer)
    with_key = person.new_cdp_session(page)
    with_key.send("WebAuthn.enable")
    with_key.send("WebAuthn.addVirtualAuthenticator", {"options": PLATFORM_KEY})
    page.goto(f"{site.control}/my/keys/new")
    at_the_provider(page)
    page.get_by_label("Name of the key").fill("My laptop")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("status").get_by_text("registered").wait_for()

    page.goto(site.url("nginx"))
    sign_in(page)
    assert page.inner_text("#code") == "MFA_REQUIRED"
    page.click("a.act")
    page.wait_for_url(f"{site.control}/step-up/*")
    assert findings(page) == []
    page.get_by_role("button").first.click()
    page.wait_for_url(site.url("nginx"))

    assert page.inner_text("h1") == TITLE
    page.goto(site.url("caddy"))
    assert page.inner_text("h1") == TITLE
    assert len(prompts.seen) == 2  # one at each of the two hosts; the key is no prompt of the provider


def test_signing_out_ends_it_for_the_next_request_and_the_next_person_is_asked(
    person: BrowserContext, site: World
) -> None:
    page = person.new_page()
    page.goto(site.url("nginx"))
    sign_in(page)

    page.goto(site.url("nginx", "/.zt/logout"))
    assert findings(page) == []
    page.click("button")

    assert "signed out" in page.inner_text("h1").lower() and findings(page) == []
    answer = page.goto(site.url("nginx"))
    assert answer is not None and answer.status == 401


ELSEWHERE = ("//evil.example/", "https://evil.example/", "/\\evil.example", "/%09/evil.example", "javascript:alert(1)")


def test_no_link_to_sign_in_leads_to_another_site(person: BrowserContext, site: World) -> None:
    page = person.new_page()
    prompts = Prompts(page, site.issuer)

    for to in ELSEWHERE:
        answer = page.goto(site.url("nginx", "/.zt/login?to=") + to)
        assert answer is not None
        if answer.url.startswith(site.issuer):
            at_the_provider(page)
        assert urlsplit(page.url).hostname == HOST

    assert not [url for url in prompts.sent if "evil.example" in str(urlsplit(url).hostname)]


def test_without_cookies_there_is_a_page_that_says_so_and_no_loop(
    driver: Playwright, site: World, tmp_path: Path
) -> None:
    settings = tmp_path / "Default" / "Preferences"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"profile": {"default_content_setting_values": {"cookies": 2}}}))
    context = driver.chromium.launch_persistent_context(
        tmp_path, executable_path=program(), args=[*ARGUMENTS, RULES], ignore_https_errors=True, locale="en-GB"
    )
    try:
        page = context.new_page()
        prompts = Prompts(page, site.issuer)
        page.goto(site.url("caddy"))
        sign_in(page)

        assert page.inner_text("#code") == "SIGN_IN_BROWSER"
        assert "cookie" in page.inner_text("main").lower()
        assert len(prompts.seen) == 1 and len(prompts.sent) <= 6, prompts.sent
        assert context.cookies(site.url("caddy")) == []
    finally:
        context.close()


def test_without_javascript_and_without_a_mouse_everything_is_the_same(browser: Browser, site: World) -> None:
    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    with profile(browser, language="ja", java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(site.url("caddy"))
        press_what_comes_first(page)
        at_the_provider(page)
        assert page.inner_text("h1") == TITLE
        page.goto(site.url("caddy", "/.zt/logout"))
        press_what_comes_first(page)

        page.get_by_role("heading", name="サインアウトしました").wait_for()


def press_what_comes_first(page: Page) -> None:
    """By the keyboard: what a page is for comes before everything else that could be pressed."""
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def test_two_tabs_sign_in_at_once_and_both_come_back_to_their_page(person: BrowserContext, site: World) -> None:
    one, two = person.new_page(), person.new_page()
    for page, name in ((one, "a"), (two, "b")):
        page.goto(site.url("nginx", f"/pages/{name}"))
        page.click("a.act")
    at_the_provider(one)
    at_the_provider(two)

    assert [page.url for page in (one, two)] == [site.url("nginx", f"/pages/{name}") for name in "ab"]
    assert [page.inner_text("h1") for page in (one, two)] == [TITLE, TITLE]
    one.reload()
    assert one.inner_text("h1") == TITLE


def test_the_back_button_leads_to_a_page_that_leads_on(person: BrowserContext, site: World) -> None:
    page = person.new_page()
    page.goto(site.url("nginx"))
    page.click("a.act")
    with page.expect_request(lambda asked: "/.zt/callback" in asked.url) as used:
        at_the_provider(page)
    assert page.inner_text("h1") == TITLE

    page.goto(used.value.url)  # what the history, or a form that was sent twice, asks for

    assert page.locator("h1").inner_text() == "You are signed in." and findings(page) == []
    page.go_back()
    assert page.inner_text("h1") == TITLE


def test_a_page_full_of_scripts_without_a_session_is_told_where_to_sign_in_and_given_no_cookie(
    person: BrowserContext, site: World
) -> None:
    page = person.new_page()
    page.goto(site.url("nginx"))
    sign_in(page)
    assert page.inner_text("h1") == TITLE
    person.clear_cookies()  # the session is over while the page stands
    answers = page.evaluate(
        """() => Promise.all([...Array(40).keys()].map(async n => {
            const a = await fetch(`/pages/${n}`, {headers: {Accept: 'application/json'}});
            return [a.status, (await a.json()).sign_in];
        }))"""
    )

    assert {status for status, _ in answers} == {401}
    assert {urlsplit(where).path for _, where in answers} == {"/.zt/login"}
    assert person.cookies() == []


PLATFORM_KEY = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip
SCENES = (("deny-sign-in", ()), ("step-up", ("pwd",)), ("deny-label", ("pwd", "otp")))
"""A picture, and by what somebody signed in before: nobody did, with too little, with enough for other pages."""


LOOKS = (("", DESKTOP, "light"), ("-dark", DESKTOP, "dark"), ("-phone", PHONE, "light"))


@pytest.mark.parametrize("language", ["ja", "en"])
def test_refusals_keep_nobody_out_in_any_size_or_colour(browser: Browser, site: World, language: str) -> None:
    for name, factors in SCENES:
        target = "/projects/eagle/plan" if name == "deny-label" else PAGE
        with profile(browser, language=language) as context:
            page = context.new_page()
            page.goto(site.url("caddy", target))
            if factors:
                site.says("tanaka", amr=list(factors), acr="mfa" if len(factors) > 1 else "pwd")
                sign_in(page)
            for suffix, size, scheme in LOOKS:
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.set_viewport_size({**size})  # type: ignore[typeddict-item]
                if size is DESKTOP:
                    assert findings(page) == [], name
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                screenshot(page, f"{name}-{language}{suffix}")
            page.set_viewport_size({"width": 320, "height": 640})  # a screen of 1280 pixels at 400 %
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_what_is_not_there_and_what_is_not_for_her_look_the_same_but_for_the_number(
    person: BrowserContext, site: World
) -> None:
    page = person.new_page()
    page.goto(site.url("nginx"))
    sign_in(page)
    shown = []
    for project in ("eagle", "nowhere"):
        answer = page.goto(site.url("nginx", f"/projects/{project}/plan"))
        assert answer is not None and answer.status == 403
        number = page.inner_text("#decision")
        names = {name: value for name, value in answer.headers.items() if name not in {"date", "zt-decision"}}
        shown.append((answer.body().replace(number.encode(), b"N"), names))

    assert shown[0] == shown[1]


def test_a_loss_ends_what_may_be_open_on_the_device_at_each_browser_s_next_request_and_nobody_else_s(
    browser: Browser, site: World
) -> None:
    site.register("suzuki", groups=["staff"])
    site.lend("laptop-9", "tanaka")
    site.says("suzuki", amr=["pwd", "otp"], acr="mfa")
    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    with (
        profile(browser) as one,
        profile(browser, viewport=PHONE) as two,
        profile(browser) as stranger,
        profile(browser, language="en", viewport=PHONE) as reporter,
    ):
        opened = []
        for context, person, kind in (
            (one, "tanaka", "nginx"),
            (two, "tanaka", "caddy"),
            (stranger, "suzuki", "nginx"),
        ):
            page = context.new_page()
            page.goto(site.url(kind))
            page.click("a.act")
            at_the_provider(page, person)
            assert page.inner_text("h1") == TITLE
            opened.append(page)

        report = reporter.new_page()  # from any other device
        report.goto(f"{site.control}/my/devices/laptop-9/lost")
        at_the_provider(report)
        report.get_by_role("button", name="Report it lost").click()
        report.get_by_role("heading", name="This device is reported lost").wait_for()

        def status(page: Page) -> int:
            answer = page.reload()
            return 0 if answer is None else answer.status

        wait_for(lambda: [status(page) for page in opened] == [401, 401, 200], "the refusals")
        report.reload()  # who reported it is not signed out
        report.get_by_role("heading", name="This device is reported lost").wait_for()


def test_a_managed_browser_shows_its_device_without_a_question_and_its_session_opens_nothing_elsewhere(
    driver: Playwright, browser: Browser, site: World, tmp_path: Path
) -> None:
    site.says("tanaka", amr=["pwd", "otp"], acr="mfa")
    device, issuer = site.device("laptop-1")
    site.lend("laptop-1", "tanaka", x5t=device.x5t)
    origin = site.url("nginx", "")
    chromium = managed(tmp_path, certificate=device.pem, key=device.key_pem, issuer=issuer, origin=origin)
    own = driver.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, RULES])
    try:
        with profile(own, language="en") as context:
            page = context.new_page()
            prompts = Prompts(page, site.issuer)
            page.goto(site.url("nginx"))  # a dialog would be answered by nobody, and this would never come to its end
            sign_in(page)
            assert (page.url, page.inner_text("h1")) == (site.url("nginx"), TITLE)
            assert len(prompts.seen) == 1
            assert site.backend.received[-1].values("zt-device") == [b"laptop-1"]
            stolen = context.cookies()
    finally:
        own.close()

    with profile(browser, language="en") as thief:
        thief.add_cookies(stolen)  # type: ignore[arg-type]
        page = thief.new_page()
        answer = page.goto(site.url("nginx"))
        assert answer is not None and answer.status == 401
        assert page.inner_text("#code") == "SESSION_DEVICE"
