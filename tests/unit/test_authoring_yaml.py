"""YAML that people write is read strictly, as JSON would be, and every value knows its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.authoring.yaml_text import as_json, read_yaml
from zt_engine.core.bundle_hash import Number
from zt_engine.core.errors import ConfigError


def read(text: str) -> object:
    return read_yaml(text, where="f.yaml", code="BAD").value


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.code, caught.value.where


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -1.5", {"a": -1.5}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: no", {"a": "no"}),
        ("a: yes", {"a": "yes"}),
        ("a: true", {"a": True}),
        ("a: 'true'", {"a": "true"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 0o17", {"a": "0o17"}),
        ("a: 0x10", {"a": "0x10"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: 2026-11-20T10:00:00+09:00", {"a": "2026-11-20T10:00:00+09:00"}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("", None),
    ],
)
def test_values_are_what_json_would_know(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: [", "f.yaml:2"),
        ("a: 1\nb:\n  c: 2\n  c: 3", "f.yaml:4"),
        ("a: 1\nb: !!python/object:os.system {}", "f.yaml:2"),
        ("a: 1\nb: !secret x", "f.yaml:2"),
        ("base: &b {x: 1}\nc:\n  <<: *b", "f.yaml:3"),
        ("a: 1\n? [b]\n: 2", "f.yaml:2"),
        ("a: 1\n---\nb: 2", "f.yaml:2"),
        ("a: 1\n\tb: 2", "f.yaml:2"),
        ("a: " + "[" * 100 + "]" * 100, "f.yaml:1"),
    ],
)
def test_what_has_no_one_meaning_is_refused_at_its_line(text: str, where: str) -> None:
    assert refusal(text) == ("BAD", where)


def test_aliases_that_grow_without_end_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]

    assert refusal("\n".join(lines))[0] == "BAD"


def test_a_place_is_the_nearest_line_that_is_known() -> None:
    document = read_yaml("a:\n  - b: 1\n  - c: 2\n", where="f.yaml", code="BAD")

    assert document.at("a", 1, "c") == "f.yaml:3"
    assert document.at("a", 1, "missing", "deeper") == "f.yaml:3"
    assert document.at("missing") == "f.yaml:1"


def test_numbers_become_the_text_a_bundle_holds() -> None:
    assert as_json({"a": [1, 1.5, True, None, "x"]}) == {"a": [1, Number("1.5"), True, None, "x"]}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert error.code == "BAD"
