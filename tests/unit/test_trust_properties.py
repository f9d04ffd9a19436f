"""What holds of the trust score whatever is reported: the numbered properties of the specification that concern it.

The others (P2, P5, P7, P8, P12, P14 to P16) are about decisions and are tested where decisions are made.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceRecord
from device_inventory.facts import CATALOGUE, DAY, HOUR, METHODS, FactEnvelope, Method
from tests.unit.trust_support import GOOD, HOME, MODEL, NOW, OFFICE, context, device, person, score
from zt_engine.core.identity import ANONYMOUS, Binding, Subject
from zt_engine.core.trust import combine, context_points, device_points, reach, risk_penalty, subject_points
from zt_engine.core.trust_explain import Explanation, explain, fixes
from zt_engine.core.trust_model import POINT, Part, TrustModel, along, best_goodness, goodness
from zt_engine.core.trust_readings import Pillar, _sum, pillar_at, read_context, read_device, read_subject

_values: dict[str, st.SearchStrategy[Any]] = {
    name: (
        st.sampled_from(CATALOGUE[name].choices)
        if CATALOGUE[name].choices
        else {
            "boolean": st.booleans(),
            "count": st.integers(0, 100),
            "list": st.lists(st.just("CVE-1"), max_size=2).map(tuple),
        }[CATALOGUE[name].type]
    )
    for name in GOOD
}


# Few draws, since a record has many facts: which there are is one number, and what has few values is drawn together.
_NAMES = sorted(GOOD)
_PRESENT = st.integers(0, 2 ** len(_NAMES) - 1)
_TOLD = st.sampled_from(
    [*product([*["observed"] * 9, "not_collected", "not_supported", "error"], METHODS, ["", "b1", "b0"])]
)
_AGES = st.integers(0, 3000) | st.integers(0, 8 * DAY)


@st.composite
def records(draw: st.DrawFn) -> DeviceRecord:
    facts: dict[str, FactEnvelope] = {}
    present = draw(_PRESENT)
    for place, name in enumerate(_NAMES):
        if not present >> place & 1:
            continue
        status, method, boot_id = draw(_TOLD)
        facts[name] = FactEnvelope(
            status=status,  # type: ignore[arg-type]
            value=draw(_values[name]) if status == "observed" else None,
            method=method,
            received_at=NOW - draw(_AGES),
            boot_id=boot_id,
        )
    return device(facts)


subjects = st.builds(
    person,
    amr=st.lists(st.sampled_from([*sorted(MODEL.authenticators), "other"]), max_size=3).map(tuple),
    acr=st.sampled_from(["", "phr", "phrh", "other"]),
    auth_age=st.none() | st.integers(0, 13 * HOUR),
    status=st.sampled_from(["active", "suspended"]),
) | st.just(ANONYMOUS)
BINDINGS: tuple[Binding, ...] = ("mtls", "dpop", "session", "none")
bindings = st.sampled_from(BINDINGS)
risks = st.lists(
    st.tuples(st.sampled_from([*MODEL.penalties, "strange"]), st.sampled_from(["low", "medium", "high", "strange"])),
    max_size=4,
)


def better(part: Part, value: Any) -> Any:
    """The best value of a part's fact."""
    if part.ramp:
        x = max(part.ramp, key=lambda point: point[1])[0]
        return ("CVE",) * x if isinstance(value, tuple) or CATALOGUE[part.fact].type == "list" else x
    return max(part.values, key=lambda key: part.values[key])


def observed(record: DeviceRecord) -> list[str]:
    return sorted(name for name, fact in record.facts.items() if fact.status == "observed")


PARTS = {part.fact: part for factor in MODEL.device for part in factor.parts}


@given(records().filter(observed), subjects, bindings, st.sampled_from(["value", "method", "age"]), st.data())
def test_p1_an_improved_fact_never_lowers_the_score(
    record: DeviceRecord, subject: Subject, binding: Binding, kind: str, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(observed(record)))
    held = record.facts[name]
    change: dict[str, Any] = {
        "value": lambda: {"value": better(PARTS[name], held.value)},
        "method": lambda: {"method": data.draw(st.sampled_from(METHODS[: METHODS.index(held.method) + 1]))},
        "age": lambda: {"received_at": data.draw(st.integers(held.received_at, NOW))},
    }[kind]()
    improved = device({**record.facts, name: msgspec.structs.replace(held, **change)})

    assert score(improved, subject, binding).exact >= score(record, subject, binding).exact


@given(records(), subjects, bindings, st.sampled_from(sorted(MODEL.authenticators)))
def test_p1_one_more_sign_in_method_never_lowers_the_score(
    record: DeviceRecord, subject: Subject, binding: Binding, method: str
) -> None:
    stronger = msgspec.structs.replace(subject, amr=(*subject.amr, method))

    assert score(record, stronger, binding).exact >= score(record, subject, binding).exact


