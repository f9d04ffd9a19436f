"""A candidate decided in shadow: recorded inputs as they read with it and without it, and what comes out otherwise.

A recorded input holds what was in force when it was decided. Taking one record of the situation out of it, or putting
one in, touches nothing else of it; trust and label stay as they were recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from zt_engine.core.guards import (
    MAX_CHANGES,
    MAX_SAMPLES,
    Case,
    Change,
    ShadowReport,
    concerns,
    opens,
)
from zt_engine.core.policy_input import GrantInput, OverlayInput, PolicyInput
from zt_engine.core.situation import Grant, Overlay, Target, clamped, covers, granted

Kind = Literal["overlay", "grant", "threat_level", "release"]

FAILED: Final = ("ENGINE_", "LAYER_")
"""How codes begin that say that nothing was decided."""
MAX_SUBJECTS: Final = 100_000


class Record(Struct, frozen=True, kw_only=True):
    """One record of the situation, read; all of it empty: there is none."""

    overlay: Overlay | None = None
    grant: Grant | None = None
    level: int | None = None


class Outcome(Struct, frozen=True):
    """What was decided, as far as it is compared."""

    effect: str
    reasons: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether nothing legal was answered."""
        return any(reason.startswith(FAILED) for reason in self.reasons)


def varied(document: PolicyInput, kind: Kind, id_: str, record: Record, ranks: Mapping[str, int]) -> PolicyInput:
    """Return an input as it reads when this record is in force, and no other of its id."""
    situation = document.situation
    match kind:
        case "threat_level":
            level = record.level if record.level is not None else 0
            return replace(document, situation=replace(situation, threat_level=level))
        case "overlay":
            overlays = [one for one in situation.overlays if one.id != id_]
            if record.overlay is not None and _applies(record.overlay, document, ranks):
                overlays.append(OverlayInput(record.overlay.id, record.overlay.effect, record.overlay.scope))
            overlays.sort(key=lambda one: one.id)
            return replace(document, situation=replace(situation, overlays=overlays))
        case "grant":
            grants = [one for one in document.grants if one.id != id_]
            if record.grant is not None and _granted(record.grant, document):
                grants.append(_shown(clamped(record.grant)))
            grants.sort(key=lambda one: one.id)
            return replace(document, grants=grants)
    return document


def verified(document: PolicyInput) -> bool:
    """Whether somebody proved who they are."""
    return document.subject.type != "anonymous" and bool(document.subject.id)


class Tally:
    """Counts what one candidate changes; `report` is all of it since the beginning."""

    def __init__(self, ref_seq: int, *, began_at: int, must_allow: Sequence[Case] = ()) -> None:
        self._ref_seq = ref_seq
        self._began_at = began_at
        self._cases = tuple(must_allow)
        self.keys = 0
        self._decided = self._errors = self._dropped = 0
        self._subjects: set[str] = set()
        self._denied: set[str] = set()
        self._allowed: set[str] = set()
        self._changes: dict[tuple[str, str, str, str, bool], Change] = {}
        self._shut_out: dict[tuple[str, str, str, str, bool], Change] = {}

    def add(self, document: PolicyInput, before: Outcome, after: Outcome, sample: str) -> None:
        """Count one new key: what it comes to without the candidate and with it. `sample` is empty if not known."""
        self._decided += 1
        subject, service, known = document.subject.id, document.resource.service, verified(document)
        name = f"{document.subject.issuer}|{subject}"
        if known and len(self._subjects) < MAX_SUBJECTS:
            self._subjects.add(name)
        if after.failed and not before.failed:
            self._errors += 1
        if before.effect == after.effect and before.reasons == after.reasons:
            return
        closes = opens(before.effect) and not opens(after.effect)
        if known and closes:
            self._denied.add(name)
        if known and opens(after.effect) and not opens(before.effect):
            self._allowed.add(name)
        refusing = after if not opens(after.effect) else before
        reason = refusing.reasons[0] if refusing.reasons else ""
        key = (service, before.effect, after.effect, reason, known)
        if len(self._changes) < MAX_CHANGES or key in self._changes:
            _count(self._changes, key, sample)
        else:
            self._dropped += 1
        if closes and any(concerns(case, subject=subject, service=service) for case in self._cases):
            _count(self._shut_out, key, sample)

    def wants_sample(self, document: PolicyInput, before: Outcome, after: Outcome) -> bool:
        """Whether it is worth looking up the id of a decision."""
        return (before.effect, before.reasons) != (after.effect, after.reasons) and len(self._changes) < MAX_CHANGES

    def report(self, *, p99_us: int = 0) -> ShadowReport:
        """Return what was seen since the beginning."""
        return ShadowReport(
            ref_seq=self._ref_seq,
            began_at=self._began_at,
            keys=self.keys,
            decided=self._decided,
            errors=self._errors,
            subjects=len(self._subjects),
            newly_denied=len(self._denied & self._subjects),
            newly_allowed=len(self._allowed & self._subjects),
            p99_us=p99_us,
            must_allow=tuple(self._shut_out.values())[:MAX_CHANGES],
            changes=tuple(sorted(self._changes.values(), key=lambda one: -one.count)),
            dropped=self._dropped,
        )


def _count(
    held: dict[tuple[str, str, str, str, bool], Change], key: tuple[str, str, str, str, bool], sample: str
) -> None:
    service, before, after, reason, known = key
    change = held.get(key) or Change(service=service, before=before, after=after, reason=reason, verified=known)
    samples = (*change.samples, sample) if sample and len(change.samples) < MAX_SAMPLES else change.samples
    held[key] = replace(change, count=change.count + 1, samples=samples)


def _target(document: PolicyInput) -> Target:
    subject, delegate = document.subject, document.subject.delegate
    return Target(
        service=document.resource.service,
        label_rank=document.resource.label.rank,
        subject_id=subject.id,
        actor_id=delegate.id if delegate is not None else "",
        groups=subject.groups,
        restricted_groups=subject.groups,
        device_id=document.device.id,
        ownership=document.device.ownership if document.device.id else "",
    )


def _applies(overlay: Overlay, document: PolicyInput, ranks: Mapping[str, int]) -> bool:
    target = _target(document)
    return (
        not overlay.exercise
        and overlay.not_before <= document.time
        and overlay.not_after >= document.tick_start
        and all(covers(term, target, ranks) for term in overlay.terms)
    )


def _granted(grant: Grant, document: PolicyInput) -> bool:
    inside = grant.not_before <= document.tick_start and grant.not_after >= document.time
    return inside and granted(clamped(grant), _target(document))


def _shown(grant: Grant) -> GrantInput:
    return GrantInput(
        id=grant.id,
        kind=grant.kind,
        ceiling=grant.ceiling,
        waives=list(grant.waives),
        not_after=grant.not_after,
        action=grant.action,
        object=grant.object,
        approvers=list(grant.approvers),
    )
