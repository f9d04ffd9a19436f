"""What is going on right now, and what follows from it: overlays that tighten, grants that people signed, revocations.

An overlay can only tighten: its effects form a meet, so neither the order of overlays nor the end of one of them can
reopen what another closes, and the end of all of them restores the decisions of before exactly. It counts as soon as
it covers *any part* of a decision tick. A grant is the only thing that loosens: it arrives here after its approvals
were verified (`adapters.approvals`), counts only if it covers *all* of a tick, reaches no higher than C2, and never
helps a person who approved it. Exercises are recorded and change nothing.

Scopes are a closed grammar, `TERM [and TERM]...` with at most four terms, all of which must hold:
`tenant` everything; `service:ID`; `subject:ID`; `group:NAME` the subject is a member; `device:ID` the device whose key
was proven; `ownership:corp|byod|shared` that kind of device *or one nobody knows*, so that hiding a device escapes
nothing; `label:CODE` that label *or any above it*, so that a stricter label is never better off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.fleet import Freeze
from zt_engine.core.classification import RANK_C2
from zt_engine.core.errors import Problem

OverlayKind = Literal["deny", "ceiling", "threshold", "acr", "report_age", "obligation"]
TermKind = Literal["tenant", "service", "subject", "group", "device", "ownership", "label"]
GrantKind = Literal["exception", "break_glass", "continuity", "approval"]
RevocationKind = Literal["device", "cert", "subject", "session", "jti"]

MAX_THREAT_LEVEL = 4
FOREVER = 2**53
"""The end of a revocation that has none."""

ANY_SERVICE = "*"
REGISTRATION = "device-registration"
"""The id under which a device's own ceiling stands among the overlays; nobody may write one with it."""
OWNERSHIPS = ("corp", "byod", "shared")

_TENANT = ("tenant", "")


class Effect(Struct, frozen=True):
    """One effect of the closed list, parsed: `number` for ceiling, threshold and report_age, `name` for the others."""

    kind: OverlayKind
    number: int = 0
    name: str = ""


class Term(Struct, frozen=True):
    """One term of a scope; `tenant` has no name."""

    kind: TermKind
    name: str = ""


class Overlay(Struct, frozen=True, kw_only=True):
    """A tightening of policy with an end; `effect` and `scope` keep the words it was written in."""

    id: str
    effect: str
    scope: str
    not_before: int
    not_after: int
    parsed_effect: Effect
    terms: tuple[Term, ...]
    cause: str = ""
    severity: str = ""
    exercise: bool = False


class Grant(Struct, frozen=True, kw_only=True):
    """A loosening that people signed; `approvers` are those whose signatures were verified."""

    id: str
    kind: GrantKind
    subjects: frozenset[str]
    groups: frozenset[str]
    services: frozenset[str]
    ceiling: int
    waives: tuple[str, ...]
    not_before: int
    not_after: int
    approvers: tuple[str, ...]
    action: str = ""
    object: str = ""
    reason: str = ""


class Continuity(Struct, frozen=True, kw_only=True):
    """The declaration, signed by two people, that operations go on under restrictions of their own."""

    id: str
    not_before: int
    not_after: int
    reason: str = ""


class Target(Struct, frozen=True, kw_only=True):
    """What of a request the situation looks at; `action` is the catalogue's, and what an approval must name.

    Somebody who acts for another (`actor_id`) brings restrictions and no rights: overlays look at both and at every
    group of either (`restricted_groups`), grants at the subject and at the groups both hold (`groups`).
    """

    service: str
    label_rank: int
    subject_id: str = ""
    actor_id: str = ""
    groups: Collection[str] = ()
    restricted_groups: Collection[str] = ()
    device_id: str = ""
    ownership: str = ""
    action: str = ""


class AppliedGrant(Struct, frozen=True, kw_only=True):
    """A grant as the policy input shows it."""

    id: str
    kind: GrantKind
    ceiling: int
    waives: tuple[str, ...]
    not_after: int
    action: str
    object: str
    approvers: tuple[str, ...]


class AppliedOverlay(Struct, frozen=True, kw_only=True):
    """An overlay in force, as the policy input shows it."""

    id: str
    effect: str
    scope: str


