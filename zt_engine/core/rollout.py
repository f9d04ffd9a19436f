"""A staged rollout: a change that everybody is told and that decides only where its turn has come.

An event cannot name its own place in the stream, which it gets after it was committed; `ref_seq` is a number of the
tenant's own that the control plane gives to each rollout, and which `rollout.advanced` and `rollout.aborted` name.

INVARIANT: what tightens without delay is never staged: revocations, devices, subjects, critical overlays, and a threat
level of 3 or above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

Mode = Literal["enforce", "report-only"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=128)]

MAX_RINGS: Final = 32
MAX_NAMED: Final = 1_000
SITE: Final = "site"
"""The label that names where a sidecar stands."""
UNSTAGED_LEVEL: Final = 3
"""A threat level from here up holds everywhere at once."""
CRITICAL: Final = "critical"
STAGED_TYPES: Final[frozenset[str]] = frozenset(
    {"bundle.released", "overlay.changed", "threat_level.changed", "grant.changed"}
)
"""The types of events that may be staged; what an event of another type says holds everywhere at once."""


class Ring(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Some of the sidecars: those named, those that have all the labels, and so many of a hundred."""

    name: Name
    percent: Annotated[int, Meta(ge=0, le=100)] = 0
    sidecars: Annotated[tuple[Text, ...], Meta(max_length=MAX_NAMED)] = ()
    labels: Annotated[Mapping[Text, Text], Meta(max_length=MAX_RINGS)] = {}


class Staged(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a change goes out. In `report-only` it decides nothing anywhere, and is watched in shadow."""

    ref_seq: Annotated[int, Meta(ge=1, le=2**53)]
    rings: Annotated[tuple[Ring, ...], Meta(min_length=1, max_length=MAX_RINGS)]
    mode: Mode = "enforce"

    def __post_init__(self) -> None:
        """Refuse rings that cannot be told apart, and a last one that leaves somebody out for ever."""
        if len({ring.name for ring in self.rings}) != len(self.rings):
            raise ValueError("two rings have the same name")
        if self.rings[-1].percent != 100:
            raise ValueError("the last ring is not everybody (`percent: 100`)")


class Place(Struct, frozen=True, kw_only=True):
    """Which sidecar it is that asks, and where it stands."""

    sidecar: str
    site: str = ""
    labels: Mapping[str, str] = {}

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether all of these are its labels; none at all are nobody's."""
        own = {**self.labels, SITE: self.site} if self.site else self.labels
        return bool(labels) and all(own.get(name) == value for name, value in labels.items())


def bucket(ref_seq: int, sidecar: str) -> int:
    """Return the place, from 0 to 99, of a sidecar among those a rollout reaches by percentage."""
    said = hashlib.sha256(f"{ref_seq}\n{sidecar}".encode()).digest()
    return int.from_bytes(said[:8]) * 100 >> 64


def belongs(place: Place, ring: Ring, ref_seq: int) -> bool:
    """Whether a sidecar is in a ring."""
    return place.sidecar in ring.sidecars or place.has(ring.labels) or bucket(ref_seq, place.sidecar) < ring.percent


def stageable(type_: str, *, severity: str = "", level: int = 0) -> bool:
    """Whether a change may be staged at all."""
    return type_ in STAGED_TYPES and severity.casefold() != CRITICAL and level < UNSTAGED_LEVEL


class Rollout(Struct, frozen=True, kw_only=True):
    """What is known of one rollout; everything in it only grows, so the order in which it is told does not matter."""

    staged: Staged | None = None
    """None: it was spoken of before it was told."""
    reached: frozenset[str] = frozenset()
    aborted: bool = False

    def rings(self) -> tuple[Ring, ...]:
        """Return the rings that are reached: the first at once, and each with all before it."""
        if self.staged is None or self.aborted:
            return ()
        furthest = max((at for at, ring in enumerate(self.staged.rings) if ring.name in self.reached), default=0)
        return self.staged.rings[: furthest + 1]

    @property
    def complete(self) -> bool:
        """Whether the last ring is reached."""
        return self.staged is not None and len(self.rings()) == len(self.staged.rings)

    def among(self, place: Place) -> bool:
        """Whether a sidecar is in a ring that is reached."""
        return self.staged is not None and any(belongs(place, ring, self.staged.ref_seq) for ring in self.rings())


class Rollouts(Struct, frozen=True):
    """All rollouts a sidecar was told of, as a value."""

    known: Mapping[int, Rollout] = {}

    def begun(self, staged: Staged, reached: Collection[str] = ()) -> Rollouts:
        """Return the state after a staged event; in a snapshot it comes with the rings reached.

        Another plan under the number of a known one is not believed: the first holds.
        """
        before = self.known.get(staged.ref_seq, Rollout())
        kept = staged if before.staged is None else before.staged
        return self._with(staged.ref_seq, replace(before, staged=kept, reached=before.reached | frozenset(reached)))

    def advanced(self, ref_seq: int, ring: str) -> Rollouts:
        """Return the state after `rollout.advanced`."""
        before = self.known.get(ref_seq, Rollout())
        return self._with(ref_seq, replace(before, reached=before.reached | {ring}))

    def aborted(self, ref_seq: int) -> Rollouts:
        """Return the state after `rollout.aborted`; it is for good."""
        return self._with(ref_seq, replace(self.known.get(ref_seq, Rollout()), aborted=True))

    def forgotten(self, ref_seqs: Collection[int]) -> Rollouts:
        """Return the state without some that nothing refers to any more."""
        return Rollouts({one: rollout for one, rollout in self.known.items() if one not in ref_seqs})

    def active(self, ref_seq: int, place: Place) -> bool:
        """Whether a staged event decides at this sidecar."""
        rollout = self.known.get(ref_seq, Rollout())
        return rollout.staged is not None and rollout.staged.mode == "enforce" and rollout.among(place)

    def shadowed(self, ref_seq: int) -> bool:
        """Whether a staged event is to be watched in shadow: it is neither taken back nor in force everywhere."""
        rollout = self.known.get(ref_seq, Rollout())
        if rollout.staged is None or rollout.aborted:
            return False
        return rollout.staged.mode == "report-only" or not rollout.complete

    def complete(self, ref_seq: int) -> bool:
        """Whether a staged event is in force everywhere."""
        rollout = self.known.get(ref_seq, Rollout())
        return rollout.complete and rollout.staged is not None and rollout.staged.mode == "enforce"

    def _with(self, ref_seq: int, rollout: Rollout) -> Rollouts:
        return Rollouts({**self.known, ref_seq: rollout})


def decode_staged(raw: bytes) -> Staged:
    """Read a plan; raises msgspec.DecodeError."""
    return msgspec.json.decode(raw, type=Staged)
