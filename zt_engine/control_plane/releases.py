"""Policy releases: submitted, examined, approved, put in force, withdrawn; each of them kept with what became of it.

The control plane holds no bundle key and no approver's: it can refuse a release, and neither make nor change one. What
it tells sidecars is the record as its publisher signed it and the approvals as people signed them.

INVARIANT: a release is kept, audited and announced in one transaction, so a control plane that is killed has released
either all of it or nothing. Its way back is what was in force when it was put in force, or it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.examining import Examiner
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.staged_releases import SUPERSEDED
from zt_engine.core.approval import Approval
from zt_engine.core.errors import BundleError, InputError, ZtError
from zt_engine.core.release import PEOPLE, Release, ReleaseNotice, read_notice, write_notice
from zt_engine.core.rollout import Staged
from zt_engine.core.weakening import Weakening
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.releases import CandidateJudge, Examined, KeptRelease, ReleaseState

log = structlog.get_logger()

EVENT: Final = "bundle.released"
MOST_WAITING: Final = 16
MOST_UNUSED: Final = 32
UNUSED_SECONDS: Final = 86_400

Stage = Callable[[Transaction, Mapping[str, Any]], Staged]
"""Gives a plan its number, and remembers it as a rollout that has begun."""


def _no_stages(_tx: Transaction, _plan: Mapping[str, Any]) -> Staged:
    raise InputError("RELEASE_STAGED", "this control plane stages no releases", where="staged")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A submitted release that was examined."""

    record: str
    release: Release
    examined: Examined
    approvals: tuple[Approval, ...]
    people: tuple[str, ...]
    staged: Mapping[str, Any] | None


