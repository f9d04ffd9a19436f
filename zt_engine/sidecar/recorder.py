"""Decisions as answers and log lines. What is constant for a decision is built once; a repeated one costs a join."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import msgspec

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import quoted
from zt_engine.core.trust import TrustScore

SECRET_RANK = 300
"""From this rank (C3-S) on, a decision is on the disk before it is answered."""

_encode = msgspec.json.Encoder().encode


class Outcome:
    """A decision in the two forms that leave the sidecar; the same for every request that shares the decision."""

    __slots__ = ("cell", "decision", "digest", "document", "head", "kind", "members", "rank", "sync", "trust")

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
    ) -> None:
        self.decision = decision
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


class Origin(msgspec.Struct, frozen=True):
    """What every event of this process says of itself."""

    sidecar: str
    tenant: str

    def members(self) -> bytes:
        """The constant members of every event."""
        return b'"sidecar":%b,"tenant":%b' % (quoted(self.sidecar), quoted(self.tenant))


def decision_members(
    decision: Decision,
    *,
    subject: str,
    device: str,
    hook: str,
    label: str,
    trust: TrustScore | None,
    threat_level: int,
    overlays: Iterable[str],
    grants: Iterable[str],
    revision: str,
    source: str,
    versions: Mapping[str, str | int],
    input_digest: str,
) -> bytes:
    """Return the members of the decision event that are the same for every request of this decision."""
    observed = None
    if decision.observed is not None:
        observed = {"effect": decision.observed, "reasons": decision.reasons}
    reached = bool(input_digest)
    return _encode(
        {
            "subject": subject,
            "device": device,
            "hook": hook,
            "label": label,
            "effect": decision.effect,
            "observed": observed,
            "reasons": decision.reasons,
            "obligations": decision.obligations,
            "trust": trust.score if trust is not None else None,
            "pillars": trust.pillars if trust is not None else None,
            "threshold": decision.threshold if reached else None,
            "threat_level": threat_level,
            "overlays": list(overlays),
            "grants": list(grants),
            "revision": revision,
            "source": source,
            "versions": versions,
            "input_digest": input_digest or None,
        }
    )[1:-1]


class Numbers:
    """Decision ids: unique over all sidecars and starts, and short enough to read out to a help desk."""

    __slots__ = ("_next", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._next = itertools.count(1).__next__

    def next(self) -> bytes:
        """Return the next id."""
        return b"%b-%x" % (self._prefix, self._next())
