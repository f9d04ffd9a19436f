"""Facts in less room are the same facts: by name, in comparison, in what is made of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from device_inventory.fact_sheet import fact_sheet
from device_inventory.facts import CATALOGUE, FactEnvelope
from tests.world import HEALTHY, NOW, device, facts
from zt_engine.sidecar.replica import REPORTED, Heard, renewed
from zt_engine.sidecar.shared_facts import SharedFacts, shared

NAMES = sorted(HEALTHY)
ENVELOPE = st.builds(
    lambda value, method, at, boot: FactEnvelope(
        status="not_collected" if value is None else "observed", value=value, method=method, received_at=at,
        boot_id=boot,
    ),
    st.sampled_from([None, True, 1, 1.0, False, 0, "x", ("a",), ()]),
    st.sampled_from(["attested", "mdm_server", "self_report"]),
    st.integers(NOW - 5, NOW),
    st.sampled_from(["", "b1"]),
)  # fmt: skip
FACTS = st.dictionaries(st.sampled_from(NAMES), ENVELOPE, max_size=6)


def said(held: dict[str, FactEnvelope] | SharedFacts) -> list[tuple[object, ...]]:
    """Everything, also of which type a value is: True equals 1."""
    return [(name, type(fact.value), fact) for name, fact in held.items()]


@given(FACTS)
def test_they_are_what_they_were_made_of(held: dict[str, FactEnvelope]) -> None:
    less = SharedFacts.of(held)

    assert said(less) == said(held)
    assert (len(less), list(less), less.get("no.fact"), "no.fact" in less) == (len(held), list(held), None, False)


@given(FACTS, FACTS)
def test_they_are_equal_exactly_when_what_they_were_made_of_is(
    one: dict[str, FactEnvelope], other: dict[str, FactEnvelope]
) -> None:
    assert (SharedFacts.of(one) == SharedFacts.of(other)) == (list(one.items()) == list(other.items()))
    assert SharedFacts.of(one) == one


@given(FACTS, st.one_of(st.none(), st.lists(st.sampled_from(NAMES), max_size=4)), st.integers(NOW - 5, NOW + 5))
def test_a_report_renews_what_it_confirms_and_nothing_becomes_older(
    held: dict[str, FactEnvelope], names: list[str] | None, at: int
) -> None:
    record = shared(device(facts=held, report_received_at=NOW - 3))

    after = renewed(record, Heard(at, None if names is None else tuple(names)))

    for name, fact in held.items():
        came = fact.received_at == NOW - 3 and fact.method in REPORTED if names is None else name in names
        wanted = max(fact.received_at, at) if came and at > NOW - 3 else fact.received_at
        assert after.facts[name].received_at == wanted
        assert (after.facts[name].status, after.facts[name].value) == (fact.status, fact.value)


def test_a_policy_sees_the_same_bytes() -> None:
    record = device(facts=facts(HEALTHY, NOW))

    one, other = (fact_sheet(held, names=CATALOGUE) for held in (record, shared(record)))

    assert one.at(NOW + 5) == other.at(NOW + 5)
    assert one.at(NOW + 99_999) == other.at(NOW + 99_999)


def test_devices_that_say_the_same_hold_it_once() -> None:
    one, other = (SharedFacts.of(facts(HEALTHY, NOW - age)) for age in (1, 2))

    assert one._outline is other._outline
    assert one != other