class Releases:
    """The releases of one control plane. For use by many threads."""

    def __init__(self, plane: ControlPlane, judge: CandidateJudge, *, examiner: Examiner | None = None) -> None:
        self.judge = judge
        self.stage: Stage = _no_stages
        self.changed: Callable[[], None] = lambda: None
        """Told after each commit that put something in force."""
        self.offered: Callable[[str], None] = lambda _record: None
        """Told of each record that is being examined: whoever will have to take it up may get ready."""
        self._plane = plane
        self._tenant = plane.settings.tenant
        self._examiner = examiner or Examiner()

    def close(self) -> None:
        """Examine no more."""
        self._examiner.close()

    # -- bundles

    def keep(self, digest: str, raw: bytes, *, now: int) -> bool:
        """Keep a bundle whose digest was compared; whether it is new. InputError RELEASE_BUNDLES_FULL."""
        with self._plane.store.writing(self._tenant) as tx:
            known = tx.bundles.has(digest)
            unused = tx.bundles.unused()
            for old, kept_at in unused:
                if kept_at < now - UNUSED_SECONDS and old != digest:
                    tx.bundles.drop(old)
            if not known and sum(kept_at >= now - UNUSED_SECONDS for _, kept_at in unused) >= MOST_UNUSED:
                raise InputError("RELEASE_BUNDLES_FULL", f"{MOST_UNUSED} bundles wait for a release already")
            tx.bundles.put(digest, raw, now=now)
            return not known

    # -- publishing

    def next(self) -> dict[str, Any]:
        """Return what a publisher has to sign: the number, what is in force, and how many approve what weakens."""
        with self._plane.store.reading(self._tenant) as tx:
            active = tx.releases.last("released")
            return {
                "tenant": self._tenant,
                "seq": tx.releases.newest() + 1,
                "active": None if active is None else _named(active),
                "approvals": PEOPLE if self.judge.people >= PEOPLE else 0,
                "approvals_always": self.judge.always and self.judge.people >= PEOPLE,
            }

    def examine(
        self, record: str, approvals: Sequence[Approval], staged: Mapping[str, Any] | None, *, now: float
    ) -> Candidate:
        """Verify a submission as a sidecar would, and find what it weakens. Slow; raises ZtError."""
        release = self.judge.read(record)
        with self._plane.store.reading(self._tenant) as tx:
            active = self._expected(tx, release, newest=tx.releases.newest())
            raw = tx.bundles.get(release.bundle_digest)
            before = None if active is None else tx.bundles.get(active.bundle_digest)
        if raw is None:
            raise BundleError("RELEASE_BUNDLE_MISSING", "send the bundle first", where="bundle_digest")
        if release.size != len(raw):
            raise BundleError("BUNDLE_RELEASE", f"the bundle has {len(raw)} bytes", where="size")
        if active is not None and before is None:
            raise BundleError("RELEASE_BUNDLE_MISSING", "what is in force is not here to compare with")
        people = self.judge.approved(release, approvals)
        seq = 0 if active is None else active.seq
        self.offered(record)
        examined = self._examiner.run(lambda: self.judge.examine(release, raw, before, active_seq=seq, now=now))
        return Candidate(
            record=record,
            release=release,
            examined=examined,
            approvals=tuple(approvals),
            people=people,
            staged=staged,
        )

    def submit(self, tx: Transaction, candidate: Candidate, *, actor: str, now: int) -> KeptRelease:
        """Keep a candidate, in force or waiting for approvals; RELEASE_CONFLICT when another one came first."""
        release, weakens = candidate.release, candidate.examined.weakens
        active = self._expected(tx, release, newest=tx.releases.lock())
        back, again = _is_way_back(active, release), _is_same(active, release)
        # The same for longer is approved as it was: whose approval does not count any more is asked for again.
        weaker = bool(weakens) or (again is not None and again.approvals_needed > 0)
        self._check_stated(release, weakens=weaker, back=back)
        staged = None if candidate.staged is None else self.stage(tx, candidate.staged)
        kept = KeptRelease(
            seq=release.seq,
            state="waiting",
            content_digest=release.content_digest,
            bundle_digest=release.bundle_digest,
            revision=candidate.examined.revision,
            way_back=release.way_back,
            notice=_notice(release, candidate.record, candidate.approvals, weakens, staged),
            author=release.author,
            submitted_by=actor,
            submitted_at=now,
            not_after=release.not_after,
            rollback=back or (again is not None and again.rollback),
            approvals_needed=release.approvals_needed,
            settled=staged is None or (staged.mode == "enforce" and len(staged.rings) == 1),
        )
        if len(candidate.people) >= release.approvals_needed:
            tx.releases.add(kept)
            return self._put_in_force(tx, kept, active, people=candidate.people, actor=actor, now=now)
        if _waiting(tx) >= MOST_WAITING:
            raise InputError("RELEASES_WAITING", f"{MOST_WAITING} releases wait already")
        tx.releases.add(kept)
        self._write_down(tx, kept, "waiting", actor=actor, now=now, people=candidate.people)
        return kept

    def approve(self, tx: Transaction, seq: int, approval: Approval, *, actor: str, now: int) -> KeptRelease:
        """Add a signature to a waiting release, and put it in force when there are enough."""
        tx.releases.lock()
        kept = self._waiting_one(tx, seq)
        notice = notice_of(kept)
        release = self.judge.read(notice.record)
        self.judge.check_time(release, now=now)
        approvals = (*(one for one in notice.approvals if one.key_id != approval.key_id), approval)
        people = self.judge.approved(release, approvals)
        kept = replace(kept, notice=_notice(release, notice.record, approvals, notice.weakens, notice.staged))
        active = tx.releases.last("released")
        if len(people) >= release.approvals_needed:
            return self._put_in_force(tx, kept, active, people=people, actor=actor, now=now)
        tx.releases.put(kept)
        self._write_down(tx, kept, "approved", actor=actor, now=now, people=people)
        return kept

    def withdraw(self, tx: Transaction, seq: int, *, actor: str, reason: str, now: int) -> KeptRelease:
        """Take back a release that waits."""
        tx.releases.lock()
        return self._end(tx, self._waiting_one(tx, seq), "withdrawn", why=reason, actor=actor, now=now)

    def refuse(self, seq: int, error: ZtError, *, actor: str, now: int) -> None:
        """Write down that a submission was refused, and why; nothing of it is kept."""
        log.warning("release.refused", seq=seq, code=error.code, where=error.where, problem=error.message)
        with self._plane.store.writing(self._tenant) as tx:
            after = {"code": error.code, "problem": error.message[:500], "where": error.where[:200]}
            write_down(tx, actor=actor, action="release.refused", object_=f"release:{seq}", after=after, now=now)

    # -- looking

    def one(self, tx: Transaction, seq: int) -> KeptRelease:
        """Return a release; RELEASE_NOT_FOUND."""
        found = tx.releases.get(seq)
        if found is None:
            raise InputError("RELEASE_NOT_FOUND", f"there is no release {seq}")
        return found

    def least(self) -> int:
        """Return the number below which no sidecar takes a release: `min_bundle_seq` of the watermark."""
        with self._plane.store.reading(self._tenant) as tx:
            found = tx.releases.last("released", settled=True)
        return 0 if found is None else found.seq

    # -- within

    def _expected(self, tx: Transaction, release: Release, *, newest: int) -> KeptRelease | None:
        """Return what is in force, which the record must know of."""
        if release.tenant != self._tenant:
            raise BundleError("BUNDLE_TENANT", f"signed for tenant `{release.tenant}`", where="tenant")
        if release.seq != newest + 1:
            raise InputError("RELEASE_CONFLICT", f"the next release is {newest + 1}", where="seq")
        active = tx.releases.last("released")
        known = {"" if active is None else active.content_digest}
        if active is not None and _is_same(active, release):
            known.add(active.way_back)  # the same again, for longer
        if release.way_back not in known:
            raise InputError("RELEASE_CONFLICT", "something else is in force than its way back", where="way_back")
        return active

    def _check_stated(self, release: Release, *, weakens: bool, back: bool) -> None:
        needed = PEOPLE if (weakens or self.judge.always) and self.judge.people >= PEOPLE and not back else 0
        if release.approvals_needed < needed:
            raise BundleError(
                "RELEASE_APPROVALS", f"it needs {needed} approvals, and its record does not say so",
                where="approvals_needed",
            )  # fmt: skip
        if release.approvals_needed > self.judge.people:
            raise BundleError(
                "RELEASE_APPROVALS", f"{self.judge.people} people may approve here", where="approvals_needed"
            )

    def _put_in_force(
        self,
        tx: Transaction,
        kept: KeptRelease,
        active: KeptRelease | None,
        *,
        people: Sequence[str],
        actor: str,
        now: int,
    ) -> KeptRelease:
        staged = notice_of(kept).staged
        watched = staged is not None and staged.mode == "report-only"
        released = replace(kept, state="watched" if watched else "released", released_at=now)
        tx.releases.put(released)
        if watched:  # what is in force is what it was, for the next publisher and for a rollback
            tx.outbox.announce(EVENT, bytes(released.notice))
            self._write_down(tx, released, "watched", actor=actor, now=now, people=people)
            return released
        replaced = active is not None and active.content_digest != kept.content_digest
        if active is not None and replaced and kept.rollback and kept.settled:
            self._end(tx, active, "rolled_back", why=f"release {kept.seq}", actor=actor, now=now)
        while (waiting := tx.releases.last("waiting")) is not None:
            # Their way back is what was in force when they were signed.
            self._end(tx, waiting, "refused", why=SUPERSEDED, actor="system", now=now)
        tx.outbox.announce(EVENT, bytes(released.notice))
        self._write_down(tx, released, "released", actor=actor, now=now, people=people)
        return released

    def _end(
        self, tx: Transaction, kept: KeptRelease, state: ReleaseState, *, why: str, actor: str, now: int
    ) -> KeptRelease:
        after = replace(kept, state=state, why=why)
        tx.releases.put(after)
        self._write_down(tx, after, state, actor=actor, now=now, reason=why, before=kept.state)
        return after

    def _waiting_one(self, tx: Transaction, seq: int) -> KeptRelease:
        found = self.one(tx, seq)
        if found.state != "waiting":
            raise InputError("RELEASE_NOT_WAITING", f"release {seq} is `{found.state}`")
        return found

    def _write_down(
        self,
        tx: Transaction,
        kept: KeptRelease,
        what: str,
        *,
        actor: str,
        now: int,
        people: Sequence[str] = (),
        reason: str = "",
        before: str = "",
    ) -> None:
        after: dict[str, Any] = {**_named(kept), "state": kept.state, "way_back": kept.way_back}
        if what in ("released", "watched", "waiting", "approved"):
            after["approved_by"] = list(people)
            after["weakens"] = len(notice_of(kept).weakens)
        if what == "released" and self.judge.people < PEOPLE:
            after["approvals"] = "none asked for: fewer than two approvers are configured"
        write_down(
            tx,
            actor=actor,
            action=f"release.{what}",
            object_=f"release:{kept.seq}",
            reason=reason,
            before={"state": before} if before else None,
            after=after,
            now=now,
        )


