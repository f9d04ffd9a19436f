"""What a shadow saw of a candidate, and whether that is a reason to take it back.

Shares are of people, not of requests, and of people who proved who they are: whoever sends a flood of requests without
a sign-in, or of requests that are denied either way, moves none of these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

Count = Annotated[int, Meta(ge=0, le=2**53)]
PerMille = Annotated[int, Meta(ge=0, le=1000)]
Text = Annotated[str, Meta(max_length=256)]
Guard = Literal["newly_denied", "newly_allowed", "errors", "p99", "must_allow"]

MAX_CHANGES: Final = 200
MAX_SAMPLES: Final = 5
MAX_CASES: Final = 1_000
FULL: Final = 1000
LONE: Final = 2
"""As long as no more report, each is believed for itself."""
CONFIRMED: Final = 2
"""Where more report, so many have to say it."""


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who has to get in somewhere; an empty part is anybody, or anywhere."""

    subject: Text = ""
    service: Text = ""


class Change(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Decisions that come out otherwise under the candidate: where, by which rule, for how many, and some of them."""

    service: Text
    before: Text
    after: Text
    reason: Text = ""
    """The first code of the side that refuses: which rule it is about."""
    verified: bool
    count: Count = 0
    samples: Annotated[tuple[Text, ...], Meta(max_length=MAX_SAMPLES)] = ()
    """Ids of decisions as the log has them."""


class ShadowReport(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the shadow beside one sidecar has seen of one candidate since it began; each replaces the one before."""

    ref_seq: Count
    began_at: Count
    keys: Count = 0
    """Inputs that were new, as the decision log tells them apart."""
    decided: Count = 0
    """How many of them were decided under the candidate."""
    errors: Count = 0
    """How many of those could not be decided: the engine failed or answered nothing legal."""
    subjects: Count = 0
    """People, programs and machines among them who proved who they are."""
    newly_denied: Count = 0
    """How many of those lose something."""
    newly_allowed: Count = 0
    """How many of those gain something."""
    p99_us: Count = 0
    """Of the decisions of the sidecar itself, of late."""
    must_allow: Annotated[tuple[Change, ...], Meta(max_length=MAX_CHANGES)] = ()
    changes: Annotated[tuple[Change, ...], Meta(max_length=MAX_CHANGES)] = ()
    dropped: Count = 0
    """Kinds of changes that found no room."""


class Guards(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a rollout is taken back without anybody being asked, and what it takes to go on by itself."""

    newly_denied: PerMille = 20
    newly_allowed: PerMille = 200
    errors: PerMille = 5
    p99_us: Count = 50_000
    least_subjects: Annotated[int, Meta(ge=1, le=2**31)] = 20
    """Below so many a share of people says nothing."""
    least_decided: Count = 100
    """So many new keys are decided under the candidate before it goes on by itself."""
    coverage: PerMille = 990
    must_allow: Annotated[tuple[Case, ...], Meta(max_length=MAX_CASES)] = ()


class Breach(Struct, frozen=True, kw_only=True):
    """A guard that does not hold: what was seen, and what was allowed for."""

    guard: Guard
    seen: int
    limit: int
    of: int = 0
    samples: tuple[str, ...] = ()


def breaches(reports: Sequence[ShadowReport], guards: Guards, *, all_heard: bool = True) -> tuple[Breach, ...]:
    """Return every guard that does not hold, whichever one sidecar is not believed; one or two alone are believed.

    `all_heard`: whether every shadow has had the time to report. Before that, whoever is quickest is not the only one.

    INVARIANT: where others report too, one report, whatever it says, breaches nothing that the others do not.
    """
    said = [report for report in reports if _says_something(report)]
    found = suspicions(said, guards)
    if not found or (all_heard and len(said) <= LONE):
        return found
    total = _Sum().plus(said)
    kept = {breach.guard for breach in found if breach.guard not in ("p99", "must_allow")}
    for one in said:
        kept &= _broken(total.without(one), guards).keys()
    if sum(report.p99_us > guards.p99_us for report in said) >= CONFIRMED:
        kept.add("p99")
    if sum(bool(report.must_allow) for report in said) >= CONFIRMED:
        kept.add("must_allow")
    return tuple(breach for breach in found if breach.guard in kept)


def suspicions(reports: Sequence[ShadowReport], guards: Guards) -> tuple[Breach, ...]:
    """Return every guard that does not hold if every sidecar is believed: over all together, p99 for any one."""
    found = [
        one if one.guard == "errors" else replace(one, samples=_samples(reports, opened=one.guard == "newly_allowed"))
        for one in _broken(_Sum().plus(reports), guards).values()
    ]
    slowest = max((report.p99_us for report in reports), default=0)
    if slowest > guards.p99_us:
        found.append(Breach(guard="p99", seen=slowest, limit=guards.p99_us))
    shut_out = [change for report in reports for change in report.must_allow]
    if shut_out:
        samples = tuple(sample for change in shut_out for sample in change.samples)[:MAX_SAMPLES]
        found.append(Breach(guard="must_allow", seen=sum(one.count for one in shut_out), limit=0, samples=samples))
    return tuple(found)


def _says_something(report: ShadowReport) -> bool:
    """Whether it was there at all: a sidecar that nobody asks cannot confirm what another one says."""
    counted = any(getattr(report, name) for name in _Sum.__struct_fields__)
    return counted or bool(report.must_allow)


class _Sum(Struct, frozen=True):
    """What reports say together."""

    subjects: int = 0
    newly_denied: int = 0
    newly_allowed: int = 0
    decided: int = 0
    errors: int = 0

    def plus(self, reports: Sequence[ShadowReport]) -> _Sum:
        return _Sum(*(sum(getattr(one, name) for one in reports) for name in self.__struct_fields__))

    def without(self, report: ShadowReport) -> _Sum:
        return _Sum(*(getattr(self, name) - getattr(report, name) for name in self.__struct_fields__))


def _broken(total: _Sum, guards: Guards) -> dict[Guard, Breach]:
    """Return the guards over shares that do not hold."""
    shares: tuple[tuple[Guard, int, int, int, int], ...] = (
        ("newly_denied", total.newly_denied, guards.newly_denied, total.subjects, guards.least_subjects),
        ("newly_allowed", total.newly_allowed, guards.newly_allowed, total.subjects, guards.least_subjects),
        ("errors", total.errors, guards.errors, total.decided, guards.least_decided),
    )
    return {
        guard: Breach(guard=guard, seen=seen, limit=limit, of=of)
        for guard, seen, limit, of, least in shares
        if of >= least and seen * FULL > limit * of
    }


def seen_enough(reports: Sequence[ShadowReport], guards: Guards) -> bool:
    """Whether so much was decided under the candidate that nothing against it means something."""
    keys, decided = sum(one.keys for one in reports), sum(one.decided for one in reports)
    return decided >= guards.least_decided and decided * FULL >= guards.coverage * keys


def concerns(case: Case, *, subject: str, service: str) -> bool:
    """Whether a decision is one of a case that has to be allowed."""
    return case.subject in ("", subject) and case.service in ("", service)


def _samples(reports: Sequence[ShadowReport], *, opened: bool) -> tuple[str, ...]:
    found = [
        sample
        for report in reports
        for change in report.changes
        if change.verified and opens(change.after) is opened
        for sample in change.samples
    ]
    return tuple(found[:MAX_SAMPLES])


def opens(effect: str) -> bool:
    """Whether a request with this effect gets through."""
    return effect in ("allow", "observe")
