"""The refusal for a person and for a program: languages, negotiation, access for everybody, and nothing leaked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hook_support import header, status
from zt_engine.pages.denied import HTML, PROBLEM, TEXTS, DeniedPage, language_of, spoken_by, wants_page, weights
from zt_engine.pages.registry import Code, registry
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.pages import PATH, DeniedPages

PAGE = DeniedPage(registry(), default_language="ja", help_url="https://help.example/zt?a=1&b=2")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def page(
    code: str = "REPORT_NOW",
    *,
    language: str = "ja",
    accept: str = BROWSER,
    of: DeniedPage = PAGE,
    decision: str = "d-7",
):
    return of.render(code=code, decision=decision, status=403, accept=accept, accept_language=language)


@pytest.mark.parametrize(
    ("language", "numbered", "coded"),
    [("ja", "上の番号を", "上の理由コードを"), ("en", "what stands above", "the reason code above")],
)
def test_the_help_desk_is_told_the_reason_where_no_decision_has_a_number(
    language: str, numbered: str, coded: str
) -> None:
    with_number = page("SIGN_IN_PROVIDER", language=language).body.decode()
    without = page("SIGN_IN_PROVIDER", language=language, decision="").body.decode()

    assert (numbered in with_number, coded in with_number) == (True, False)
    assert (numbered in without, coded in without) == (False, True)


# -- which form


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML;charset=utf-8", True),
        ("application/json, text/html", True),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("application/json, text/html;q=0.9", False),
        ("application/problem+json", False),
        ("text/html;q=0", False),
        ("*/*", False),
        ("image/avif,image/webp,*/*;q=0.8", False),
        ("", False),
        ("text/html;q=banana", False),
    ],
)
def test_a_browser_gets_a_page_and_a_program_gets_json(accept: str, html: bool) -> None:
    assert wants_page(accept) is html
    assert page(accept=accept).content_type == (HTML if html else PROBLEM)


@pytest.mark.parametrize(
    ("header_value", "language"),
    [
        ("ja", "ja"),
        ("en-GB,en;q=0.9", "en"),
        ("de, en;q=0.5, ja;q=0.4", "en"),
        ("en;q=0.3, ja;q=0.8", "ja"),
        ("JA-jp", "ja"),
        ("fr", "ja"),
        ("", "ja"),
        ("*", "ja"),
        ("en;q=0", "ja"),
        ("en;q=x, ja;q=-1", "ja"),
    ],
)
def test_the_language_is_the_one_a_person_asks_for_first(header_value: str, language: str) -> None:
    assert language_of(header_value, default="ja") == language


@given(st.text(max_size=200))
def test_no_accept_header_breaks_the_page(text: str) -> None:
    weights(text)

    assert page(accept=text, language=text).body


# -- what it says


@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_code_has_text_and_a_next_step(language: str) -> None:
    problems = [json.loads(page(code, language=language, accept="application/json").body) for code in registry()]

    assert [p["code"] for p in problems if not (p["title"] and p["detail"])] == []
    assert [p["title"] for p in problems] == [code.text(language) for code in registry().values()]


def test_both_languages_have_the_same_words() -> None:
    assert TEXTS["ja"].keys() == TEXTS["en"].keys()


def test_the_problem_has_exactly_these_members() -> None:
    problem = json.loads(page(accept="application/json", language="en").body)

    assert problem == {
        "type": "urn:zt:reason:REPORT_NOW",
        "title": "The present state of the device is not known.",
        "status": 403,
        "detail": "Send a fresh device report.",
        "code": "REPORT_NOW",
        "decision": "d-7",
    }


@pytest.mark.parametrize("accept", [BROWSER, "application/json"])
def test_an_unknown_code_is_not_shown(accept: str) -> None:
    body = page("ZZ_INTERNAL_DETAIL", accept=accept).body

    assert b"ZZ_INTERNAL_DETAIL" not in body
    assert b"DENIED" in body


def test_a_command_for_operators_is_not_shown_to_a_person() -> None:
    assert b"zt policy test" not in page("LAYER_MALFORMED").body
    own = DeniedPage({"X": Code(kind="device", ja="あ", en="a", command="zt agent <report>")}, default_language="en")
    assert b"zt agent &lt;report&gt;" in page("X", of=own).body


@given(st.text(alphabet="<>&\"'/aあ{}%", max_size=30))
def test_no_text_becomes_markup(text: str) -> None:
    own = DeniedPage({"X": Code(kind="none", ja=text, en=text, hint_ja=text, hint_en=text)}, default_language="ja")

    tags = Tags(page("X", of=own, decision="d").body)

    assert (
        tags.names
        == Tags(page("X", of=DeniedPage({"X": Code(kind="none", ja="a", en="a")}, default_language="ja")).body).names
    )


# -- for everybody


class Tags(HTMLParser):
    """The elements of a page in order, with their attributes."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.append((tag, dict(attrs)))


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("code", ["TOKEN_EXPIRED", "REPORT_NOW", "CERT_UNVERIFIED", "TRUST_LOW", "PATH_AMBIGUOUS"])
def test_the_page_has_one_heading_landmarks_and_its_language(code: str, language: str) -> None:
    tags = Tags(page(code, language=language).body)
    attributes = dict(tags.attributes)

    assert attributes["html"] == {"lang": language}
    assert attributes["details"] == {"lang": "en" if language == "ja" else "ja"}
    assert [tags.names.count(name) for name in ("main", "h1", "h2", "title", "summary")] == [1, 1, 1, 1, 1]
    assert attributes["section"] == {"aria-labelledby": "next"} and attributes["h2"] == {"id": "next"}
    assert attributes["svg"]["aria-hidden"] == "true"
    assert "maximum-scale" not in (attributes["meta"].get("content") or "")


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_page_has_whom_to_ask_and_the_numbers_to_tell_them_each_selected_as_one(language: str) -> None:
    body = page(language=language, decision="d-7-42").body.decode()
    asked = TEXTS[language]["help"]

    assert re.findall(r'<code id="(\w+)">([^<]*)</code>', body) == [("decision", "d-7-42"), ("code", "REPORT_NOW")]
    assert f'{asked} <a href="https://help.example/zt?a=1&amp;b=2">' in body
    assert re.search(r"dd code \{[^}]*user-select: all", body)


