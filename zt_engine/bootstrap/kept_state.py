"""What a sidecar last kept of its control plane, for `zt decide`: read from its disk, verified as at its start.

Only read: what does not hold is left out, and nothing is cut off, locked or written. The sidecar may be running and
write meanwhile; it keeps each fifth watermark, so what is read here is some seconds behind what it decides by.
"""

from __future__ import annotations

import msgspec

from zt_engine.adapters.release_disk import ReleaseDisk
from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.adapters.stream_keys import public_keys
from zt_engine.bootstrap.control_link import HARMLESS, place_of
from zt_engine.bootstrap.joining import Member
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust, believed, open_release
from zt_engine.bootstrap.told_records import ReadSituation, readers
from zt_engine.bootstrap.told_trust import staleness_of
from zt_engine.config import Settings
from zt_engine.core.errors import BundleError, ConfigError, InputError
from zt_engine.core.lease import Lease, Reading
from zt_engine.core.release import check_turn
from zt_engine.ports import Clock
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.sync import KeepNothing, Sync

TRIES = 3
"""So often it is read anew when a watermark came in between that is ahead of the batches read before it."""


class KeptState(msgspec.Struct, frozen=True, kw_only=True):
    """Devices, people, situation and lease, as a sidecar would have them that started now and heard nobody."""

    member: Member
    replica: Replica
    sync: Sync
    lease: Lease
    clock: Clock

    @property
    def age(self) -> float | None:
        """How many seconds ago the watermark was issued that the lease runs from; None when there is none."""
        return self.lease.age(self.clock.elapsed())

    def now(self) -> float:
        """What time it is at the control plane, as well as that is known."""
        return self.clock.now() + (self.lease.offset or 0.0)


class KeptTold(msgspec.Struct, frozen=True, kw_only=True):
    """What people are told of the state that was decided on."""

    control_plane: str
    sidecar: str
    seq: int
    """How far the stream had come."""
    watermark_age: float | None
    """Seconds; None when no watermark counts, so that nothing above C0 is decided."""
    release: int
    """0: the policy folder decides."""


def read_kept(settings: Settings, member: Member, *, read_situation: ReadSituation, clock: Clock) -> KeptState:
    """Return what is kept; raises ConfigError REPLICA_DISK when it cannot be read. What was never kept is empty."""
    for _ in range(TRIES):
        kept = _read(settings, member, read_situation=read_situation, clock=clock)
        if kept.sync.position.marked <= kept.sync.position.seq:
            break
    return kept


def _read(settings: Settings, member: Member, *, read_situation: ReadSituation, clock: Clock) -> KeptState:
    membership, folder = member.membership, member.folder / "replica"
    lease, replica = Lease(staleness_of(membership, settings)), Replica()
    disk = ReplicaDisk(folder, member=member.key.key_id)
    notice = ReleaseDisk(member.folder / "release").notice("active")
    sync = Sync(
        tenant=membership.tenant,
        keys={**public_keys(disk.read_former()), **public_keys(membership.stream_keys)},
        readers=readers(read_situation),
        replica=replica,
        lease=lease,
        keep=KeepNothing(),
        # The lease runs only under a release that is recent enough, and the one on the disk is the one that decides.
        bundle_seq=lambda: notice.seq if notice is not None else 0,
        place=place_of(membership),
    )
    anchor = disk.anchor()
    if anchor is not None:
        lease.anchored(anchor, Reading(clock.now(), clock.elapsed()))
    for stored in disk.stored() if folder.exists() else ():
        try:
            sync.take(stored.kind, stored.raw, Reading(clock.now(), clock.elapsed()))
        except InputError as error:
            if error.code not in HARMLESS and stored.kind != "watermark":
                break
    if disk.problem is not None:
        raise ConfigError((disk.problem,))
    return KeptState(member=member, replica=replica, sync=sync, lease=lease, clock=clock)


def kept_release(kept: KeptState, trust: ReleaseTrust) -> Opened | None:
    """Return the release that decides, verified and compiled; None while it is still the folder's policy that does.

    Raises BundleError, InputError or ConfigError for what the sidecar refuses as well. One whose rollout was taken back
    gives way to the one before it.
    """
    membership = kept.member.membership
    disk = ReleaseDisk(kept.member.folder / "release")
    if not disk.begun:
        return None
    found = disk.read("active")
    if found is not None and found[0].staged is not None and kept.sync.taken_back(found[0].staged):
        found = disk.read("before")
    if found is None:
        raise BundleError("RELEASE_KEPT", "the release that was in force is not there any more", where="release")
    notice, raw = found
    release = believed(notice, trust, tenant=membership.tenant)
    check_turn(release, active_seq=release.seq - 1, minimum_seq=0, now=kept.now())
    return open_release(notice, raw, trust, tenant=membership.tenant)
