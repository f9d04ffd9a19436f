"""Follow the releases that a control plane tells of: fetch, verify, compile in a thread, keep, switch between requests.

INVARIANT: what is switched to was verified whole, against what is believed now, and lies on the disk already. What is
refused changes nothing. Policy of a folder decides until the first release does, and never after.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from zt_engine.adapters.release_disk import ReleaseDisk, Which
from zt_engine.adapters.stream_http import Pace
from zt_engine.bootstrap.release_ahead import Ahead, Fetches, Warm
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust, believed, open_release, warm_release
from zt_engine.core.errors import BundleError, ConfigError, InputError, Problem, UnavailableError, ZtError
from zt_engine.core.release import Release, ReleaseNotice, check_turn, is_expired
from zt_engine.core.rollout import Staged

log = structlog.get_logger()

CHECK_SECONDS = 1.0
"""How often times are looked at although nothing was told."""
LAPSED = "the release in force has passed its end"


class Told(Protocol):
    """What the stream says of releases (`sidecar.sync.Sync`)."""

    minimum_release: int

    def releases(self) -> list[ReleaseNotice]:
        """Those whose turn it is here, the newest first."""
        ...

    def taken_back(self, staged: Staged) -> bool:
        """Whether a rollout was aborted."""
        ...


class Stage(Protocol):
    """What is switched (`bootstrap.release_stage`)."""

    def archive(self, opened: Opened) -> None:
        """Keep what decisions have to be replayed from; in a thread."""
        ...

    def switch(self, opened: Opened) -> None:
        """Have a release decide from the next request on."""
        ...

    def withdraw(self, code: str, message: str) -> None:
        """Have nothing decide."""
        ...


class ReleaseFollower:
    """Keeps the policy in force equal to the newest release that holds."""

    def __init__(
        self,
        told: Told,
        *,
        tenant: str,
        disk: ReleaseDisk,
        fetcher: Fetches,
        stage: Stage,
        trust: Callable[[], ReleaseTrust],
        now: Callable[[], float],
        draw: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
        opener: Callable[..., Opened] = open_release,
        warm: Warm = warm_release,
    ) -> None:
        """`trust` says whose releases count now; `changed` is called when there is something to acknowledge."""
        self.active: Opened | None = None
        self.floor = 0
        """The highest number that was ever in force; nothing at or below it is taken."""
        self.activated_at = 0.0
        self._told = told
        self._tenant = tenant
        self._disk = disk
        self._fetcher = Ahead(fetcher, tenant=tenant, trust=trust, now=now, warm=warm)
        self._stage = stage
        self._trust = trust
        self._now = now
        self._changed = changed
        self._opener = opener
        self._pace = Pace(draw)
        self._again = asyncio.Event()
        self._busy = asyncio.Lock()
        self._vouched: ReleaseTrust | None = None
        self._deciding = False
        self._refused: dict[int, tuple[ReleaseNotice, Problem]] = {}
        self._faults: dict[str, Problem] = {}
        self._known: tuple[ReleaseNotice, ReleaseTrust, Release] | None = None
        """The notice that was believed last, under whose keys, and what it says."""
        self._going = False

    # -- how it stands

    @property
    def bundle_seq(self) -> int:
        """The number of the release that decides; 0 when none does."""
        return self.active.release.seq if self.active is not None and self._deciding else 0

    @property
    def bundle_digest(self) -> str:
        """The digest of its archive."""
        return self.active.release.bundle_digest if self.active is not None and self._deciding else ""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is refused or does not work now."""
        return (*(problem for _, problem in self._refused.values()), *self._faults.values())

    def state(self) -> dict[str, object]:
        """Return how it stands, for operators."""
        return {"seq": self.bundle_seq, "digest": self.bundle_digest, "refused": sorted(self._refused)}

    def offered(self, record: bytes) -> None:
        """Get ready for a release that may be told next."""
        if not self._going:
            self._fetcher.offered(record, above=self.floor)

    def wake(self) -> None:
        """Look again at what was told."""
        self._again.set()

    def let_go(self) -> None:
        """Take up nothing more: a successor does."""
        self._going = True

    # -- running

    async def load(self) -> None:
        """Take up what was in force at the last start, verified again."""
        if not self._disk.begun:
            return
        async with self._busy:
            # The folder was superseded then, and what does not hold now is no reason to go back to it.
            self._withdraw("RELEASE_KEPT", "the release that was in force is not there any more")
            known = await asyncio.to_thread(self._disk.notice, "active")
            with contextlib.suppress(ZtError):
                if known is not None:
                    self.floor = believed(known, self._trust(), tenant=self._tenant).seq - 1
            await self._restore("active", floor=self.floor)

    async def follow(self) -> None:
        """Follow until cancelled. Nothing that goes wrong ends this."""
        while True:
            wait = CHECK_SECONDS
            self._again.clear()
            try:
                wait = await self.step()
            except (Exception, asyncio.CancelledError) as error:
                # INVARIANT: a release that comes later must not find nobody listening.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                log.exception("release.failed", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._again.wait()

    async def step(self) -> float:
        """Look once at what was told and what time it is; return the seconds until that should happen again."""
        async with self._busy:
            await self._judge()
        return CHECK_SECONDS if self._going else await self._advance()

    async def believe(self) -> None:
        """Judge what is in force, and what was refused, by what is believed now."""
        async with self._busy:
            self._refused.clear()
            await self._judge()
        self.wake()

    async def close(self) -> None:
        """Free the engine."""
        self._fetcher.drop()
        if self.active is not None:
            await asyncio.to_thread(self.active.engine.close)

    # -- what is in force

    async def _judge(self) -> None:
        """Take out of force what has ended, was taken back or is vouched for no more; and back in what has not."""
        active = self.active
        if active is None:
            return
        trust = self._trust()
        if trust is not self._vouched:
            try:
                _vouched_for(active, trust, tenant=self._tenant)
            except (BundleError, InputError) as error:
                await self._drop()
                self.floor = active.release.seq - 1
                self._withdraw("BUNDLE_KEY_WITHDRAWN", f"the release in force is vouched for no more: {error.message}")
                return
            self._vouched = trust
            if self._deciding:
                self._stage.switch(active)
        staged = active.notice.staged
        if staged is not None and self._told.taken_back(staged):
            await self._go_back(active.release)
        elif is_expired(active.release, now=self._now()):
            if self._deciding:
                self._withdraw("BUNDLE_EXPIRED", LAPSED)
        elif not self._deciding:
            self._switch(active)

    async def _go_back(self, release: Release) -> None:
        """Leave a release whose rollout was aborted for the one before it, which is what everybody else still has."""
        before = await asyncio.to_thread(self._disk.notice, "before")
        await self._drop()
        self._withdraw("RELEASE_TAKEN_BACK", f"release {release.seq} was taken back, and the one before is not here")
        if before is not None and before.seq < release.seq:
            self.floor = before.seq - 1
            await self._restore("before", floor=self.floor)
            if self.active is not None:  # a restart must not find the one that was taken back
                try:
                    await asyncio.to_thread(self._keep, self.active)
                except UnavailableError as error:
                    self._say("kept", error)

    async def _restore(self, which: Which, *, floor: int) -> None:
        try:
            found = await asyncio.to_thread(self._disk.read, which)
            if found is None:
                return
            notice, raw = found
            opened = await self._open(notice, raw, floor=floor)
            if opened is not None:
                self.active, self.floor, self._vouched = opened, opened.release.seq, self._trust()
                self._switch(opened)
        except ZtError as error:
            self._say("kept", error)

    # -- what is to come

    async def _advance(self) -> float:
        for notice in self._told.releases():
            if notice.seq <= self.floor or self._is_refused(notice):
                continue
            try:
                await self._take(notice)
            except UnavailableError as error:
                self._say("release", error)
                return self._pace.wait()
            except (BundleError, InputError, ConfigError) as error:
                self._refuse(notice, error)
                continue
            self._pace.succeeded()
            break
        self._faults.pop("release", None)
        return CHECK_SECONDS

    async def _take(self, notice: ReleaseNotice) -> None:
        trust = self._trust()
        release = self._due(notice, trust, floor=self.floor)
        raw = await self._fetched(notice, release)
        if raw is None:
            return
        async with self._busy:
            opened = await self._open(notice, raw, floor=self.floor)
            if opened is None:
                return
            try:
                if not self._is_told(notice):
                    await asyncio.to_thread(opened.engine.close)
                    return
                await asyncio.to_thread(self._keep, opened)
            except BaseException:
                await asyncio.to_thread(opened.engine.close)
                raise
            old, self.active, self.floor, self._vouched = self.active, opened, opened.release.seq, self._trust()
            self._switch(opened)
        if old is not None:
            await asyncio.to_thread(old.engine.close)

    async def _fetched(self, notice: ReleaseNotice, release: Release) -> bytes | None:
        """Fetch a bundle while what is in force is judged as ever; None when its turn is over meanwhile."""
        fetching = asyncio.ensure_future(self._fetcher.fetch(release.bundle_digest, release.size))
        try:
            while not (await asyncio.wait({fetching}, timeout=CHECK_SECONDS))[0]:
                async with self._busy:
                    await self._judge()
                if not self._is_told(notice):
                    return None
            return fetching.result()
        finally:
            fetching.cancel()

    def _is_told(self, notice: ReleaseNotice) -> bool:
        """Whether it is this release's turn here: a rollout may be taken back while it is fetched or compiled."""
        return any(one == notice for one in self._told.releases())

    async def _open(self, notice: ReleaseNotice, raw: bytes, *, floor: int) -> Opened | None:
        """Open a release and judge it again by what is believed afterwards; None when that is something else by now."""
        trust = self._trust()
        self._due(notice, trust, floor=floor)
        opened = await asyncio.to_thread(self._opener, notice, raw, trust, tenant=self._tenant)
        try:
            self._due(notice, self._trust(), floor=floor)
            if self._trust() is trust and not self._going:
                return opened
        except BaseException:
            await asyncio.to_thread(opened.engine.close)
            raise
        await asyncio.to_thread(opened.engine.close)
        self.wake()
        return None

    def _due(self, notice: ReleaseNotice, trust: ReleaseTrust, *, floor: int) -> Release:
        known = self._known
        if known is not None and known[0] is notice and known[1] is trust:
            release = known[2]
        else:
            release = believed(notice, trust, tenant=self._tenant)
            self._known = notice, trust, release
        check_turn(release, active_seq=floor, minimum_seq=self._told.minimum_release, now=self._now())
        return release

    def _keep(self, opened: Opened) -> None:
        self._stage.archive(opened)
        self._disk.keep(opened.notice, opened.release.bundle_digest, opened.raw)

    def _switch(self, opened: Opened) -> None:
        self._stage.switch(opened)
        self._deciding, self.activated_at = True, self._now()
        self._refused = {seq: said for seq, said in self._refused.items() if seq > opened.release.seq}
        self._faults.clear()
        log.info("release.activated", seq=opened.release.seq, digest=opened.release.bundle_digest)
        self._changed()

    def _withdraw(self, code: str, message: str) -> None:
        self._deciding = False
        self._stage.withdraw(code, message)
        self._faults["active"] = Problem(code=code, message=message, where="release")
        log.error("release.withdrawn", code=code, problem=message)
        self._changed()

    async def _drop(self) -> None:
        """Let go of the release in force; withdraw at once, or switch."""
        old, self.active = self.active, None
        if old is not None:
            self._stage.withdraw("RELEASE_TAKEN_BACK", "the release in force is being replaced")
            await asyncio.to_thread(old.engine.close)

    # -- what is refused

    def _is_refused(self, notice: ReleaseNotice) -> bool:
        known = self._refused.get(notice.seq)
        # What came too early is looked at again: time passes.
        return known is not None and known[0] == notice and known[1].code != "BUNDLE_NOT_YET"

    def _refuse(self, notice: ReleaseNotice, error: ZtError) -> None:
        problem = _problem(error, f"release {notice.seq}")
        known = self._refused.get(notice.seq)
        self._refused[notice.seq] = (notice, problem)
        if known is None or known[1] != problem:
            log.error(
                "release.refused", seq=notice.seq, code=problem.code, problem=problem.message, where=problem.where
            )
            self._changed()

    def _say(self, about: str, error: ZtError) -> None:
        problem = _problem(error, "release")
        if self._faults.get(about) != problem:
            log.warning("release.waits", code=problem.code, problem=problem.message, where=problem.where)
            self._faults[about] = problem
            self._changed()


def _vouched_for(opened: Opened, trust: ReleaseTrust, *, tenant: str) -> None:
    believed(opened.notice, trust, tenant=tenant)
    key_id = opened.parts.bundle.key_id
    known = trust.keys.get(key_id) if key_id is not None else None
    if known is None or opened.key is None or known.pem() != opened.key.pem():
        raise BundleError("BUNDLE_KEY_UNKNOWN", f"`policy.keys` holds the key `{key_id}` no more")


def _problem(error: ZtError, where: str) -> Problem:
    if isinstance(error, ConfigError):
        first: Any = error.problems[0]
        return Problem(code=first.code, message=first.message, where=first.where or where, hint=first.hint)
    return Problem(code=error.code, message=error.message, where=error.where or where, hint=error.hint)