def test_the_page_runs_nothing_fetches_nothing_and_sends_nothing() -> None:
    tags = Tags(page().body)
    attributes = [name for _, given_ in tags.attributes for name in given_]

    assert set(tags.names).isdisjoint({"script", "img", "link", "iframe", "form", "object", "embed", "base"})
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
    assert b"url(" not in page().body and b"@import" not in page().body


def test_the_policy_allows_exactly_the_style_of_the_page() -> None:
    style = re.search(rb"<style>(.*?)</style>", page().body, re.DOTALL)

    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in PAGE.security_policy
    assert "unsafe" not in PAGE.security_policy


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aaa_or_aa(scheme: int) -> None:
    found = re.findall(rb"--(\w+): (#[0-9a-f]{6})", page().body)
    colours = {name.decode(): value.decode() for name, value in found[scheme * 7 : scheme * 7 + 7]}

    def contrast(a: str, b: str) -> float:
        light, dark = sorted((luminance(colours[a]), luminance(colours[b])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    assert len(colours) == 7
    for ground in ("paper", "panel"):
        assert contrast("ink", ground) >= 7
        assert contrast("soft", ground) >= 4.5
        assert contrast("mark", ground) >= 4.5
    assert contrast("mark", "tint") >= 4.5


# -- as an answer

KEY = b"0123456789abcdef"
PAGES = DeniedPages(
    PAGE, Credentials([Credential(name="p", hook="nginx", channel="open", proof="key", key_digests=(key_digest(KEY),))])
)


def answer(**headers: bytes) -> bytes:
    sent = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    sent.setdefault(b"Zt-Pep-Key", KEY)
    return PAGES(PATH, {**sent, b"": b""}, tuple(sent), None) or b""


def test_the_page_keeps_the_status_of_the_decision() -> None:
    refused = answer(Zt_Reason=b"TRUST_LOW", Zt_Decision=b"d-7", Accept=b"text/html")
    challenged = answer(Zt_Reason=b"TOKEN_EXPIRED", Zt_Challenge=b'Bearer error="invalid_token"')

    assert status(refused) == 403 and header(refused, "www-authenticate") == []
    assert status(challenged) == 401
    assert header(challenged, "www-authenticate") == [b'Bearer error="invalid_token"']
    assert header(refused, "cache-control") == [b"no-store"]
    assert header(refused, "zt-reason") == [b"TRUST_LOW"]
    assert header(refused, "vary") == [b"Accept, Accept-Language"]


@pytest.mark.parametrize("key", [b"", b"wrong"])
def test_the_page_is_for_proxies_only(key: bytes) -> None:
    assert status(answer(Zt_Pep_Key=key)) == 401


@pytest.mark.parametrize("value", [b"<script>", b"a\r\nSet-Cookie: x", b"\xff", b"a" * 100, b"A\x00"])
def test_odd_values_of_a_proxy_are_not_repeated(value: bytes) -> None:
    sent = answer(Zt_Reason=value, Zt_Decision=value, Zt_Challenge=value, Accept=b"text/html")

    assert b"Set-Cookie" not in sent and b"<script>" not in sent.partition(b"\r\n\r\n")[2]
    assert header(sent, "zt-reason") == header(sent, "zt-decision") == [b""]


def test_another_path_is_not_the_page() -> None:
    assert PAGES(PATH + b"/", {}, (), None) is None


def test_however_long_a_browser_s_list_is_the_person_s_own_language_is_read_behind_it() -> None:
    assert language_of(spoken_by("fr," * 1000, "en-US"), default="ja") == "en"
    assert language_of(spoken_by("fr, ja;q=0.1", "en-US"), default="en") == "ja"
