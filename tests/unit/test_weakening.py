"""What a catalogue, a trust model or a data document gives up against the one before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.test_catalogue import RANKS, SCHEME, catalogue, rule, service
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.bootstrap.packs import pack_folder
from zt_engine.core.catalogue import Catalogue, Observe
from zt_engine.core.classification import Holder, Label, dominates
from zt_engine.core.weakening import is_weaker, weakened_catalogue, weakened_data, weakened_trust

NAMES = st.sampled_from(["a", "b", "c"])
LABELS = st.builds(
    lambda code, sets, rel: replace(SCHEME.label(code), compartments=sets, rel_to=rel),
    st.sampled_from(sorted(RANKS)),
    st.sets(NAMES).map(lambda names: tuple(sorted(names))),
    st.none() | st.sets(NAMES, min_size=1).map(lambda names: tuple(sorted(names))),
)
HOLDERS = st.builds(
    lambda ceiling, held, org: Holder(ceiling=ceiling, compartments=frozenset(held), org=org),
    st.sampled_from([0, 100, 200, 300]), st.sets(NAMES), NAMES,
)  # fmt: skip


def codes(before: Catalogue, after: Catalogue) -> set[str]:
    return {one.code for one in weakened_catalogue(before, after)}


@given(LABELS, LABELS, HOLDERS)
def test_whoever_reads_more_than_before_reads_what_a_weaker_label_has(old: Label, new: Label, holder: Holder) -> None:
    """INVARIANT: no label that lets one more person read goes unnoticed."""
    if dominates(holder, new) and not dominates(holder, old):
        assert is_weaker(old, new)


@given(LABELS)
def test_the_same_label_weakens_nothing(label: Label) -> None:
    assert not is_weaker(label, label)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ([rule("/a", "C2")], [rule("/a", "C1")], {"WEAKENS_LABEL"}),
        ([rule("/a", "C1")], [rule("/a", "C2")], set()),
        ([rule("/*", "C1"), rule("/a", "C2")], [rule("/*", "C1")], {"WEAKENS_LABEL"}),
        ([rule("/a", "C2")], [rule("/a", "C2"), rule("/b", "C2")], {"WEAKENS_ROUTE"}),
        ([rule("/a", "C2"), rule("/b", "C2")], [rule("/a", "C2")], set()),
        ([rule("/a", "C2")], [rule("/a", "C2", channels=("open", "lgwan"))], {"WEAKENS_CHANNEL"}),
        ([rule("/a", "C2")], [rule("/a", "C2", observe=Observe(until=9))], {"WEAKENS_OBSERVE"}),
        ([rule("/a", "C2", observe=Observe(until=9))], [rule("/a", "C2")], set()),
        ([rule("/a", "C2")], [rule("/a", "C2", enforces=("no_store",))], {"WEAKENS_ENFORCEMENT"}),
        ([rule("/a", "C2", assertion=True)], [rule("/a", "C2")], {"WEAKENS_ENFORCEMENT"}),
        ([rule("/a", "C2")], [rule("/a", "C2", attributes={"open_to": ("customer",)})], {"WEAKENS_ATTRIBUTE"}),
    ],
)
def test_a_path_is_compared_as_a_request_would_find_it(old, new, wanted) -> None:  # type: ignore[no-untyped-def]
    assert codes(catalogue(*old), catalogue(*new)) == wanted


def test_a_ceiling_that_moves_is_looked_at() -> None:
    lower = catalogue(rule("/a", "C1", ceiling=200), services=(service(ceiling=200),))

    assert "WEAKENS_CEILING" in codes(catalogue(rule("/a", "C1")), lower)


def test_a_trust_model_weakens_by_what_lifts_a_score_and_by_a_weight_that_falls() -> None:
    text = (pack_folder("jp-gov") / "trust.yaml").read_text()
    model = load_trust(text, where="trust.yaml")
    first = next(iter(model.authenticators))
    higher = replace(model, authenticators={**model.authenticators, first: model.authenticators[first] + 1})
    lighter = replace(model, device=(replace(model.device[0], weight=model.device[0].weight - 1), *model.device[1:]))

    assert list(weakened_trust(model, model)) == []
    assert [one.where for one in weakened_trust(model, higher)] == [f"trust.authenticators.{first}"]
    assert list(weakened_trust(higher, model)) == []
    assert [one.where for one in weakened_trust(model, lighter)] == [f"trust.device.{model.device[0].name}.weight"]
    assert list(weakened_trust(lighter, model)) == []
    assert list(weakened_trust(model, replace(model, penalty_cap=model.penalty_cap - 1)))
    assert list(weakened_trust(model, replace(model, windows=())))


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"threshold": 60}, {"threshold": 59}, "WEAKENS_THRESHOLD"),
        ({"threshold": 60}, {}, "WEAKENS_THRESHOLD"),
        ({"threshold": 60}, {"threshold": 61}, ""),
        ({"c1": {"reads": ["A", "B"]}}, {"c1": {"reads": ["A"]}}, "WEAKENS_REQUIREMENT"),
        ({"c1": {"reads": ["A"]}}, {"c1": {"reads": ["A", "B"]}}, ""),
        ({"waivable": []}, {"waivable": ["A"]}, "WEAKENS_EXCEPTION"),
        ({}, {"waivable": ["A"]}, "WEAKENS_EXCEPTION"),
        ({"levels": [{"threshold": 2}]}, {"levels": [{"threshold": 1}]}, "WEAKENS_THRESHOLD"),
    ],
)
def test_a_data_document_weakens_by_thresholds_requirements_and_exceptions(old, new, wanted) -> None:  # type: ignore[no-untyped-def]
    assert "".join(one.code for one in weakened_data(old, new)) == wanted