class Applied(Struct, frozen=True, kw_only=True):
    """What the situation does to one request during one tick.

    `deny` has codes; `ceiling` is the lowest rank named (`None`: no overlay names one); `registered` the one that the
    device was registered with; `threshold_plus` the highest; `acr` the strongest; `report_age` the shortest, in
    seconds. `exercises` are recorded only.
    """

    threat_level: int
    continuity: bool = False
    deny: tuple[str, ...] = ()
    ceiling: int | None = None
    registered: int | None = None
    threshold_plus: int = 0
    acr: str | None = None
    report_age: int | None = None
    obligations: tuple[str, ...] = ()
    grants: tuple[AppliedGrant, ...] = ()
    overlays: tuple[AppliedOverlay, ...] = ()
    exercises: tuple[str, ...] = ()

    @property
    def breaks_glass(self) -> bool:
        """Whether a grant that breaks the glass counts."""
        return any(grant.kind == "break_glass" for grant in self.grants)

    @property
    def tightens(self) -> bool:
        """Whether anything here asks for more than the policy does."""
        return bool(
            self.deny
            or self.threshold_plus
            or self.obligations
            or self.ceiling is not None
            or self.acr is not None
            or self.report_age is not None
        )


class Situation(Struct, frozen=True, kw_only=True):
    """The whole situation of a tenant; `version` changes with anything that could change a decision.

    Made by `situate`. `problems` are grants that were refused, each with its reason; the rest is in force.
    """

    version: str
    threat_level: int
    overlays: tuple[Overlay, ...]
    grants: tuple[Grant, ...]
    continuity: Continuity | None
    revoked: Mapping[str, Mapping[str, int]]
    problems: tuple[Problem, ...]
    overlays_by_term: Mapping[tuple[str, str], tuple[Overlay, ...]]
    labelled: tuple[Overlay, ...]
    quiet: Applied
    freeze: Freeze | None = None
    """While it holds, devices that were healthy before are as old as they were then; it says when it ends."""

    @property
    def ordinary(self) -> bool:
        """Whether `effective` is `quiet` for everybody at all times."""
        return not self.overlays and not self.grants and self.continuity is None

    def is_revoked(self, kind: RevocationKind, key: str, *, now: float) -> bool:
        """Say whether something is revoked at this very moment; the last second of a revocation still counts."""
        until = self.revoked[kind].get(key)
        return until is not None and now <= until

    def effective(
        self, tick_start: int, tick_end: int, *, target: Target, ranks: Mapping[str, int], assurance: Mapping[str, int]
    ) -> Applied:
        """Give what is in force for one target during one tick.

        `ranks` are the label codes of the catalogue's scheme and `assurance` the levels of acr values. A label code
        that is not in `ranks` covers everything, and an acr without a level is stronger than all others.
        """
        if self.ordinary:
            return self.quiet
        live = [
            overlay
            for overlay in self._candidates(target)
            if overlay.not_before <= tick_end
            and overlay.not_after >= tick_start
            and all(covers(term, target, ranks) for term in overlay.terms)
        ]
        if not live and not self.grants and self.continuity is None:
            return self.quiet
        return _apply(
            sorted(live, key=_id),
            threat_level=self.threat_level,
            continuity=continuity_declared(self.continuity, tick_start, tick_end),
            grants=tuple(self._grants(tick_start, tick_end, target)),
            assurance=assurance,
        )

    def _candidates(self, target: Target) -> list[Overlay]:
        """Collect the overlays whose first term may hold: one look-up for each thing that the request names."""
        find = self.overlays_by_term.get
        keys = [_TENANT, ("service", target.service), ("subject", target.subject_id), ("device", target.device_id)]
        keys += [("subject", target.actor_id)] if target.actor_id not in ("", target.subject_id) else []
        keys += [("group", group) for group in dict.fromkeys((*target.groups, *target.restricted_groups))]
        owned = (target.ownership,) if target.ownership in OWNERSHIPS else OWNERSHIPS
        keys += [("ownership", kind) for kind in owned]
        return [*self.labelled, *(overlay for key in keys for overlay in find(key, ()))]

    def _grants(self, tick_start: int, tick_end: int, target: Target) -> Iterator[AppliedGrant]:
        for grant in self.grants:
            if grant.not_before <= tick_start and grant.not_after >= tick_end and granted(grant, target):
                yield AppliedGrant(
                    id=grant.id,
                    kind=grant.kind,
                    ceiling=grant.ceiling,
                    waives=grant.waives,
                    not_after=grant.not_after,
                    action=grant.action,
                    object=grant.object,
                    approvers=grant.approvers,
                )


def registered(applied: Applied, *, device_id: str, ceiling: int) -> Applied:
    """Return what applies to a device that was registered for labels up to a rank: one more overlay."""
    overlay = AppliedOverlay(id=REGISTRATION, effect=f"ceiling:{ceiling}", scope=f"device:{device_id}")
    return replace(
        applied,
        ceiling=ceiling if applied.ceiling is None else min(applied.ceiling, ceiling),
        registered=ceiling,
        overlays=tuple(sorted((*applied.overlays, overlay), key=_id)),
    )


REVOCATION_KINDS: tuple[RevocationKind, ...] = ("device", "cert", "subject", "session", "jti")


