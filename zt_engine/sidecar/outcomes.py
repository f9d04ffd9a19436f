"""Decisions in the two forms that leave the sidecar: the head of an answer, and the members of a log line.

Whatever is the same for many decisions is made once: for a principal its names, for a policy and situation their
versions, for an answer of the engine what it comes to (`rulings`).
"""

from __future__ import annotations

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import quoted
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.policy_input import fragment
from zt_engine.core.situation import Applied, Situation
from zt_engine.core.trust import TrustScore
from zt_engine.sidecar.hooks.answers import Identity, deny_head
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.principals import Principal
from zt_engine.sidecar.recorder import (
    UNREACHED,
    decided_members,
    policy_members,
    situation_members,
    trust_members,
    who_members,
)
from zt_engine.sidecar.rulings import Rulings

SECRET_RANK = 300
"""From this rank (C3-S) on, a decision is on the disk before it is answered."""


class Outcome:
    """A decision in the two forms that leave; the same for every request that shares the decision."""

    __slots__ = ("as_of", "cell", "decision", "digest", "document", "head", "kind", "members", "rank", "sync", "trust")

    def __init__(
        self,
        decision: Decision,
        *,
        head: bytes,
        members: bytes,
        rank: int = 0,
        label: str = "",
        trust: TrustScore | None = None,
        digest: str = "",
        document: bytes = b"",
        as_of: int | None = None,
    ) -> None:
        self.decision = decision
        self.as_of = as_of
        """The instant the device's facts were judged at, if ageing stood still."""
        self.head = head
        """The HTTP answer up to the value of Zt-Decision."""
        self.members = members
        """The members of the decision event that this decision fixes."""
        self.rank = rank
        self.sync = rank >= SECRET_RANK and decision.opens
        """Whether the record of this decision must be on the disk before the answer leaves."""
        self.cell: list[int] | None = None
        """Where decisions of this kind are counted; `Meters` fills it in at the first one."""
        self.kind = (decision.effect.value, decision.reasons[0] if decision.reasons else "", label)
        self.trust = trust
        self.digest = digest
        self.document = document
        """The canonical input, for the companion segment."""


class Who:
    """A principal as its decisions name it."""

    __slots__ = ("identity", "members", "versions")

    def __init__(self, principal: Principal) -> None:
        subject = principal.subject
        device = principal.device.device_id if principal.device is not None else ""
        self.identity = Identity.of(subject=subject.id, device=device, groups=subject.groups)
        self.members = who_members(subject.id, device)
        versions: dict[str, int] = {}
        if principal.device is not None:
            versions["device"] = principal.device.version
        record = next((found for _, found in principal.records if found is not None), None)
        if isinstance(record, SubjectRecord):
            versions["subject"] = record.version
        self.versions = b"".join(b',"%b":%d' % (name.encode(), number) for name, number in versions.items())


class Ground:
    """A policy in a situation: how decisions that rest on them name them, and what the policy's answers mean."""

    __slots__ = ("members", "ordinary", "policy", "quiet", "rulings", "situation")

    def __init__(self, policy: Policy, situation: Situation) -> None:
        self.policy = policy
        self.situation = situation
        versions = {**policy.versions, "situation": situation.version}
        self.members = policy_members(policy.revision, policy.source, versions)[:-1]
        """Up to the end of `versions`, to which the records' own are added."""
        self.quiet = situation_members(situation.quiet.threat_level)
        self.ordinary = situation_fragment(situation.quiet)
        """The situation part of the policy input while nothing is in force."""
        self.rulings = Rulings(policy.layers, policy.kinds)


def who(principal: Principal) -> Who:
    """Return how a principal is named; made once for as long as it is remembered."""
    found = principal.names
    if not isinstance(found, Who):
        found = principal.names = Who(principal)
    return found


def situation_fragment(applied: Applied) -> bytes:
    """Encode the situation part of the policy input."""
    return b'{"continuity":%b,"overlays":%b,"threat_level":%d}' % (
        b"true" if applied.continuity else b"false",
        fragment(applied.overlays),
        applied.threat_level,
    )


def members(  # noqa: PLR0917  (positional: a keyword costs as much as the joining)
    named: Who, ground: Ground, hook: str, label: str, decided: bytes, trust: TrustScore, threshold: int,
    applied: Applied, digest: str, as_of: int | None = None,
) -> bytes:  # fmt: skip
    """Return the members of the event of a decision that reached the policy; `decided` are `decided_members`."""
    situation = (
        ground.quiet
        if applied is ground.situation.quiet
        else situation_members(
            applied.threat_level,
            [overlay.id for overlay in applied.overlays],
            [f"{grant.kind}:{grant.id}" for grant in applied.grants],
        )
    )
    return b'%b,"hook":"%b","label":%b,%b,%b,%b,%b%b},"input_digest":"%b"' % (
        named.members,
        hook.encode(),
        quoted(label),
        decided,
        trust_members(trust, threshold),
        situation,
        ground.members,
        named.versions if as_of is None else b'%b,"facts_as_of":%d' % (named.versions, as_of),
        digest.encode(),
    )


def refusal(
    decision: Decision,
    *,
    hook: str,
    subject: str = "",
    device: str = "",
    label: str = "",
    threat_level: int = 0,
    revision: str = "",
    source: str = "",
    scheme: str = "",
    has_credential: bool = False,
) -> Outcome:
    """Return the outcome of a request that never reached the policy."""
    parts = (
        who_members(subject, device),
        b'"hook":"%b","label":%b' % (hook.encode(), quoted(label)),
        decided_members(decision),
        UNREACHED,
        situation_members(threat_level),
        policy_members(revision, source, {}),
        b'"input_digest":null',
    )
    head = deny_head(decision, scheme=scheme, has_credential=has_credential)
    return Outcome(decision, head=head, members=b",".join(parts), label=label)
