"""What a publisher would write so that a weakening is not found, and what is found all the same."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.publishing_support import bundle_of, opened
from tests.unit.test_catalogue import catalogue, rule
from tests.unit.test_weakening import codes
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core import weakening
from zt_engine.core.weakening import PROBE, weakened_data


@pytest.mark.parametrize("decoy", [f"/{PROBE}", f"/{PROBE}/{PROBE}", f"/{{x}}/{PROBE}"])
def test_a_route_under_the_name_that_is_tried_hides_nothing(decoy: str) -> None:
    shapes = ("/*", "/{x}", "/{x}/{y}")
    old = [rule(decoy, "C2"), *(rule(one, "C2") for one in shapes)]
    new = [rule(decoy, "C2"), *(rule(one, "C1") for one in shapes)]

    assert codes(catalogue(*old), catalogue(*new)) == {"WEAKENS_LABEL"}


@pytest.mark.parametrize("kept", [("/a/{x}/{y}",), ("/a/{x}",), ("/a/{x}", "/a/{x}/{y}", "/a/{x}/{y}/*", "/a/{x}/")])
def test_a_wildcard_is_tried_at_every_length_whatever_narrower_routes_keep(kept: tuple[str, ...]) -> None:
    narrower = [rule(one, "C1") for one in kept]

    found = codes(catalogue(rule("/a/*", "C2"), *narrower), catalogue(rule("/a/*", "C1"), *narrower))
    assert "WEAKENS_LABEL" in found


def test_more_crossings_than_are_compared_count_as_a_weakening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weakening, "MAX_CROSSINGS", 1)
    crossed = [rule(path, "C1") for path in ("/a/{x}", "/{x}/b", "/{x}/c", "/a/b", "/a/c")]

    assert codes(catalogue(*crossed), catalogue(*crossed, rule("/a/d", "C2"))) >= {"WEAKENS_UNKNOWN"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"c1": {"threshold": 60}}, {}),
        ({}, {"c1": {"threshold": 1}}),
        ({}, {"c1": {"waivable": ["A"]}}),
        ({"thresholds": {"c1": 60}}, {"thresholds": {"c1": 50}}),
        ({"levels": [{"threshold": 2}, {"threshold": 2}]}, {"levels": [{"threshold": 1}]}),
        ({"c1": {"reads": ["A"]}}, {"c1": []}),
        ({"c1": {"report_age": 3600}}, {"c1": {"report_age": 7200}}),
        ({"c1": {"report_age": 3600}}, {"c1": {}}),
        ({"c1": {"byod": False}}, {"c1": {"byod": True}}),
        ({"approved_terminals": ["a"]}, {"approved_terminals": ["a", "b"]}),
        ({"device_status": {"lost": ["A", "B"]}}, {"device_status": {"lost": ["A"]}}),
        ({"employment": {"local": {"ceiling": 100}}}, {"employment": {"local": {"ceiling": 200}}}),
        ({"employment": {}}, {"employment": {"local": {"ceiling": 200}}}),
        ({"assurance": {"mfa": 2}}, {"assurance": {"mfa": True}}),
    ],
)
def test_whatever_of_the_data_moves_counts_unless_it_plainly_tightens(old: Any, new: Any) -> None:
    assert list(weakened_data(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"c1": {"threshold": 50}}, {"c1": {"threshold": 60}}),
        ({"c1": {"reads": ["A"]}}, {"c1": {"reads": ["A", "B"]}}),
        ({"c1": {"waivable": ["A"]}}, {"c1": {"waivable": []}}),
        ({"c1": {"report_age": 7200}}, {"c1": {"report_age": 3600}}),
        ({"c1": {"byod": True}}, {"c1": {"byod": False}}),
        ({"employment": {"local": {"ceiling": 200}}}, {"employment": {"local": {"ceiling": 100}}}),
    ],
)
def test_what_plainly_tightens_needs_nobody(old: Any, new: Any) -> None:
    assert not list(weakened_data(old, new))


DROPPED = "scenarios/company.yaml"


def test_a_scenario_that_is_asked_no_more_counts_so_that_no_weakening_is_split_over_two_releases() -> None:
    found = weakenings(opened(bundle_of("1")), opened(bundle_of("2", without=(DROPPED,))))

    assert {one.code for one in found} == {"WEAKENS_SCENARIO"}
    assert not weakenings(opened(bundle_of("2", without=(DROPPED,))), opened(bundle_of("1")))


def test_a_service_that_was_answered_by_no_layer_of_its_own_comes_back_by_two_people() -> None:
    whole = opened(bundle_of("1"))
    gone = {name: layers for name, layers in whole.layers.items() if name != "payroll"}
    found = weakenings(replace(whole, layers=gone, content_digest="0" * 64), whole)

    assert {one.code for one in found} >= {"WEAKENS_LAYER"}
