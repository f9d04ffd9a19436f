"""Appraisal (RFC 9334): evidence and reference values in, posture out, at one instant.

Three rules hold whatever the evidence says. Stale evidence is never affirming. Where sources differ, the worse value
stands and the difference is reported. What was not observed is not known, and says nothing good.

When a whole fleet grows stale at once it is the sensor path that broke and not the fleet; that rule looks at many
devices and therefore does not live here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from device_inventory.facts import (
    FRESH,
    FRESHNESS,
    METHODS,
    FactEnvelope,
    FactValue,
    FreshnessClass,
    FreshnessRange,
    badness,
    confidence,
)

# The words of AR4SI (draft-ietf-rats-ar4si): nothing can be said; good; to be looked at; bad.
Tier = Literal["none", "affirming", "warning", "contraindicated"]
Expectation = Literal["equals", "at_most", "at_least", "one_of", "empty"]

_TIERS: Final[tuple[Tier, ...]] = ("affirming", "none", "warning", "contraindicated")


class Evidence(Struct, frozen=True, kw_only=True):
    """One fact as one source reports it."""

    fact: str
    envelope: FactEnvelope
    source: str


class ReferenceValue(Struct, frozen=True, kw_only=True):
    """What a fact must be; `tier` says how bad it is when it is not."""

    fact: str
    expect: Expectation
    value: FactValue = None
    tier: Literal["warning", "contraindicated"] = "contraindicated"


class AppraisedFact(Struct, frozen=True, kw_only=True):
    """What is held true of one fact: the envelope that stands, how fresh it is, and which sources said otherwise."""

    fact: str
    envelope: FactEnvelope
    confidence: int
    tier: Tier
    conflicts: tuple[str, ...] = ()


class DevicePosture(Struct, frozen=True, kw_only=True):
    """The appraised state of a device at one instant; `tier` is the worst of its parts, `none` without any."""

    tier: Tier
    facts: Mapping[str, AppraisedFact]
    codes: tuple[str, ...]
    """SOURCE_CONFLICT when any fact has one."""


def appraise(
    evidence: Iterable[Evidence],
    references: Sequence[ReferenceValue],
    *,
    boot_id: str,
    now: int,
    ranges: Mapping[FreshnessClass, FreshnessRange] = FRESHNESS,
) -> DevicePosture:
    """Compare evidence with reference values at `now`; stale evidence is never affirming.

    A reference value without evidence is appraised as `none`; evidence without a reference value is kept, as `none`.
    """
    by_fact: dict[str, list[Evidence]] = {reference.fact: [] for reference in references}
    for item in evidence:
        by_fact.setdefault(item.fact, []).append(item)
    expected: dict[str, list[ReferenceValue]] = {}
    for reference in references:
        expected.setdefault(reference.fact, []).append(reference)
    facts: dict[str, AppraisedFact] = {}
    for fact, items in by_fact.items():
        standing, conflicts = reconcile(items, boot_id=boot_id, now=now, ranges=ranges)
        if standing is None:
            standing = FactEnvelope(status="not_collected", value=None, method="declared", received_at=0)
        fresh = confidence(fact, standing, boot_id=boot_id, now=now, ranges=ranges)
        tier = _tier(standing, fresh, expected.get(fact, ()))
        facts[fact] = AppraisedFact(fact=fact, envelope=standing, confidence=fresh, tier=tier, conflicts=conflicts)
    judged = [facts[fact].tier for fact in expected]
    return DevicePosture(
        tier=max(judged, key=_TIERS.index, default="none"),
        facts=MappingProxyType(facts),
        codes=("SOURCE_CONFLICT",) if any(fact.conflicts for fact in facts.values()) else (),
    )


def reconcile(
    items: Sequence[Evidence],
    *,
    boot_id: str,
    now: int,
    ranges: Mapping[FreshnessClass, FreshnessRange] = FRESHNESS,
) -> tuple[FactEnvelope | None, tuple[str, ...]]:
    """Return the envelope that stands for one fact, and the sources that said something better (SOURCE_CONFLICT).

    Void evidence takes no part. Of the rest the worse value stands; of equal values the best proven and freshest one.
    Values of a fact that has no worse and better (a version, a name) cannot be reconciled: the fact is an error then.
    """
    if not items:
        return None, ()
    fact = items[0].fact
    ages = {id(item): confidence(fact, item.envelope, boot_id=boot_id, now=now, ranges=ranges) for item in items}
    live = [item for item in items if ages[id(item)] > 0]
    if not live:
        return max(items, key=lambda item: item.envelope.received_at).envelope, ()
    proven = sorted(live, key=lambda item: (METHODS.index(item.envelope.method), -ages[id(item)], item.source))
    if len({(type(item.envelope.value), item.envelope.value) for item in live}) == 1:
        return proven[0].envelope, ()
    ranks = [badness(fact, item.envelope.value) for item in proven]
    known = [rank for rank in ranks if rank is not None]
    sources = tuple(sorted(item.source for item in live))
    if len(known) != len(ranks):
        standing = proven[-1].envelope
        return FactEnvelope(
            status="error", value=None, method=standing.method, received_at=standing.received_at
        ), sources
    worst = max(known)
    better = tuple(sorted(item.source for item, rank in zip(proven, known, strict=True) if rank != worst))
    return proven[known.index(worst)].envelope, better


def _tier(envelope: FactEnvelope, fresh: int, references: Sequence[ReferenceValue]) -> Tier:
    if not references or envelope.status != "observed":
        return "none"
    broken = [reference.tier for reference in references if not _meets(envelope.value, reference)]
    if broken:
        # Old bad news stays bad news until something newer contradicts it.
        return max(broken, key=_TIERS.index)
    return "affirming" if fresh == FRESH else "none"


def _meets(value: FactValue, reference: ReferenceValue) -> bool:
    match reference.expect, value, reference.value:
        case "equals", _, wanted:
            return type(value) is type(wanted) and value == wanted
        case "at_most", int() | float(), int() | float() as limit if not isinstance(value, bool):
            return value <= limit
        case "at_least", int() | float(), int() | float() as limit if not isinstance(value, bool):
            return value >= limit
        case "one_of", str(), tuple() as choices:
            return value in choices
        case "empty", tuple(), _:
            return not value
    return False