def situate(
    *,
    version: str,
    threat_level: int,
    overlays: Collection[Overlay] = (),
    grants: Collection[Grant] = (),
    continuity: Continuity | None = None,
    revoked: Mapping[str, Mapping[str, int]] | None = None,
    problems: Collection[Problem] = (),
    freeze: Freeze | None = None,
) -> Situation:
    """Index a situation, so that a request pays only for overlays that name something of it.

    INVARIANT: no grant but an approval reaches above C2 after this.
    """
    by_term: dict[tuple[str, str], tuple[Overlay, ...]] = {}
    labelled: list[Overlay] = []
    for overlay in overlays:
        first = next((term for term in overlay.terms if term.kind != "label"), None)
        if first is None:
            labelled.append(overlay)
        else:
            key = (first.kind, first.name)
            by_term[key] = (*by_term.get(key, ()), overlay)
    return Situation(
        version=version,
        threat_level=threat_level,
        overlays=tuple(overlays),
        grants=tuple(sorted((clamped(grant) for grant in grants), key=_id)),
        continuity=continuity,
        revoked={kind: dict((revoked or {}).get(kind, {})) for kind in REVOCATION_KINDS},
        problems=tuple(problems),
        overlays_by_term=by_term,
        labelled=tuple(labelled),
        quiet=Applied(threat_level=threat_level),
        freeze=freeze,
    )


def clamped(grant: Grant) -> Grant:
    """Lower a grant's ceiling to C2; an approval raises no ceiling, so the label it is about may be higher."""
    if grant.kind == "approval" or grant.ceiling <= RANK_C2:
        return grant
    return replace(grant, ceiling=RANK_C2)


def granted(grant: Grant, target: Target) -> bool:
    """Say whether a grant is about this target: who, where, up to which label, and for an approval what.

    Nobody profits from what they approved themselves, also as a member of a group.
    """
    if not target.subject_id or target.subject_id in grant.approvers or target.actor_id in grant.approvers:
        return False
    if target.subject_id not in grant.subjects and grant.groups.isdisjoint(target.groups):
        return False
    if target.service not in grant.services and ANY_SERVICE not in grant.services:
        return False
    if grant.kind == "approval":
        return grant.action != "" and grant.action == target.action
    return target.label_rank <= grant.ceiling


def covers(term: Term, target: Target, ranks: Mapping[str, int]) -> bool:
    """Say whether one term of a scope holds for a target; what is unknown is covered rather than let off."""
    match term.kind:
        case "tenant":
            return True
        case "service":
            return term.name == target.service
        case "subject":
            return term.name in (target.subject_id, target.actor_id)
        case "group":
            return term.name in target.groups or term.name in target.restricted_groups
        case "device":
            return term.name == target.device_id
        case "ownership":
            return term.name == target.ownership or target.ownership not in OWNERSHIPS
        case "label":
            return target.label_rank >= ranks.get(term.name, 0)


def continuity_declared(continuity: Continuity | None, tick_start: int, tick_end: int) -> bool:
    return continuity is not None and continuity.not_before <= tick_start and continuity.not_after >= tick_end


def _apply(
    live: list[Overlay],
    *,
    threat_level: int,
    continuity: bool,
    grants: tuple[AppliedGrant, ...],
    assurance: Mapping[str, int],
) -> Applied:
    """Meet the effects; every combination here is idempotent and free of order."""
    real = [overlay for overlay in live if not overlay.exercise]
    numbers: dict[str, list[int]] = {"ceiling": [], "threshold": [], "report_age": []}
    names: dict[str, set[str]] = {"acr": set(), "obligation": set()}
    denied = False
    for effect in (overlay.parsed_effect for overlay in real):
        if effect.kind == "deny":
            denied = True
        elif effect.kind in numbers:
            numbers[effect.kind].append(effect.number)
        else:
            names[effect.kind].add(effect.name)
    return Applied(
        threat_level=threat_level,
        continuity=continuity,
        deny=("OVERLAY_DENIED",) if denied else (),
        ceiling=min(numbers["ceiling"], default=None),
        registered=next((o.parsed_effect.number for o in real if o.id == REGISTRATION), None),
        threshold_plus=max(numbers["threshold"], default=0),
        acr=max(names["acr"], key=lambda acr: (assurance.get(acr, FOREVER), acr), default=None),
        report_age=min(numbers["report_age"], default=None),
        obligations=tuple(sorted(names["obligation"])),
        grants=grants,
        overlays=tuple(AppliedOverlay(id=o.id, effect=o.effect, scope=o.scope) for o in real),
        exercises=tuple(overlay.id for overlay in live if overlay.exercise),
    )


def _id(record: Overlay | AppliedOverlay | Grant) -> str:
    return record.id
