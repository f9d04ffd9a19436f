"""What the layers said, and what it means: the rules of step-up row by row, and that nothing added ever opens."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.decision import (
    Decision,
    Effect,
    LayerResult,
    Obligation,
    Standing,
    Unmet,
    Verdict,
    decide,
    meet,
    observe,
    read_layers,
)
from zt_engine.core.errors import UnavailableError

KINDS = {
    "AUTH_REQUIRED": "auth",
    "MFA_REQUIRED": "auth",
    "REPORT_STALE": "report",
    "DEVICE_REQUIRED": "device",
    "CLEARANCE_LOW": "contact",
    "NOT_ALLOWED": "none",
    "TRUST_LOW": "contact",
}
LAYERS = ("baseline", "ministry")


def layer(
    *codes: str, allow: bool | None = None, obligations: Sequence[Obligation] = (), threshold: int = 0
) -> LayerResult:
    return LayerResult(
        allow=not codes if allow is None else allow,
        unmet=[Unmet(code) for code in codes],
        obligations=list(obligations),
        threshold=threshold,
    )


def meeting(**layers: LayerResult) -> Verdict:
    return meet(layers, required=tuple(layers), known=KINDS)


def standing(
    score: int = 90, *, best: int = 100, after: int = 100, credential: bool = True, may_step_up: bool = True
) -> Standing:
    return Standing(
        score=score, best=best, after_step_up=after, has_credential=credential, may_step_up=may_step_up
    )  # fmt: skip


def decided(*codes: str, threshold: int = 60, **who: int | bool) -> Decision:
    verdict = meeting(baseline=layer(*codes, threshold=threshold))
    return decide(verdict, standing(**who), kinds=KINDS, enforces=("no_store",))


# -- the one legal shape ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"true",
        b"[]",
        b'{"baseline": true}',
        b'{"baseline": null}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": []}}',
        b'{"baseline": {"allow": 1, "unmet": [], "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": "true", "unmet": [], "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [], "threshold": "0"}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [], "threshold": null}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [], "threshold": 60.5}}',
        b'{"baseline": {"allow": true, "unmet": {}, "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": false, "unmet": ["MFA_REQUIRED"], "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": false, "unmet": [{"acr": "phr"}], "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": false, "unmet": [{"code": "X", "why": ""}], "obligations": [], "threshold": 0}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [{"id": "a", "value": true}], "threshold": 0}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": ["a"], "threshold": 0}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [], "threshold": 0, "override": true}}',
        b'{"baseline": {"allow": true, "unmet": [], "obligations": [], "threshold": 0}',
        b'{"\xff": 1}',
    ],
)
def test_any_other_shape_of_an_answer_is_malformed(raw: bytes) -> None:
    with pytest.raises(UnavailableError) as refused:
        read_layers(raw)

    assert refused.value.code == "ENGINE_MALFORMED"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_almost = st.fixed_dictionaries(
    {},
    optional={
        "allow": st.booleans() | _json,
        "unmet": st.just([])
        | st.lists(st.fixed_dictionaries({"code": st.sampled_from([*KINDS, "NOBODY_KNOWS"])}))
        | _json,
        "obligations": st.just([]) | _json,
        "threshold": st.integers(-10, 1010) | _json,
        "other": _json,
    },
)


@given(st.dictionaries(st.sampled_from(["baseline", "ministry", "service"]), _almost | _json))
def test_only_the_exact_allow_shape_of_every_required_layer_allows(answer: dict[str, object]) -> None:
    try:
        verdict = meet(read_layers(json.dumps(answer).encode()), required=LAYERS, known=KINDS)
    except UnavailableError:
        return

    assert verdict.allow == all(answer[name]["allow"] is True and answer[name]["unmet"] == [] for name in LAYERS)
    assert set(answer) == set(LAYERS)


# -- the meet of the layers -------------------------------------------------------------------------------------------


def test_all_layers_must_allow() -> None:
    assert meeting(baseline=layer(), ministry=layer()).allow
    assert not meeting(baseline=layer(), ministry=layer("NOT_ALLOWED")).allow
    assert not meeting(baseline=layer("NOT_ALLOWED"), ministry=layer()).allow


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"baseline": layer()},
        {"baseline": layer(), "service": layer()},
        {"baseline": layer(), "ministry": layer(), "service": layer()},
        {"baseline": layer(), "ministry": layer("MFA_REQUIRED", allow=True)},
        {"baseline": layer(), "ministry": layer(allow=False)},
        {"baseline": layer(), "ministry": layer("NOBODY_KNOWS")},
        {"baseline": layer(), "ministry": layer(threshold=-1)},
        {"baseline": layer(), "ministry": layer(threshold=1001)},
    ],
)
def test_a_layer_that_is_missing_foreign_or_contradicts_itself_is_malformed(results: dict[str, LayerResult]) -> None:
    with pytest.raises(UnavailableError) as refused:
        meet(results, required=LAYERS, known=KINDS)

    assert refused.value.code == "LAYER_MALFORMED"


def test_no_required_layer_is_no_permission() -> None:
    with pytest.raises(UnavailableError):
        meet({}, required=(), known=KINDS)


def test_what_is_unmet_is_united_and_the_higher_threshold_counts() -> None:
    verdict = meeting(
        baseline=layer("MFA_REQUIRED", "NOT_ALLOWED", threshold=60), ministry=layer("MFA_REQUIRED", threshold=70)
    )

    assert [item.code for item in verdict.unmet] == ["MFA_REQUIRED", "NOT_ALLOWED"]
    assert verdict.threshold == 70


@pytest.mark.parametrize(
    ("values", "kept"),
    [((30, 60), 30), ((60, 30), 30), ((None, 30), 30), ((30, None), 30), ((None, None), None), (("a", "a"), "a")],
)
def test_of_two_values_of_an_obligation_the_stricter_is_kept(
    values: tuple[int | str | None, int | str | None], kept: int | str | None
) -> None:
    verdict = meeting(
        baseline=layer(obligations=[Obligation("max_age", values[0])]),
        ministry=layer(obligations=[Obligation("max_age", values[1])]),
    )

    assert verdict.obligations == (Obligation("max_age", kept),)


@pytest.mark.parametrize("values", [("a", "b"), ("a", 1), (1, "a")])
def test_two_values_of_an_obligation_that_cannot_both_hold_are_malformed(values: tuple[int | str, int | str]) -> None:
    with pytest.raises(UnavailableError) as refused:
        meeting(
            baseline=layer(obligations=[Obligation("watermark", values[0])]),
            ministry=layer(obligations=[Obligation("watermark", values[1])]),
        )

    assert refused.value.code == "LAYER_MALFORMED"


# -- effects, row by row (architecture 4.3) ---------------------------------------------------------------------------


def test_nothing_unmet_and_enough_trust_allows() -> None:
    decision = decided(score=60)

    assert (decision.effect, decision.reasons, decision.threshold) == (Effect.ALLOW, (), 60)


def test_python_checks_the_threshold_again() -> None:
    decision = decided(score=59, best=59, after=59)

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("TRUST_LOW",))


ROWS = [
    # unmet, standing, effect, first reason
    (("AUTH_REQUIRED",), {"credential": False}, Effect.STEP_UP, "AUTH_REQUIRED"),
    (("AUTH_REQUIRED", "NOT_ALLOWED"), {"credential": False}, Effect.STEP_UP, "AUTH_REQUIRED"),
    (("AUTH_REQUIRED",), {"credential": False, "score": 0, "best": 0, "after": 0}, Effect.STEP_UP, "AUTH_REQUIRED"),
    (("NOT_ALLOWED",), {"credential": False}, Effect.DENY, "NOT_ALLOWED"),
    (("MFA_REQUIRED",), {"after": 60}, Effect.STEP_UP, "MFA_REQUIRED"),
    (("MFA_REQUIRED",), {"score": 10, "after": 60}, Effect.STEP_UP, "MFA_REQUIRED"),
    ((), {"score": 59, "after": 60}, Effect.STEP_UP, "TRUST_LOW"),
    (("MFA_REQUIRED",), {"score": 10, "after": 59, "best": 60}, Effect.DENY, "REPORT_NOW"),
    (("MFA_REQUIRED",), {"score": 10, "after": 59, "best": 59}, Effect.DENY, "MFA_REQUIRED"),
    (("MFA_REQUIRED",), {"may_step_up": False, "after": 100, "best": 59}, Effect.DENY, "MFA_REQUIRED"),
    (("MFA_REQUIRED", "NOT_ALLOWED"), {}, Effect.DENY, "NOT_ALLOWED"),
    (("REPORT_STALE",), {"best": 60}, Effect.DENY, "REPORT_NOW"),
    (("REPORT_STALE",), {"best": 59}, Effect.DENY, "REPORT_STALE"),
    (("MFA_REQUIRED", "REPORT_STALE"), {"best": 60}, Effect.DENY, "REPORT_NOW"),
    ((), {"score": 59, "after": 59, "best": 60}, Effect.DENY, "REPORT_NOW"),
    ((), {"score": 59, "after": 59, "best": 59}, Effect.DENY, "TRUST_LOW"),
    (("DEVICE_REQUIRED",), {}, Effect.DENY, "DEVICE_REQUIRED"),
    (("DEVICE_REQUIRED", "REPORT_STALE"), {}, Effect.DENY, "DEVICE_REQUIRED"),
    (("CLEARANCE_LOW",), {}, Effect.DENY, "CLEARANCE_LOW"),
]


@pytest.mark.parametrize(("codes", "who", "effect", "reason"), ROWS)
def test_step_up_report_now_or_no(
    codes: tuple[str, ...], who: dict[str, int | bool], effect: Effect, reason: str
) -> None:
    decision = decided(*codes, **who)

    assert (decision.effect, decision.reasons[0]) == (effect, reason)


def test_every_unmet_code_is_among_the_reasons() -> None:
    decision = decided("REPORT_STALE", "MFA_REQUIRED", score=0)

    assert decision.reasons == ("REPORT_NOW", "REPORT_STALE", "MFA_REQUIRED", "TRUST_LOW")


def test_a_code_of_unknown_kind_never_offers_a_way_on() -> None:
    decision = decide(
        Verdict(allow=False, unmet=(Unmet("STRANGE"),), obligations=(), threshold=0),
        standing(),
        kinds={},
        enforces=(),
    )

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("STRANGE",))


# -- obligations and overlays -----------------------------------------------------------------------------------------


def test_an_obligation_that_nobody_enforces_turns_allow_into_deny() -> None:
    verdict = meeting(baseline=layer(obligations=[Obligation("no_store"), Obligation("watermark")]))

    decision = decide(verdict, standing(), kinds=KINDS, enforces=("no_store",))

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("OBLIGATION_UNENFORCEABLE",))


def test_an_enforced_obligation_is_handed_on() -> None:
    verdict = meeting(baseline=layer(obligations=[Obligation("no_store", 60)]))

    decision = decide(verdict, standing(), kinds=KINDS, enforces=("no_store",))

    assert (decision.effect, decision.obligations) == (Effect.ALLOW, (Obligation("no_store", 60),))


@pytest.mark.parametrize(("threshold", "plus", "effective"), [(60, 10, 70), (60, 90, 100), (0, 10, 10), (150, 10, 150)])
def test_an_overlay_raises_the_threshold_and_never_past_what_was_unreachable(
    threshold: int, plus: int, effective: int
) -> None:
    verdict = meeting(baseline=layer(threshold=threshold))

    decision = decide(verdict, standing(100), kinds=KINDS, enforces=(), threshold_plus=plus)

    assert decision.threshold == effective
    assert decision.opens == (effective <= 100)


CODES = st.sampled_from(sorted(KINDS))
RESULTS = st.builds(
    layer,
    st.sampled_from(["MFA_REQUIRED", "REPORT_STALE", "NOT_ALLOWED"]),
    threshold=st.integers(0, 120),
    obligations=st.lists(st.builds(Obligation, st.sampled_from(["no_store", "watermark"])), max_size=2),
) | st.builds(
    layer,
    threshold=st.integers(0, 120),
    obligations=st.lists(st.builds(Obligation, st.sampled_from(["no_store", "watermark"])), max_size=2),
)
STANDINGS = st.builds(
    Standing,
    score=st.integers(0, 100),
    best=st.integers(0, 100),
    after_step_up=st.integers(0, 100),
    has_credential=st.booleans(),
    may_step_up=st.booleans(),
)
ENFORCES = st.frozensets(st.sampled_from(["no_store", "watermark"]))


@given(RESULTS, RESULTS, STANDINGS, ENFORCES)
def test_adding_a_layer_never_opens(
    one: LayerResult, more: LayerResult, who: Standing, enforces: frozenset[str]
) -> None:
    with_one = decide(meeting(baseline=one), who, kinds=KINDS, enforces=enforces)
    with_both = decide(meeting(baseline=one, ministry=more), who, kinds=KINDS, enforces=enforces)

    assert with_one.opens or not with_both.opens
    assert with_both.threshold >= with_one.threshold
    assert {duty.id for duty in with_both.obligations} >= {duty.id for duty in with_one.obligations}


@given(
    RESULTS,
    STANDINGS,
    ENFORCES,
    st.lists(st.builds(Unmet, CODES), max_size=2),
    st.lists(st.builds(Obligation, st.sampled_from(["no_store", "watermark", "read_only"])), max_size=2),
    st.integers(0, 100),
)
def test_overlays_only_tighten(
    result: LayerResult,
    who: Standing,
    enforces: frozenset[str],
    unmet: list[Unmet],
    obligations: list[Obligation],
    plus: int,
) -> None:
    verdict = meeting(baseline=result)
    calm = decide(verdict, who, kinds=KINDS, enforces=enforces)
    overlaid = decide(
        verdict,
        who,
        kinds=KINDS,
        enforces=enforces,
        extra_unmet=unmet,
        extra_obligations=obligations,
        threshold_plus=plus,
    )

    assert calm.opens or not overlaid.opens
    assert overlaid.threshold >= calm.threshold


@given(st.permutations(list(LAYERS)), RESULTS, RESULTS)
def test_the_order_of_layers_means_nothing(order: list[str], one: LayerResult, other: LayerResult) -> None:
    results = dict(zip(LAYERS, (one, other), strict=True))

    assert meet(results, required=tuple(order), known=KINDS) == meet(results, required=LAYERS, known=KINDS)


# -- observation ------------------------------------------------------------------------------------------------------


def test_observation_waives_and_keeps_what_would_have_been_decided() -> None:
    decision = observe(decided("MFA_REQUIRED"), codes=None, rank=200)

    assert (decision.effect, decision.observed, decision.reasons) == (Effect.OBSERVE, Effect.STEP_UP, ("MFA_REQUIRED",))
    assert decision.opens


def test_observation_of_named_codes_waives_only_those() -> None:
    named = frozenset({"MFA_REQUIRED"})

    assert observe(decided("MFA_REQUIRED"), codes=named, rank=0).opens
    assert not observe(decided("MFA_REQUIRED", "NOT_ALLOWED"), codes=named, rank=0).opens


def test_nothing_above_c2_is_observed() -> None:
    assert not observe(decided("MFA_REQUIRED"), codes=None, rank=201).opens


def test_an_allow_is_not_turned_into_an_observation() -> None:
    assert observe(decided(), codes=None, rank=0).effect is Effect.ALLOW


def test_a_refusal_before_policy_names_its_code() -> None:
    assert Decision.deny("TOKEN_EXPIRED", step_up=True).effect is Effect.STEP_UP
    assert Decision.deny("TOKEN_ALG").effect is Effect.DENY
    assert Decision.deny("TOKEN_ALG").reasons == ("TOKEN_ALG",)