@given(records(), subjects, bindings, st.sampled_from(sorted(GOOD)), st.sampled_from(["not_collected", "error", ""]))
def test_p3_withholding_a_fact_never_raises_the_score(
    record: DeviceRecord, subject: Subject, binding: Binding, name: str, status: str
) -> None:
    facts = dict(record.facts)
    if status:
        facts[name] = FactEnvelope(status=status, value=None, method="attested", received_at=NOW)  # type: ignore[arg-type]
    else:
        facts.pop(name, None)

    assert score(device(facts), subject, binding).exact <= score(record, subject, binding).exact


@given(records(), subjects, bindings, st.integers(0, 9 * DAY), st.integers(0, 9 * DAY))
def test_p4_passing_time_never_raises_the_score(
    record: DeviceRecord, subject: Subject, binding: Binding, first: int, more: int
) -> None:
    earlier, later = (score(record, subject, binding, now=NOW + age) for age in (first, first + more))

    assert later.exact <= earlier.exact


@given(records(), subjects, bindings, risks, risks)
def test_p6_one_more_risk_signal_never_raises_the_score(
    record: DeviceRecord, subject: Subject, binding: Binding, known: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    before = score(record, subject, binding, penalty=risk_penalty(MODEL, known))
    after = score(record, subject, binding, penalty=risk_penalty(MODEL, known + more))

    assert after.exact <= before.exact
    assert after.best <= before.best
    assert after.after_step_up <= before.after_step_up


def explained(
    record: DeviceRecord | None, subject: Subject, binding: Binding, *, now: int = NOW, penalty: int = 0
) -> Explanation:
    return explain(
        MODEL,
        device=read_device(MODEL, record),
        subject=read_subject(MODEL, subject, binding=binding),
        context=read_context(MODEL, location="unlisted", path="mtls", in_hours=True),
        tick_end=now,
        penalty=penalty,
    )


@given(records(), subjects, bindings, st.integers(0, 8 * DAY))
def test_p9_the_same_inputs_give_the_same_bytes(
    record: DeviceRecord, subject: Subject, binding: Binding, age: int
) -> None:
    shuffled = list(record.facts.items())
    random.Random(age).shuffle(shuffled)

    first, second = (
        msgspec.json.encode(explained(each, subject, binding, now=NOW + age))
        for each in (record, device(dict(shuffled)))
    )

    assert first == second


@given(records() | st.none(), subjects, bindings, st.integers(0, 8 * DAY), st.integers(0, 60))
def test_p10_every_point_is_accounted_for(
    record: DeviceRecord | None, subject: Subject, binding: Binding, age: int, penalty: int
) -> None:
    explanation = explained(record, subject, binding, now=NOW + age, penalty=penalty)

    contributions = sum(item.contribution for item in explanation.items)
    assert contributions + sum(adjustment.points for adjustment in explanation.adjustments) == explanation.score.exact
    assert explanation.score == score(record, subject, binding, now=NOW + age, penalty=penalty)
    for pillar, whole in explanation.score.pillars.items():
        assert sum(item.points for item in explanation.items if item.pillar == pillar) // POINT == whole
    assert all(item.points + item.lost == item.weight * POINT for item in explanation.items)
    assert all(item.points <= item.renewable <= item.weight * POINT for item in explanation.items)


@given(records(), subjects, bindings, st.integers(0, 2 * DAY), st.tuples(st.integers(1, 95), st.integers(0, 20)))
def test_p11_the_fixes_that_are_named_really_suffice(
    record: DeviceRecord, subject: Subject, binding: Binding, age: int, bar: tuple[int, int]
) -> None:
    now, (threshold, penalty) = NOW + age, bar
    found = fixes(
        MODEL,
        device=read_device(MODEL, record),
        subject=read_subject(MODEL, subject, binding=binding),
        context=read_context(MODEL, location="unlisted", path="mtls", in_hours=True),
        tick_end=now,
        threshold=threshold,
        penalty=penalty,
    )
    before = score(record, subject, binding, now=now, penalty=penalty)
    if found is None:
        assert before.score < threshold
        return

    facts = dict(record.facts)
    for fix in found:
        if fix.pillar == "subject":
            subject = msgspec.structs.replace(subject, amr=("phrh",), auth_time=now)
            continue
        factor = next(factor for factor in MODEL.device if factor.name == fix.factor)
        for part in factor.parts:
            held = facts.get(part.fact)
            facts[part.fact] = FactEnvelope(
                status="observed",
                value=better(part, held.value if held else None),
                method=held.method if held else "signed_agent",
                received_at=now,
            )
    if subject.type == "anonymous" and any(fix.pillar == "subject" for fix in found):
        return  # who signs in after all brings standing with them as well: only ever more

    assert score(device(facts), subject, binding, now=now, penalty=penalty).score >= threshold
    assert (found == ()) == (before.score >= threshold)


@given(records(), subjects, bindings)
def test_p13_a_source_address_alone_moves_the_score_by_at_most_six(
    record: DeviceRecord, subject: Subject, binding: Binding
) -> None:
    pillars = device_points(MODEL, record, tick_end=NOW), subject_points(MODEL, subject, binding=binding, tick_end=NOW)
    scores = [combine(MODEL, *pillars, context(address)).exact for address in (OFFICE, HOME, "2001:db8:2::1", "")]

    assert max(scores) - min(scores) <= 6 * POINT


def every_goodness(part: Part) -> set[int]:
    if part.ramp:
        return {along(part.ramp, x) for x in range(part.ramp[-1][0] + 2)}
    return {0, *part.values.values()}


def highest(model: TrustModel, method: Method) -> int:
    """The highest score of all devices known by one method only: every value, every freshness, every circumstance."""
    multiplier = model.methods[method]
    device_best = 0
    for factor in model.device:
        # The worst and the best of several parts grow with each of them, so each part's highest worth is enough.
        worths = [
            max(worth * (multiplier * fresh // 1000) for worth in every_goodness(part) for fresh in range(1001))
            for part in factor.parts
        ]
        device_best += factor.weight * (max if factor.any_part else min)(worths)
    names = [*model.authenticators, ""]
    ages = (None, 0, HOUR, HOUR + 1, 6 * HOUR, 12 * HOUR)
    people = [
        subject_points(model, person(amr=(amr,), acr=acr, auth_age=age, status=status), binding=binding, tick_end=NOW)
        for amr, acr, age, status, binding in product(names, names, ages, ("active", ""), BINDINGS)
    ]
    places = [
        context_points(model, location=location, path=path, in_hours=in_hours, behaviour=behaviour)
        for location, path, in_hours, behaviour in product(
            model.context.location_values, model.context.path_values, (True, False), model.context.behaviour_values
        )
    ]
    best = [device_best, max(each.exact for each in people), max(each.exact for each in places)]
    return combine(model, *(Pillar(exact, exact, exact) for exact in best)).exact


@pytest.mark.parametrize(
    ("method", "limit"), [("declared", 60), ("self_report", 60), ("signed_agent", 95)]
)  # the thresholds of C2 and C3-TS
def test_p17_one_method_alone_never_reaches_the_score_above_its_rung(method: Method, limit: int) -> None:
    assert highest(MODEL, method) <= reach(MODEL, method) < limit * POINT


def test_p17_the_ladder_is_the_one_that_is_printed() -> None:
    assert [reach(MODEL, method) / POINT for method in ("self_report", "signed_agent")] == [55.0, 94.0]
    assert highest(MODEL, "attested") >= 95 * POINT


# --- that what is computed once is what would be computed each time --------------------------------------------------


@given(records(), st.integers(-1000, 9 * DAY))
def test_a_pillar_kept_while_everything_is_fresh_is_the_pillar_computed_anew(record: DeviceRecord, age: int) -> None:
    readings = read_device(MODEL, record)

    assert pillar_at(readings, NOW + age) == _sum("device", readings.factors, NOW + age)


@given(subjects, bindings, st.integers(-1000, 14 * HOUR))
def test_the_same_holds_for_a_subject(subject: Subject, binding: Binding, age: int) -> None:
    readings = read_subject(MODEL, subject, binding=binding)

    assert pillar_at(readings, NOW + age) == _sum("subject", readings.factors, NOW + age)


@given(
    st.sampled_from(sorted(MODEL.context.location_values)),
    st.sampled_from(["mtls", "socket", "key", "other"]),
    st.booleans(),
    st.sampled_from(["normal", "unusual", "hostile", "other"]),
)
def test_the_quick_sum_of_the_context_is_the_itemised_one(
    location: str, path: str, in_hours: bool, behaviour: str
) -> None:
    arguments = {"location": location, "path": path, "in_hours": in_hours, "behaviour": behaviour}

    quick = context_points(MODEL, **arguments)  # type: ignore[arg-type]

    assert quick == pillar_at(read_context(MODEL, **arguments), NOW)  # type: ignore[arg-type]


@given(records() | st.none(), subjects, bindings, st.integers(0, 60))
def test_the_score_is_at_most_what_a_sign_in_makes_of_it_and_that_at_most_the_best(
    record: DeviceRecord | None, subject: Subject, binding: Binding, penalty: int
) -> None:
    trust = score(record, subject, binding, penalty=penalty)

    assert 0 <= trust.score <= trust.after_step_up <= trust.best <= 100


_exact = st.integers(0, 100 * POINT)


@given(st.tuples(_exact, _exact, _exact), _exact, st.integers(0, 2), st.integers(0, 60))
def test_the_score_grows_with_each_pillar_and_is_capped_by_the_weakest(
    worths: tuple[int, int, int], other: int, which: int, penalty: int
) -> None:
    raised = [max(worth, other) if index == which else worth for index, worth in enumerate(worths)]

    low, high = (combine(MODEL, *(Pillar(w, w, w) for w in each), penalty).exact for each in (worths, raised))  # type: ignore[arg-type]

    assert low <= high
    assert low <= min(worths[:2]) + 15 * POINT


@given(
    st.sampled_from(sorted(GOOD)),
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(-5, 200) | st.floats(-5, 200),
)
def test_any_value_has_a_goodness_within_bounds(name: str, value: Any) -> None:
    part = PARTS[name]

    assert 0 <= goodness(part, value) <= best_goodness(part) <= 1000
