"""A signed stream without a server: events, batches, watermarks, snapshots, and a replica that takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from device_inventory.device import DeviceRecord
from tests.world import NOW, device, subject
from zt_engine.adapters.device_stream import decode_streamed_device
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.control_plane.snapshot import device_data
from zt_engine.core.bundle_signature import PublicKey
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.lease import Lease, Reading, Staleness
from zt_engine.core.revocations import Revocations
from zt_engine.core.stream import Announced, Batch, Event, SnapshotPart, Urgent, Watermark
from zt_engine.core.stream_signing import seal
from zt_engine.sidecar.events import Readers
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.shared_facts import shared
from zt_engine.sidecar.sync import KeepNothing, Sync

TENANT = "default"
KEY = StreamKey.generate()
OTHER_KEY = StreamKey.generate()
KEYS: Mapping[str, PublicKey] = {KEY.key_id: KEY.public()}
READERS = Readers(
    device=lambda raw, where: shared(decode_streamed_device(raw, where=where)),
    subject=lambda raw, where: decode_subject(raw, where=where),
    situation=lambda raw, where: decode_situation(raw, where=where),
)
CLOCKS = Reading(float(NOW), 1000.0)
Said = tuple[str, Any]
"""Type and data of an event."""


def changed(record: DeviceRecord | None = None, **fields: Any) -> Said:
    return "device.changed", msgspec.Raw(device_data(record or device(**fields)))


def person(record: SubjectRecord | None = None, **fields: Any) -> Said:
    return "subject.changed", record or subject(**fields)


def revoked(kind: str, key: str, until: int | None = None) -> Said:
    return "revocation.added", {"kind": kind, "key": key, "until": until}


def level(threat_level: int) -> Said:
    return "threat_level.changed", {"threat_level": threat_level}


def seen(devices: Mapping[str, Any], at: int = NOW) -> Said:
    return "device.seen", {"at": at, "devices": devices}


def raw_of(data: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(data))


def batch(first: int, *said: Said, fence: int = 1, tenant: str = TENANT, key: StreamKey = KEY) -> bytes:
    """A signed batch of these events, the first of which is `first`."""
    events = tuple(Event(seq=first + n, type=kind, data=raw_of(data)) for n, (kind, data) in enumerate(said))
    return seal(Batch(tenant=tenant, fence=fence, first=first, last=first + len(said) - 1, events=events), key)


def watermark(
    seq: int,
    *,
    at: float = NOW,
    fence: int = 1,
    tenant: str = TENANT,
    key: StreamKey = KEY,
    revocations: Iterable[tuple[str, str, int | None]] = (),
    min_bundle_seq: int = 0,
) -> bytes:
    """A signed watermark under which exactly these are revoked."""
    ledger = Revocations()
    for kind, name, until in revocations:
        ledger.add(kind, name, until)
    mark = Watermark(
        tenant=tenant, fence=fence, seq=seq, min_bundle_seq=min_bundle_seq,
        revocations_digest=ledger.digest(at), issued_at=at,
    )  # fmt: skip
    return seal(mark, key)


def urgent(seq: int, said: Said, *, fence: int = 1, key: StreamKey = KEY) -> bytes:
    """A signed revocation ahead of its turn."""
    return seal(Urgent(tenant=TENANT, fence=fence, seq=seq, data=raw_of(said[1])), key)


def snapshot(seq: int, *parts: Sequence[Said], fence: int = 1, key: StreamKey = KEY) -> list[bytes]:
    """A signed snapshot, each argument a part."""
    return [
        seal(
            SnapshotPart(
                tenant=TENANT, fence=fence, seq=seq, part=number, of=len(parts),
                events=tuple(Announced(type=kind, data=raw_of(data)) for kind, data in part),
            ),
            key,
        )
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip


class Follower:
    """A replica that follows, with a clock that stands still."""

    def __init__(self, *, keys: Mapping[str, PublicKey] = KEYS, keep: Any = None) -> None:
        self.replica = Replica()
        self.lease = Lease(Staleness())
        self.sync = Sync(
            tenant=TENANT, keys=keys, readers=READERS, replica=self.replica, lease=self.lease,
            keep=keep or KeepNothing(),
        )  # fmt: skip
        self.clocks = CLOCKS

    def take(self, kind: str, raw: bytes) -> None:
        self.sync.take(kind, raw, self.clocks)

    def taking(self, kind: str, raw: bytes) -> str:
        """The code of the refusal, empty when there is none."""
        from zt_engine.core.errors import InputError

        try:
            self.take(kind, raw)
        except InputError as error:
            return error.code
        return ""

    def begin(self, *said: Said, seq: int = 0) -> Follower:
        """Take a snapshot of these."""
        for part in snapshot(seq, [level(0), *said]):
            self.take("snapshot", part)
        return self

    @property
    def known(self) -> tuple[Any, ...]:
        """Everything a decision may rest on, comparable."""
        situation = self.replica.situation
        assert situation is not None
        return (
            self.sync.position.seq, dict(self.replica.devices), dict(self.replica.subjects), situation.threat_level,
            situation.overlays, situation.grants, situation.revoked, situation.version,
            {name: (record.device_id, key) for name, (record, key) in self.replica.keys.owners.items()},
            dict(self.replica.keys.doubled),
        )  # fmt: skip
