"""The change stream as values: what an event, a batch and a watermark are. Signing and reading them stands beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

EventType = Literal[
    "bundle.released",
    "device.changed",
    "device.seen",
    "subject.changed",
    "session.changed",
    "rollout.advanced",
    "rollout.aborted",
    "revocation.added",
    "overlay.changed",
    "grant.changed",
    "threat_level.changed",
]
BATCH_TYPE: Final = "zt-batch+jwt"
WATERMARK_TYPE: Final = "zt-watermark+jwt"
URGENT_TYPE: Final = "zt-urgent+jwt"
SNAPSHOT_TYPE: Final = "zt-snapshot+jwt"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change, by its place in the order of all changes of a tenant."""

    seq: int
    type: str
    """One of EventType; what this version does not know is counted and skipped."""
    data: msgspec.Raw


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Events `first` to `last`, none missing: what is signed as a whole."""

    tenant: str
    fence: int
    first: int
    last: int
    events: tuple[Event, ...]


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stream has come at `issued_at`: what renews the lease of those who have applied as much.

    `fence` grows with each election of a sequencer, so what a deposed one signs is refused.
    """

    tenant: str
    fence: int
    seq: int
    min_bundle_seq: int
    revocations_digest: str
    issued_at: float


class SnapshotPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of everything that is true at `seq`; complete only together with all others."""

    tenant: str
    fence: int
    seq: int
    part: int
    of: int
    events: tuple[Mapping[str, msgspec.Raw], ...]
    """Each `{type, data}`: what a replica that knows nothing is told."""
