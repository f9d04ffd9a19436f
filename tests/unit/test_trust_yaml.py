"""Trust files: every fault at once, with file and line, and nothing that a typing mistake could soften."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.facts import METHODS, FreshnessRange
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.trust import reach
from zt_engine.core.trust_model import POINT

PACKS = Path(__file__).parents[2] / "policies"
GOV = (PACKS / "jp-gov/trust.yaml").read_text(encoding="utf-8")


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as refused:
        load_trust(text, where="trust.yaml")
    return refused.value.problems


def edited(old: str, new: str) -> str:
    assert GOV.count(old) >= 1, old
    return GOV.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("pack", ["jp-gov", "corp"])
def test_the_trust_files_of_the_packs_are_read(pack: str) -> None:
    model = load_trust((PACKS / pack / "trust.yaml").read_text(encoding="utf-8"), where="trust.yaml")

    assert sum(factor.weight for factor in model.device) == 100
    assert model.assurance == {name: level for name, level in model.assurance.items() if 1 <= level <= 4}
    assert all(reach(model, method) < limit * POINT for method, limit in model.ladder.items())


def test_a_trust_file_means_what_it_says() -> None:
    model = load_trust(GOV, where="trust.yaml")

    assert (model.device_weight, model.subject_weight, model.context_weight, model.slack) == (40, 40, 20, 15)
    assert [model.methods[method] for method in METHODS] == [1000, 950, 850, 400, 200]
    assert model.freshness["live"] == FreshnessRange(900, 14_400)
    assert model.authenticators["phr"] == 850
    assert model.assurance["phrh"] == 4
    assert model.context.location_values == {"headquarters": 1000, "embassies": 1000, "unlisted": 600}
    assert len(model.facts) == 13


def test_nothing_in_a_model_can_be_changed() -> None:
    model = load_trust(GOV, where="trust.yaml")

    with pytest.raises(AttributeError):
        model.slack = 100  # type: ignore[misc]
    for table in (
        model.methods,
        model.authenticators,
        model.assurance,
        model.penalties,
        model.device[0].parts[0].values,
    ):
        with pytest.raises(TypeError):
            table["x"] = 1  # type: ignore[index]


def test_weights_that_do_not_add_up_are_refused_with_the_line_of_their_pillar() -> None:
    text = edited("weight: 18", "weight: 19")

    (problem,) = problems(text)

    assert problem.code == "TRUST_WEIGHTS"
    assert problem.where == f"trust.yaml:{line_of(text, '    factors:')}"
    assert "`device` add up to 101, not 100" in problem.message


def test_the_weights_of_the_pillars_add_up_too() -> None:
    text = edited("weight: 20\n    factors:\n      behaviour", "weight: 21\n    factors:\n      behaviour")

    (problem,) = problems(text)

    assert (problem.code, problem.where) == ("TRUST_WEIGHTS", f"trust.yaml:{line_of(text, 'pillars:')}")


def test_every_fault_is_reported_at_once_in_the_order_of_its_line() -> None:
    text = GOV
    for old, new in [
        ("slack: 15", "slack: 150"),
        ("self_report: 400", "self_report: many"),
        ("fact: disk.encrypted", "fact: disk.encripted"),
        ("unlisted: 600", "unlistd: 600"),
        ("203.0.113.0/24", "203.0.113.1/24"),
    ]:
        text = text.replace(old, new, 1)

    found = problems(text)

    assert [problem.code for problem in found] == [
        "TRUST_RANGE",
        "TRUST_TYPE",
        "TRUST_FACT",
        "TRUST_MISSING_KEY",
        "TRUST_UNKNOWN_KEY",
        "TRUST_NETWORK",
    ]
    assert [problem.where for problem in found][:3] == [
        f"trust.yaml:{line_of(text, part)}" for part in ("slack: 150", "self_report: many", "fact: disk.encripted")
    ]
    assert found[2].hint == "did you mean `disk.encrypted`?"
    assert found[4].hint == "did you mean `unlisted`?"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("trust: 1", "trust: 2", "TRUST_RANGE"),
        ("slack: 15", "slak: 15", "TRUST_UNKNOWN_KEY"),
        ("slack: 15", "slack: 15.0", "TRUST_TYPE"),
        ("slack: 15", "slack: true", "TRUST_TYPE"),
        ("slack: 15", 'slack: "15"', "TRUST_TYPE"),
        ("slack: 15", "slack: 015", "TRUST_TYPE"),
        ("slack: 15", "slack:", "TRUST_TYPE"),
        ("slack: 15", "slack: [15]", "TRUST_TYPE"),
        ("mdm_server: 950", "mdm_serve: 950", "TRUST_UNKNOWN_KEY"),
        ("declared: 200", "declared: 500", "TRUST_ORDER"),
        ("self_report: 400", "self_report: 460", "TRUST_LADDER"),
        ("slack: 15", "slack: 20", "TRUST_LADDER"),
        ("full_until: 15m", "full_until: 2h", "TRUST_RANGE"),
        ("full_until: 15m", "full_until: 15 minutes", "TRUST_VALUE"),
        ("full_until: 15m", "full_untl: 15m", "TRUST_MISSING_KEY"),
        ("  feed: {full_until: 3d, void_from: 14d}\n", "", "TRUST_MISSING_KEY"),
        ("phrh: 4", "phrh: 40", "TRUST_RANGE"),
        ("phrh: 4", "phr_h: 4", "TRUST_ASSURANCE"),
        ("phrh: 1000", "phrh: 500", "TRUST_ORDER"),
        ("attested_hw: 1000, hw: 700", "attested_hw: 700, hw: 1000", "TRUST_ORDER"),
        ("attested_hw: 1000", "atested_hw: 1000", "TRUST_VALUE"),
        ("attested_hw: 1000", "attested_hw: 1001", "TRUST_RANGE"),
        ("{false: 1000, true: 0}", "{false: 0, true: 1000}", "TRUST_ORDER"),
        ("{true: 1000, false: 0}", "{yes: 1000, no: 0}", "TRUST_VALUE"),
        ("[[15, 1000], [65, 0]]", "[[65, 0], [15, 1000]]", "TRUST_ORDER"),
        ("[[15, 1000], [65, 0]]", "[[15, 0], [65, 1000]]", "TRUST_ORDER"),
        ("[[15, 1000], [65, 0]]", "[[15, 1000, 3]]", "TRUST_VALUE"),
        ("[[15, 1000], [65, 0]]", "[]", "TRUST_VALUE"),
        ("[[15, 1000], [65, 0]]", "[[15, 1000], [65, -1]]", "TRUST_RANGE"),
        ("ramp: [[15", "values: [[15", "TRUST_VALUE"),
        ("fact: mdm.enrolled", "fact: disk.encrypted", "TRUST_DUPLICATE"),
        ("fact: mdm.enrolled", "fact: mdm.vendor", "TRUST_FACT"),
        ("weight: 12", "weight: 101", "TRUST_RANGE"),
        ("method: mdm_server", "method: mdm", "TRUST_VALUE"),
        ("values: {mtls: 1000, dpop: 1000, session", "values: {mtls: 1000, dpop: 1000, sesion", "TRUST_UNKNOWN_KEY"),
        ("inside: 1000", "insight: 1000", "TRUST_UNKNOWN_KEY"),
        ("values: {normal: 1000", "values: {usual: 1000", "TRUST_MISSING_KEY"),
        ("id: headquarters", "id: unlisted", "TRUST_VALUE"),
        ("id: embassies", "id: headquarters", "TRUST_DUPLICATE"),
        ("198.51.100.0/24", "203.0.113.0/24", "TRUST_NETWORK"),
        ("198.51.100.0/24", "::ffff:198.51.100.0/120", "TRUST_NETWORK"),
        ("198.51.100.0/24", "198.51.100.0/240", "TRUST_NETWORK"),
        ('"2001:db8:2::/48"', "2001", "TRUST_TYPE"),
        ('offset: "+09:00"', "offset: Asia/Tokyo", "TRUST_VALUE"),
        ("days: [mon, tue", "days: [mon, mon", "TRUST_DUPLICATE"),
        ("days: [mon, tue", "days: [monday, tue", "TRUST_VALUE"),
        ('to: "22:00"', 'to: "06:00"', "TRUST_RANGE"),
        ('to: "22:00"', 'to: "24:30"', "TRUST_VALUE"),
        ("cap: 60", "cap: 600", "TRUST_RANGE"),
        ("source_reputation: {low: 2, medium: 3, high: 5}", "source_reputation: {}", "TRUST_VALUE"),
        ("pillars:\n  device:", "pillars:\n  devices:", "TRUST_MISSING_KEY"),
        ("penalties:", "penaltys:", "TRUST_MISSING_KEY"),
    ],
)
def test_each_mistake_has_its_code_and_line(old: str, new: str, code: str) -> None:
    found = problems(edited(old, new))

    assert code in [problem.code for problem in found]
    assert all(re.fullmatch(r"trust\.yaml:\d+", problem.where) for problem in found)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "YAML_SYNTAX"),
        ("[]", "YAML_SYNTAX"),
        ("trust: 1\n  slack: 2", "YAML_SYNTAX"),
        (GOV + "\nslack: 1\n", "YAML_DUPLICATE_KEY"),
        (edited("slack: 15", "slack: &s 15"), "YAML_SYNTAX"),
        (edited("slack: 15", "slack: !!int 15"), "YAML_SYNTAX"),
        (edited("weight: 12", "weight: 12\n        weight: 12"), "YAML_DUPLICATE_KEY"),
        ("a: " + "[" * 100 + "]" * 100, "YAML_TOO_LARGE"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str, code: str) -> None:
    assert problems(text)[0].code == code


def test_an_address_that_would_move_the_score_too_far_is_refused() -> None:
    text = edited("weight: 40\n        values: {normal", "weight: 10\n        values: {normal")
    text = text.replace("weight: 30\n        unlisted: 600", "weight: 60\n        unlisted: 0", 1)

    (problem,) = problems(text)

    assert problem.code == "TRUST_ADDRESS"
    assert "12.0 points" in problem.message


def test_a_location_may_be_worth_less_than_others() -> None:
    model = load_trust(edited("id: embassies\n", "id: embassies\n    value: 700\n"), where="trust.yaml")

    assert model.context.location_values["embassies"] == 700


def test_the_longest_of_nested_networks_decides() -> None:
    text = edited("198.51.100.0/24", "203.0.113.128/25").replace("slack: 15", "slack: 15", 1)
    model = load_trust(text, where="trust.yaml")

    assert model.locate("203.0.113.127") == "headquarters"
    assert model.locate("203.0.113.128") == "embassies"


@given(st.integers(0, len(GOV) - 1), st.integers(1, 40), st.text(max_size=6))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(at: int, length: int, put: str) -> None:
    damaged = GOV[:at] + put + GOV[at + length :]

    try:
        model = load_trust(damaged, where="trust.yaml")
    except ConfigError as error:
        assert error.problems
    else:
        assert sum(factor.weight for factor in model.device) == 100
