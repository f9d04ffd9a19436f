"""What decides besides the layers: overlays, read-only, onboarding; and that more of any of it never opens."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_engine.core.catalogue import Observe
from zt_engine.core.decision import Decision, Effect, LayerResult, Obligation, Unmet, meet
from zt_engine.core.errors import UnavailableError
from zt_engine.core.identity import ANONYMOUS, Subject
from zt_engine.core.judgement import BLOCKED_DEVICES, Circumstances, judge, undisputed, weigh
from zt_engine.core.situation import Applied, AppliedGrant

KINDS = {
    "AUTH_REQUIRED": "auth",
    "MFA_REQUIRED": "auth",
    "REPORT_STALE": "report",
    "NOT_ALLOWED": "none",
    "TRUST_LOW": "contact",
    "OVERLAY_DENIED": "contact",
    "OVERLAY_CEILING": "contact",
    "DEVICE_CEILING": "device",
    "OVERLAY_ACR": "auth",
    "OVERLAY_REPORT_AGE": "report",
}
ASSURANCE = {"pwd": 1, "phr": 2, "phrh": 3}
NOW = 1_790_000_000
USER = Subject(type="user", id="tanaka", acr="phr", amr=("hwk",), auth_time=NOW - 100)
QUIET = Applied(threat_level=0)
GLASS = AppliedGrant(
    id="g1", kind="break_glass", ceiling=200, waives=(), not_after=1790003600, action="", object="", approvers=("sato",)
)
BROKEN = Applied(threat_level=0, grants=(GLASS,))
ONBOARDING = Observe(until=NOW + 86_400)


def circumstances(**changes: object) -> Circumstances:
    fields: dict[str, object] = {
        "score": 90, "best": 100, "after_step_up": 100, "subject": USER, "device_status": "active", "report_age": 60,
        "rank": 200, "write": False, "enforces": ("no_store", "notify_owner", "read_only"), "applied": QUIET,
        "observed": None, "tick_end": NOW,
    }  # fmt: skip
    return Circumstances(**{**fields, **changes})


def layer(*unmet: str | Unmet, obligations: tuple[str, ...] = (), threshold: int = 60) -> LayerResult:
    items = [Unmet(item) if isinstance(item, str) else item for item in unmet]
    return LayerResult(
        allow=not items, unmet=items, obligations=[Obligation(name) for name in obligations], threshold=threshold
    )


def judged(*unmet: str | Unmet, obligations: tuple[str, ...] = (), threshold: int = 60, **changes: object) -> Decision:
    return judge(
        {"baseline": layer(*unmet, obligations=obligations, threshold=threshold)},
        circumstances(**changes),
        required=("baseline",),
        kinds=KINDS,
        assurance=ASSURANCE,
    )


# -- overlays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("applied", "reason"),
    [
        (Applied(threat_level=0, deny=("OVERLAY_DENIED",)), "OVERLAY_DENIED"),
        (Applied(threat_level=0, ceiling=100), "OVERLAY_CEILING"),
        (Applied(threat_level=0, ceiling=100, registered=100), "DEVICE_CEILING"),
        (Applied(threat_level=0, ceiling=50, registered=100), "OVERLAY_CEILING"),
        (Applied(threat_level=0, acr="phrh"), "OVERLAY_ACR"),
        (Applied(threat_level=0, acr="of-another-pack"), "OVERLAY_ACR"),
    ],
)
def test_an_overlay_in_force_takes_an_allow_away(applied: Applied, reason: str) -> None:
    decision = judged(applied=applied)

    assert not decision.opens
    assert reason in decision.reasons


@pytest.mark.parametrize(
    "applied",
    [
        Applied(threat_level=4),
        Applied(threat_level=0, ceiling=200),
        Applied(threat_level=0, acr="phr"),
        Applied(threat_level=0, report_age=60),
        Applied(threat_level=0, threshold_plus=30),
        Applied(threat_level=0, obligations=("no_store",)),
    ],
)
def test_an_overlay_whose_demand_is_met_leaves_an_allow(applied: Applied) -> None:
    assert judged(applied=applied).effect is Effect.ALLOW


def test_an_overlay_that_asks_for_a_stronger_sign_in_says_which() -> None:
    decision = judged(applied=Applied(threat_level=0, acr="phrh"))

    assert (decision.effect, decision.unmet) == (Effect.STEP_UP, (Unmet("OVERLAY_ACR", acr="phrh"),))


def test_an_overlay_that_asks_for_a_fresher_report_says_report_now() -> None:
    decision = judged(applied=Applied(threat_level=0, report_age=59))

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("REPORT_NOW", "OVERLAY_REPORT_AGE"))


def test_an_obligation_of_an_overlay_must_be_enforced_as_well() -> None:
    decision = judged(applied=Applied(threat_level=0, obligations=("watermark",)))

    assert decision.reasons == ("OBLIGATION_UNENFORCEABLE",)


# -- sign in again ----------------------------------------------------------------------------------------------------


def test_a_sign_in_that_is_too_weak_is_asked_for_again() -> None:
    assert judged(Unmet("MFA_REQUIRED", acr="phrh")).effect is Effect.STEP_UP


def test_a_sign_in_that_is_too_old_is_asked_for_again() -> None:
    assert judged(Unmet("MFA_REQUIRED", acr="phr", max_age=99)).effect is Effect.STEP_UP


def test_a_sign_in_that_is_all_that_was_asked_for_is_not_asked_for_again() -> None:
    decision = judged(Unmet("MFA_REQUIRED", acr="phr", max_age=100), best=0)

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("MFA_REQUIRED",))


def test_one_of_two_demands_that_is_unmet_is_reason_enough_to_ask_again() -> None:
    demands = (Unmet("MFA_REQUIRED", acr="phr"), Unmet("MFA_REQUIRED", acr="phrh"))

    assert judged(*demands).effect is Effect.STEP_UP


def test_an_anonymous_request_is_asked_to_sign_in_whatever_else_is_unmet() -> None:
    decision = judged("AUTH_REQUIRED", "NOT_ALLOWED", subject=ANONYMOUS, score=0, best=0, after_step_up=0)

    assert decision.effect is Effect.STEP_UP


# -- read-only --------------------------------------------------------------------------------------------------------


def test_what_is_opened_by_breaking_the_glass_is_recorded() -> None:
    enforced = ("no_store", "record_session")
    opened = judged(applied=BROKEN, enforces=enforced, obligations=("no_store",))
    again = msgspec.structs.replace(BROKEN, obligations=("record_session",))

    assert [duty.id for duty in opened.obligations] == ["no_store", "record_session"]
    assert judged(applied=again, enforces=enforced, obligations=("no_store",)).obligations == opened.obligations
    assert judged(applied=BROKEN, enforces=()).reasons == ("OBLIGATION_UNENFORCEABLE",)


def test_other_grants_ask_for_no_recording() -> None:
    other = Applied(threat_level=0, grants=(msgspec.structs.replace(GLASS, kind="exception"),))

    assert judged(applied=other, obligations=("no_store",)).obligations == (Obligation("no_store"),)


def test_read_only_refuses_a_write_and_lets_a_read_through() -> None:
    assert judged(obligations=("read_only",), write=False).effect is Effect.ALLOW
    assert judged(obligations=("read_only",), write=True).reasons == ("READ_ONLY",)


def test_read_only_of_an_overlay_refuses_a_write() -> None:
    assert judged(applied=Applied(threat_level=0, obligations=("read_only",)), write=True).reasons == ("READ_ONLY",)


# -- onboarding -------------------------------------------------------------------------------------------------------


def test_onboarding_lets_through_what_only_layers_refuse_and_records_the_refusal() -> None:
    decision = judged("NOT_ALLOWED", observed=ONBOARDING)

    assert (decision.effect, decision.observed, decision.reasons) == (Effect.OBSERVE, Effect.DENY, ("NOT_ALLOWED",))


def test_onboarding_waives_the_threshold_of_the_layers() -> None:
    assert judged(score=10, best=10, after_step_up=10, observed=ONBOARDING).effect is Effect.OBSERVE


@pytest.mark.parametrize(
    "changes",
    [
        {"observed": Observe(until=NOW - 1)},
        {"observed": Observe(until=NOW + 1, codes=("MFA_REQUIRED",))},
        {"rank": 300},
        *({"device_status": status} for status in sorted(BLOCKED_DEVICES)),
        {"applied": Applied(threat_level=0, deny=("OVERLAY_DENIED",))},
        {"applied": Applied(threat_level=0, ceiling=100)},
        {"applied": Applied(threat_level=0, report_age=1)},
        {"applied": Applied(threat_level=0, obligations=("watermark",))},
        {"applied": Applied(threat_level=0, obligations=("read_only",)), "write": True},
    ],
)
def test_onboarding_waives_nothing_of_what_does_not_belong_to_the_layers(changes: dict[str, object]) -> None:
    decision = judged("NOT_ALLOWED", **{"observed": ONBOARDING, **changes})

    assert (decision.effect, decision.observed) == (Effect.DENY, None)


@pytest.mark.parametrize("threshold", [60, 70])
def test_onboarding_does_not_waive_a_threshold_that_an_overlay_raised(threshold: int) -> None:
    raised = Applied(threat_level=0, threshold_plus=10)

    decision = judged(threshold=threshold, score=65, best=65, after_step_up=65, observed=ONBOARDING, applied=raised)

    assert (decision.effect, decision.reasons) == (Effect.DENY, ("TRUST_LOW",))


def test_onboarding_does_not_switch_obligations_off() -> None:
    assert judged("NOT_ALLOWED", obligations=("watermark",), observed=ONBOARDING).effect is Effect.DENY
    assert judged("NOT_ALLOWED", obligations=("read_only",), write=True, observed=ONBOARDING).effect is Effect.DENY


def test_a_layer_that_is_malformed_is_never_observed() -> None:
    broken = LayerResult(allow=True, unmet=[Unmet("NOT_ALLOWED")], obligations=[], threshold=0)

    with pytest.raises(UnavailableError) as refused:
        judge(
            {"baseline": broken},
            circumstances(observed=ONBOARDING),
            required=("baseline",),
            kinds=KINDS,
            assurance=ASSURANCE,
        )

    assert refused.value.code == "LAYER_MALFORMED"


# -- invariant 5, over everything that can be added -------------------------------------------------------------------


def up_to_two(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    """At most two of these in any order, as one draw."""
    return st.sampled_from([found for size in range(3) for found in product(names, repeat=size)])


LAYERS = st.builds(
    lambda codes, obligations, threshold: layer(*codes, obligations=obligations, threshold=threshold),
    up_to_two("MFA_REQUIRED", "REPORT_STALE", "NOT_ALLOWED"),
    up_to_two("no_store", "read_only", "watermark"),
    st.integers(0, 110),
)
APPLIED = st.builds(
    Applied,
    threat_level=st.integers(0, 4),
    deny=st.sampled_from([(), ("OVERLAY_DENIED",)]),
    ceiling=st.sampled_from([None, None, None, None, 0, 100, 200, 1000]),
    threshold_plus=st.integers(0, 50),
    acr=st.sampled_from([None, None, None, None, "pwd", "phr", "phrh", "unknown"]),
    report_age=st.none() | st.integers(0, 200),
    obligations=st.sampled_from([(), ("read_only",), ("watermark",), ("no_store",)]),
    grants=st.sampled_from([(), (GLASS,)]),
)
WHERE = st.builds(
    circumstances,
    score=st.integers(0, 100),
    best=st.integers(0, 100),
    after_step_up=st.integers(0, 100),
    rank=st.sampled_from([0, 100, 200, 300]),
    write=st.booleans(),
    device_status=st.sampled_from(["active", "unknown", "lost"]),
    observed=st.none()
    | st.builds(
        Observe,
        until=st.sampled_from([NOW - 1, NOW + 10]),
        codes=st.sampled_from([(), ("NOT_ALLOWED",), ("NOT_ALLOWED", "MFA_REQUIRED", "TRUST_LOW")]),
    ),
)


def tighter(one: Applied, other: Applied) -> Applied:
    """Both in force: what `Situation.effective` makes of the two together."""
    known = [acr for acr in (one.acr, other.acr) if acr is not None]
    return Applied(
        threat_level=max(one.threat_level, other.threat_level),
        deny=tuple(sorted({*one.deny, *other.deny})),
        ceiling=min((c for c in (one.ceiling, other.ceiling) if c is not None), default=None),
        threshold_plus=max(one.threshold_plus, other.threshold_plus),
        acr=max(known, key=lambda acr: ASSURANCE.get(acr, 2**53), default=None),
        report_age=min((age for age in (one.report_age, other.report_age) if age is not None), default=None),
        obligations=tuple(sorted({*one.obligations, *other.obligations})),
    )


@settings(max_examples=600)
@given(LAYERS, LAYERS, APPLIED, APPLIED, WHERE)
def test_one_more_layer_or_overlay_never_opens(
    one: LayerResult, more: LayerResult, calm: Applied, overlay: Applied, where: Circumstances
) -> None:
    before = judge(
        {"baseline": one},
        msgspec.structs.replace(where, applied=calm),
        required=("baseline",),
        kinds=KINDS,
        assurance=ASSURANCE,
    )

    for results, applied in (
        ({"baseline": one, "ministry": more}, calm),
        ({"baseline": one}, tighter(calm, overlay)),
        ({"baseline": one, "ministry": more}, tighter(calm, overlay)),
    ):
        after = judge(
            results,
            msgspec.structs.replace(where, applied=applied),
            required=tuple(results),
            kinds=KINDS,
            assurance=ASSURANCE,
        )
        assert before.opens or not after.opens


@settings(max_examples=600)
@given(LAYERS, LAYERS, APPLIED, WHERE)
def test_what_nothing_disputes_is_allowed_by_weighing_as_well(
    one: LayerResult, more: LayerResult, applied: Applied, where: Circumstances
) -> None:
    """The shortcut says yes only where the whole rule comes to the very same decision."""
    verdict = meet({"baseline": one, "ministry": more}, required=("baseline", "ministry"), known=KINDS)
    there = msgspec.structs.replace(where, applied=applied)
    duties = frozenset(duty.id for duty in verdict.obligations)

    plain = undisputed(verdict, duties, score=there.score, enforces=there.enforces, write=there.write, applied=applied)

    if plain:
        allowed = Decision(effect=Effect.ALLOW, obligations=verdict.obligations, threshold=verdict.threshold)
        assert weigh(verdict, there, kinds=KINDS, assurance=ASSURANCE) == allowed


def test_the_ordinary_case_is_undisputed() -> None:
    verdict = meet({"baseline": layer(obligations=("no_store",))}, required=("baseline",), known=KINDS)

    def plain(**changes: object) -> bool:
        given_ = {"score": 90, "enforces": ("no_store",), "write": False, "applied": QUIET} | changes
        return undisputed(verdict, frozenset({"no_store"}), **given_)

    assert plain()
    assert not plain(score=59)
    assert not plain(enforces=())
    assert not plain(applied=Applied(threat_level=0, obligations=("watermark",)))
    assert plain(write=True)
