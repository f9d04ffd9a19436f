"""The change stream as values: what an event, a batch and a watermark are. Signing and reading them stands beside.

What an event's `data` is, by its type:

`device.changed` the record as sidecars hold it; `device.seen` `{at, devices: {ID: [RECEIVED_AT, [FACT, ...]]}}`,
reports that changed nothing but the age of these facts (a bare RECEIVED_AT: of all that came with the last report);
`subject.changed` the directory's record; `session.changed` a browser's session (`core.session`), or
`{sid, ended: true}`; `revocation.added` `{kind, key, until}`; `overlay.changed` and `grant.changed` the record, or
`{id, removed: true}`; `continuity.changed` the declaration, or `{removed: true}`;
`threat_level.changed` `{threat_level}`; `fleet.frozen` `{since, until, max_label}`: ageing stands still, or
`{removed: true}`. The others belong to releases, and are counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, get_args

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
    "continuity.changed",
    "threat_level.changed",
    "fleet.frozen",
]
EVENT_TYPES: Final[frozenset[str]] = frozenset(get_args(EventType))

BATCH_TYPE: Final = "zt-batch+jwt"
WATERMARK_TYPE: Final = "zt-watermark+jwt"
URGENT_TYPE: Final = "zt-urgent+jwt"
SNAPSHOT_TYPE: Final = "zt-snapshot+jwt"
STATUS_TYPE: Final = "zt-status+jwt"
KEYS_TYPE: Final = "zt-keys+jwt"
SIDECAR_TYPE: Final = "zt-sidecar+jwt"

MAX_MESSAGE_BYTES: Final = 16 << 20
"""A longer message is refused before anything of it is decoded."""


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """One change without a place in the order: what a snapshot is made of."""

    type: str
    """One of EVENT_TYPES; what this version does not know is counted and skipped."""
    data: msgspec.Raw


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change, by its place in the order of all changes of a tenant."""

    seq: int
    type: str
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


class Urgent(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation ahead of its turn: event `seq` says the same. It moves no cursor."""

    tenant: str
    fence: int
    seq: int
    data: msgspec.Raw


class SnapshotPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of everything that is true at `seq`; complete only together with all others, 1 to `of`."""

    tenant: str
    fence: int
    seq: int
    part: int
    of: int
    events: tuple[Announced, ...]
    """What a replica that knows nothing is told."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What time it was at the control plane when it was asked with this nonce."""

    tenant: str
    nonce: str
    now: float
    keys: str = ""
    """Digest of the present `KeySet`, so that a sidecar fetches it when it changes."""


KNOWN_KEYS_HEADER = "Zt-Stream-Keys"
"""In which a sidecar says whose signatures it believes: the ids of keys, with commas between them."""


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    """Whose signatures count: the stream's keys by their ids, and the CAs that devices come from."""

    tenant: str
    version: float
    """Grows with each change."""
    stream_keys: dict[str, dict[str, str]]
    device_cas: str
    sidecar: str = ""
    """Whom it is for: what follows is about this sidecar alone."""
    site: str = ""
    labels: Mapping[str, str] = {}
    staleness: Mapping[str, Mapping[str, int]] = {}
    """By site: seconds for labels, where they are to be shorter than what the root has signed."""
    trust: str = ""
    """What the tenant's offline root signed (`core.trust_root`)."""


def digest_of(keys: KeySet) -> str:
    """Name a key set by what is in it."""
    about = (keys.sidecar, keys.site, sorted(keys.labels.items()), keys.staleness, keys.trust)
    said = msgspec.json.encode((sorted(keys.stream_keys.items()), keys.device_cas, about), order="sorted")
    return hashlib.sha256(said).hexdigest()[:32]
