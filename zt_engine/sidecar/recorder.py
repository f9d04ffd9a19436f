"""Decisions as members of the log line. What is constant for a decision is built once; a repeated one costs a join."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

import msgspec

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import quoted
from zt_engine.core.trust import TrustScore

_encode = msgspec.json.Encoder().encode


class Origin(msgspec.Struct, frozen=True):
    """What every event of this process says of itself."""

    sidecar: str
    tenant: str

    def members(self) -> bytes:
        """The constant members of every event."""
        return b'"sidecar":%b,"tenant":%b' % (quoted(self.sidecar), quoted(self.tenant))


def who_members(subject: str, device: str) -> bytes:
    """Return the members that name who asked and from where."""
    return b'"subject":%b,"device":%b' % (quoted(subject), quoted(device))


def decided_members(decision: Decision) -> bytes:
    """Return the members that say what was decided, from `effect` to `obligations`."""
    observed = None
    if decision.observed is not None:
        observed = {"effect": decision.observed, "reasons": decision.reasons}
    return _encode(
        {
            "effect": decision.effect,
            "observed": observed,
            "reasons": decision.reasons,
            "obligations": decision.obligations,
        }
    )[1:-1]


def trust_members(trust: TrustScore, threshold: int) -> bytes:
    """Return the members of a decision that reached the policy."""
    return b'"trust":%d,"pillars":{"device":%d,"subject":%d,"context":%d},"threshold":%d' % (
        trust.score, trust.device, trust.subject, trust.context, threshold,
    )  # fmt: skip


def situation_members(threat_level: int, overlays: Iterable[str] = (), grants: Iterable[str] = ()) -> bytes:
    """Return the members that say under which circumstances it was decided."""
    return _encode({"threat_level": threat_level, "overlays": list(overlays), "grants": list(grants)})[1:-1]


def policy_members(revision: str, source: str, versions: Mapping[str, str | int]) -> bytes:
    """Return the members that say by which policy it was decided."""
    return _encode({"revision": revision, "source": source, "versions": versions})[1:-1]


UNREACHED = b'"trust":null,"pillars":null,"threshold":null'
"""Instead of `trust_members` in the record of a refusal before policy."""


class Numbers:
    """Decision ids: unique over all sidecars and starts, and short enough to read out to a help desk."""

    __slots__ = ("next",)

    def __init__(self, prefix: str) -> None:
        form = prefix.replace("%", "%%").encode() + b"-%x"
        self.next: Callable[[], bytes] = map(form.__mod__, itertools.count(1)).__next__
        """Returns the next id; made of what runs in C, since every decision asks for one."""
