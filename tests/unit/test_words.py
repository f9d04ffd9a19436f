"""How people are spoken to: politely in Japanese, in whole sentences in English, and without blame in either."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import zt_engine.pages
from zt_engine.pages.book import PageBook
from zt_engine.pages.registry import registry

ROOT = Path(__file__).resolve().parents[2]
POLITE = re.compile(
    r"(?:です|ます|ません|ました|でした|ください|ましょう|でしょうか|ますか)(?:（[^）]*）)?(?:: [ -~]+)?"
)
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
BEGINS = re.compile(r"[A-Z`{0-9]|(?:zt|nginx|trust\.yaml|python-pkcs11)\b|docs/")
"""A capital, or a name that has none."""
BLAME = {
    "ja": re.compile(r"あなたの(?:せい|責任|ミス)|違反|間違え|怠|してはいけません|不正な(?:操作|ユーザー)"),
    "en": re.compile(
        r"\b(?:you failed|your (?:fault|mistake|error)|illegal|violat\w*|invalid user|you should have|you forgot"
        r"|forbidden|!)",
        re.IGNORECASE,
    ),
}


def spoken() -> Iterator[tuple[str, str, str]]:
    """Every text of a code, of the engine and of the packs: its language, where it stands, and what it says."""
    packs: list[Mapping[str, Mapping[str, str]]] = [
        YAML(typ="safe").load(path.read_text(encoding="utf-8")) for path in (ROOT / "policies").glob("*/reasons.yaml")
    ]
    texts = {name: {"ja": code.ja, "en": code.en, "hint_ja": code.hint_ja, "hint_en": code.hint_en}
             for name, code in registry().items()}  # fmt: skip
    for one in (texts, *packs):
        for name, said in one.items():
            for member, text in said.items():
                language = member.removeprefix("hint_")
                if language in BLAME and text:
                    yield language, f"{name}.{member}", text


def test_japanese_ends_every_sentence_politely() -> None:
    rude = [
        (where, sentence)
        for language, where, text in spoken()
        if language == "ja"
        for sentence in re.split(r"。(?![^（]*）)", text)
        if sentence.strip() and not re.search(POLITE.pattern + "$", sentence.strip())
    ]

    assert rude == []


def test_the_pages_speak_like_that_too() -> None:
    """A label or a button is no sentence; what ends like one is. A list of what to tell ends its items in か."""
    sentences = [
        (module, sentence)
        for module, text in written()
        if JAPANESE.search(text)
        for sentence in re.findall(r"[^。]+(?=。(?![^（]*）))", text)
    ]
    rude = [one for one in sentences if not re.search(POLITE.pattern + "$|[たるい]か$", one[1].strip())]
    blaming = [
        (module, text) for module, text in written() if BLAME["ja" if JAPANESE.search(text) else "en"].search(text)
    ]

    assert len(sentences) > 400
    assert (rude, blaming) == ([], [])


def written() -> Iterator[tuple[str, str]]:
    """Every text of a page, and in which module it stands."""
    for module in pkgutil.iter_modules(zt_engine.pages.__path__):
        if not module.ispkg:
            for value in vars(importlib.import_module(f"zt_engine.pages.{module.name}")).values():
                yield from ((module.name, text) for text in texts_of(value))


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from (one,) if isinstance(one, str) else texts_of(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from (one,) if isinstance(one, str) else texts_of(one)


def test_english_is_whole_sentences() -> None:
    broken = [
        (where, text)
        for language, where, text in spoken()
        if language == "en" and not (text.rstrip("`").endswith((".", "?")) and BEGINS.match(text))
    ]

    assert [one for one in broken if ": " not in one[1]] == []


def test_nobody_is_blamed() -> None:
    assert [(where, text) for language, where, text in spoken() if BLAME[language].search(text)] == []


@pytest.mark.parametrize("kind", ["ok", "wait", "warn", "stop"])
def test_no_state_is_told_by_its_colour_alone(kind: str) -> None:
    """Each badge has words, and a shape of its own."""
    badge = PageBook("ja", organisation="")._environment.from_string(
        '{% import "parts.html" as parts %}{{ parts.badge(kind, "words") }}'
    )
    shapes = {one: re.sub(r"class=\"[^\"]*\"", "", badge.render(kind=one)) for one in ("ok", "wait", "warn", "stop")}

    assert "words" in shapes[kind] and "<svg" in shapes[kind]
    assert sum(shape == shapes[kind] for shape in shapes.values()) == 1
