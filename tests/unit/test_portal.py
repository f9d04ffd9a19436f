"""People's pages: every answer is one in their language with all its headers, whatever somebody calls a thing."""

from __future__ import annotations

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from tests.control_support import TENANT, URL, Control, a_device
from tests.portal_support import ISSUER, PortalOffice
from tests.portal_support import office as office
from tests.portal_support import shared as shared
from zt_engine.adapters.admin_keys import ClaimedRoles
from zt_engine.bootstrap.installation import Choices, configuration
from zt_engine.config.control import Control as ControlSection
from zt_engine.control_plane.portal.parts import NoRoles
from zt_engine.pages import portal as texts
from zt_engine.pages.book import PageBook
from zt_engine.pages.registry import registry

# -- forms

LOST = "/my/devices/laptop-1/lost"


# -- pages


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/my", 200), ("/my/devices/laptop-1", 200), (LOST, 200), ("/my/devices/none", 404), ("/none", 404),
     ("/.zt/logout", 200), ("/my/devices/%00", 422), ("/.zt/login?max_age=x", 422), ("/v1/lost", 405)],
)  # fmt: skip
def test_every_answer_to_a_person_is_a_page_with_all_its_headers(shared: PortalOffice, path: str, status: int) -> None:
    answer = shared.browser("tanaka").once("GET", path)

    assert answer.status_code == status, answer.text
    headers = answer.headers
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert (headers["referrer-policy"], headers["content-language"]) == ("same-origin", "en")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["strict-transport-security"]
    assert "Ministry of Tests" in answer.text
    assert "03-0000-0000 (help desk)" in answer.text
    assert '<html lang="en">' in answer.text


def test_programs_get_problems_and_never_pages(shared: PortalOffice) -> None:
    for path, status in (("/none", 404), ("/v1/devices", 401)):
        answer = shared.control.call("GET", path, who=None, accept="application/json")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_where_nobody_signs_in_with_a_browser_there_are_no_pages() -> None:
    with Control() as control:
        for path in ("/", "/my", "/.zt/login"):
            answer = control.call("GET", path, who=None, accept="text/html")
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_failure_of_ours_is_a_page_that_says_nothing_of_it(
    shared: PortalOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = shared.browser("tanaka")
    monkeypatch.setattr("zt_engine.control_plane.shell.log", Silent())
    monkeypatch.setattr(PageBook, "render", once_failing(PageBook.render))

    answer = browser.once("GET", "/")

    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "Something unforeseen went wrong" in answer.text


class Silent:
    """A log that nobody reads."""

    def exception(self, *_: object, **__: object) -> None:
        pass


def once_failing(render: Any) -> Any:
    failed = []

    def broken(*args: Any, **values: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("a secret of ours")
        return render(*args, **values)

    return broken


def test_the_language_is_what_was_chosen_else_what_the_browser_asks_for_else_the_settings(
    shared: PortalOffice,
) -> None:
    browser = shared.browser("tanaka", language="ja")
    assert browser.once("GET", "/").headers["content-language"] == "ja"
    assert browser.once("GET", "/", accept_language="fr").headers["content-language"] == "en"

    chosen = browser.once("GET", "/?lang=en")
    assert chosen.headers["content-language"] == "en"
    assert browser.cookies["zt-lang"] == "en"
    assert browser.once("GET", "/none").headers["content-language"] == "en"
    assert browser.once("GET", "/?lang=fr", cookie="").headers["location"].startswith("/.zt/login")


def test_who_has_a_role_by_the_claims_of_the_right_issuer_sees_the_desk(shared: PortalOffice) -> None:
    assert 'href="/desk"' in shared.browser("sato", roles=("approver",)).get("/").text
    assert 'href="/desk"' not in shared.browser("tanaka").get("/").text
    roles = ClaimedRoles(ISSUER, claim="roles", roles={"owner": ("own",)})
    assert roles.role(ISSUER, {"roles": ["own"]}) == "owner"
    assert roles.role("https://other.example", {"roles": ["own"]}) is None
    assert ClaimedRoles("", claim="roles", roles={"owner": ("own",)}).role(ISSUER, {"roles": ["own"]}) is None
    assert NoRoles().role(ISSUER, {"roles": ["own"]}) is None


# -- texts


class Tags(HTMLParser):
    """What a page is made of, without its words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *sorted(name for name, _ in attrs)))


def tags(page: str) -> list[tuple[str, ...]]:
    reader = Tags()
    reader.feed(page)
    return reader.found


HARD = ["𠮷田󠄀", "\u202eלכ", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "x" * 512, "{{ 7 * 7 }}"]


@pytest.mark.parametrize("name", HARD)
def test_a_name_is_text_whatever_stands_in_it(shared: PortalOffice, name: str) -> None:
    device = f"odd-{HARD.index(name)}"
    shared.control.put(a_device(device, name="plain", reason="plain"))
    browser = shared.browser("tanaka")
    plain = tags(browser.get(f"/my/devices/{device}").text)

    with shared.control.store.writing(TENANT) as tx:
        tx.devices.put(a_device(device, name=name, reason=name, model=name, version=2))
    odd = browser.get(f"/my/devices/{device}").text

    assert [tag for tag in tags(odd) if tag[0] in ("script", "img")] == []
    assert len(tags(odd)) <= len(plain) + 6  # the model has a row of its own
    assert name != "{{ 7 * 7 }}" or name in browser.text
    assert "\u202e" not in odd


@pytest.mark.parametrize("name", HARD)
def test_a_person_s_own_name_is_text_on_every_page_as_well(shared: PortalOffice, name: str) -> None:
    """It stands at the foot of each; the provider says it, and so whoever chose it there."""
    person = name.replace("|", "")[:255]
    browser, plain = shared.browser(person), tags(shared.browser("plain").get("/my").text)

    for path in ("/my", "/"):
        page = browser.get(path)
        assert page.status_code == 200 and f"<bdi>{escape(person)}</bdi>" in page.text
    assert tags(browser.get("/my").text) == plain


def test_every_text_is_there_in_both_languages() -> None:
    for held in (texts.BASE, texts.HOME, texts.MESSAGE, texts.SIGNED_OUT):
        assert held["ja"].keys() == held["en"].keys()
    assert set(texts.PLAIN) <= set(registry())
    for code in ("FORM_STALE", "REQUEST_NOT_FOUND", "SIGN_IN_COOKIES"):
        assert all(all(texts.told(code, language)) for language in ("ja", "en"))
    assert texts.told("NO_SUCH", "en") == ("NO_SUCH", texts.MESSAGE["en"]["fallback"])


def test_the_settings_that_the_docs_show_go_into_the_table_that_init_wrote() -> None:
    page = Path(__file__).parents[2] / "docs" / "portal.md"
    shown = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)

    written = configuration(Choices(pack="corp", control_listen="127.0.0.1:9443"), "bundle-1")
    merged = written.replace('listen = "127.0.0.1:9443"\n', shown[0].removeprefix("[control]\n"))

    control = ControlSection(**tomllib.loads(merged)["control"])
    assert (control.organisation, control.public_url) == ("○○省", f"{URL}:9443")
    assert control.listen.endswith(":9443"), "the URL has the port that is listened at"