def notice_of(kept: KeptRelease) -> ReleaseNotice:
    """Return what sidecars are told of a release."""
    return read_notice(bytes(kept.notice), where=f"release {kept.seq}")


def told(kept: KeptRelease) -> dict[str, Any]:
    """Return a release as administrators see it."""
    notice = notice_of(kept)
    shown: dict[str, Any] = msgspec.to_builtins({name: getattr(kept, name) for name in _SHOWN})
    return {
        **shown,
        "weakens": msgspec.to_builtins(notice.weakens),
        "approved_with": [one.key_id for one in notice.approvals],
        "staged": msgspec.to_builtins(notice.staged),
    }


_SHOWN: Final = tuple(name for name in KeptRelease.__struct_fields__ if name != "notice")


def _notice(
    release: Release,
    record: str,
    approvals: Sequence[Approval],
    weakens: tuple[Weakening, ...],
    staged: Staged | None,
) -> msgspec.Raw:
    notice = ReleaseNotice(seq=release.seq, record=record, approvals=tuple(approvals), weakens=weakens, staged=staged)
    return msgspec.Raw(write_notice(notice))


def _named(kept: KeptRelease) -> dict[str, Any]:
    return {"seq": kept.seq, "content_digest": kept.content_digest, "bundle_digest": kept.bundle_digest}


def _is_way_back(active: KeptRelease | None, release: Release) -> bool:
    """Whether this returns to what was in force before. To go forth again is a release like any other."""
    return (
        active is not None
        and not active.rollback
        and active.way_back not in ("", active.content_digest)
        and release.content_digest == active.way_back
    )


def _is_same(active: KeptRelease | None, release: Release) -> KeptRelease | None:
    """What is in force, if this is the same once more."""
    return active if active is not None and active.content_digest == release.content_digest else None


def _waiting(tx: Transaction) -> int:
    return sum(one.state == "waiting" for one in tx.releases.page(before=0, limit=100))
