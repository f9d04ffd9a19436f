"""The two pages about enrollment say the same, and of every code exactly what the person who gets it is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from zt_engine.config.control import Enrollment
from zt_engine.pages.registry import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"en": ROOT / "docs" / "enrollment.md", "ja": ROOT / "docs" / "enrollment.ja.md"}
OWN = ROOT / "zt_engine" / "pages" / "codes" / "enrollment.toml"


def rows(language: str) -> dict[str, tuple[str, str]]:
    """Code -> what is wrong, what to do, as a page has it."""
    found = re.findall(r"^\| `([A-Z_]+)` \| (.*) \| (.*) \|$", PAGES[language].read_text("utf-8"), re.MULTILINE)
    return {code: (text, remedy) for code, text, remedy in found}


@pytest.mark.parametrize("language", PAGES)
def test_every_code_has_the_text_and_the_remedy_that_people_are_shown(language: str) -> None:
    known = registry()
    wrong = {
        code: said
        for code, said in rows(language).items()
        if said != (known[code].text(language), known[code].hint(language))
    }

    assert wrong == {}


def test_no_code_of_an_enrollment_is_left_out() -> None:
    own = set(tomllib.loads(OWN.read_text("utf-8")))

    assert own - rows("en").keys() == set()
    assert list(rows("en")) == list(rows("ja"))


def test_both_pages_have_the_same_sections_tables_and_commands() -> None:
    en, ja = (PAGES[language].read_text("utf-8") for language in ("en", "ja"))

    for pattern in (r"^#+ ", r"^\|", r"^\$ zt [a-z]+ [a-z]+(?: [a-z]+)?"):
        assert re.findall(pattern, en, re.MULTILINE) == re.findall(pattern, ja, re.MULTILINE)


@pytest.mark.parametrize("language", PAGES)
def test_what_sets_an_enrollment_up_is_whole_and_names_where_the_agent_is_sent_back_to(language: str) -> None:
    page = PAGES[language].read_text("utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    enrollment = Enrollment.model_validate(tomllib.loads(block)["enrollment"])

    assert (enrollment.issuer, enrollment.client_id) == ("https://idp.example", "zt-agent")
    assert "`http://127.0.0.1/callback`" in page
    assert page.index("export ZT_CONFIG=") < page.index("$ zt device invite")


def test_every_remedy_says_what_to_do() -> None:
    assert [code for code, (_, remedy) in rows("en").items() if not remedy] == []
