"""Why a score is what it is: every point of it, and the least that would have to change.

This is for operators and for `zt decide`. A person who is denied sees remedies, never thresholds or risk signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from msgspec import Struct

from device_inventory.facts import FRESH, FactStatus, FactValue
from zt_engine.core.trust import TrustScore, combine
from zt_engine.core.trust_model import POINT, Pillars, TrustModel
from zt_engine.core.trust_readings import FactorReading, Pillar, Readings, pillar_at, standing_of


class Item(Struct, frozen=True, kw_only=True):
    """One factor's part in the score: what decided it, what it brought, and what it left on the table."""

    pillar: Pillars
    factor: str
    weight: int
    source: str
    status: FactStatus
    value: FactValue
    method: str
    goodness: int
    confidence: int
    """Method times freshness, 0..1000."""
    points: int
    """Millionths of a pillar's point; the items of a pillar sum to it exactly."""
    lost: int
    """What is missing to the factor's full weight, in the same units."""
    contribution: int
    """Millionths of a point of the weighted mean; all items sum to it exactly."""
    renewable: int
    """What a fresh report or sign-in could bring, in the units of `points`."""
    age: int | None
    """Seconds, at the tick's end; None for what has no age."""


class Adjustment(Struct, frozen=True, kw_only=True):
    """What the score is moved by after the weighted mean, in millionths of a point: negative for a cap or penalty."""

    code: str
    pillar: str
    points: int


class Explanation(Struct, frozen=True, kw_only=True):
    """The itemised score. INVARIANT: contributions and adjustments sum to `score.exact` to the last millionth."""

    score: TrustScore
    items: tuple[Item, ...]
    adjustments: tuple[Adjustment, ...]
    facts_as_of: int | None = None
    """The instant the device was judged at, if ageing stood still."""


def explain(
    model: TrustModel,
    *,
    device: Readings,
    subject: Readings,
    context: Readings,
    tick_end: int,
    penalty: int = 0,
    facts_as_of: int | None = None,
) -> Explanation:
    """Itemise the score that `combine` gives for the same three pillars."""
    device_at = tick_end if facts_as_of is None else facts_as_of
    d, s, c = pillar_at(device, device_at), pillar_at(subject, tick_end), pillar_at(context, tick_end)
    weights = (model.device_weight, model.subject_weight, model.context_weight)
    items: list[Item] = []
    running = 0
    for readings, weight in zip((device, subject, context), weights, strict=True):
        at = device_at if readings.pillar == "device" else tick_end
        for factor in readings.factors:
            # Rounded as a running total, so that the rounded parts add up to the rounded whole.
            before = running // 100
            running += weight * factor.weight * standing_of(factor, at)[1]
            items.append(_item(readings.pillar, factor, at, contribution=running // 100 - before))
    return Explanation(
        score=combine(model, d, s, c, penalty),
        items=tuple(items),
        adjustments=_adjustments(model, d, s, running // 100, penalty * POINT),
        facts_as_of=facts_as_of,
    )


def _item(pillar: Pillars, factor: FactorReading, now: int, *, contribution: int) -> Item:
    deciding, worth, renewed = standing_of(factor, now)
    points = factor.weight * worth
    dated = deciding.limits is not None and deciding.status == "observed"
    return Item(
        pillar=pillar,
        factor=factor.name,
        weight=factor.weight,
        source=deciding.source,
        status=deciding.status,
        value=deciding.value,
        method=deciding.method,
        goodness=deciding.goodness,
        confidence=deciding.multiplier * deciding.fresh(now) // FRESH,
        points=points,
        lost=factor.weight * POINT - points,
        contribution=contribution,
        renewable=factor.weight * renewed,
        age=max(0, now - deciding.received_at) if dated else None,
    )


def _adjustments(
    model: TrustModel, device: Pillar, subject: Pillar, weighted: int, penalty: int
) -> tuple[Adjustment, ...]:
    adjustments: list[Adjustment] = []
    weakest = "device" if device.exact < subject.exact else "subject"
    cap = min(device.exact, subject.exact) + model.slack * POINT
    if cap < weighted:
        adjustments.append(Adjustment(code="CAP_WEAKEST", pillar=weakest, points=cap - weighted))
    # What a penalty cannot take, because nothing is left, it does not take.
    taken = min(penalty, weighted, cap)
    if taken:
        adjustments.append(Adjustment(code="RISK_PENALTY", pillar="", points=-taken))
    return tuple(adjustments)


class Fix(Struct, frozen=True, kw_only=True):
    """Something that a person or their device can put right: a factor of the device, or the sign-in."""

    pillar: Pillars
    factor: str


def fixes(
    model: TrustModel,
    *,
    device: Readings,
    subject: Readings,
    context: Readings,
    tick_end: int,
    threshold: int,
    penalty: int = 0,
    facts_as_of: int | None = None,
) -> tuple[Fix, ...] | None:
    """The fewest fixes that lift the score to `threshold`; empty if it is there already, None if none suffice.

    A fixed device factor is good and just reported by the method it has (else by the signed agent); a fixed sign-in is
    the strongest, just now. Exact up to three fixes, then greedy by lost points. Circumstances and risk signals are
    never offered: nobody should be told how to look harmless.
    """
    device_at = tick_end if facts_as_of is None else facts_as_of
    gains = _gains(device, subject, tick_end, device_at)
    d, s, c = pillar_at(device, device_at), pillar_at(subject, tick_end), pillar_at(context, tick_end)

    def suffices(chosen: Sequence[Fix]) -> bool:
        lifted = {"device": d.exact, "subject": s.exact}
        for fix in chosen:
            lifted[fix.pillar] += gains[fix]
        then_d, then_s = (Pillar(exact, exact, exact) for exact in lifted.values())
        return combine(model, then_d, then_s, c, penalty).exact >= threshold * POINT

    ordered = sorted(gains, key=lambda fix: (-gains[fix], fix.pillar, fix.factor))
    if not suffices(ordered):
        return None
    for count in range(4):
        for chosen in combinations(ordered, count):
            if suffices(chosen):
                return chosen
    count = next(count for count in range(len(ordered) + 1) if suffices(ordered[:count]))
    return tuple(ordered[:count])


def _gains(device: Readings, subject: Readings, now: int, device_at: int) -> dict[Fix, int]:
    gains: dict[Fix, int] = {}
    for factor in device.factors:
        _, worth, _ = standing_of(factor, device_at)
        repaired = (max if factor.any_part else min)(reading.ceiling for reading in factor.readings)
        gains[Fix(pillar="device", factor=factor.name)] = factor.weight * (repaired - worth)
    sign_in = pillar_at(subject, now)
    # One sign-in renews both the authenticator and its age.
    gains[Fix(pillar="subject", factor="authenticator")] = sign_in.stepped_up - sign_in.exact
    return {fix: gain for fix, gain in gains.items() if gain > 0}
