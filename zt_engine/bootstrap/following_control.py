"""Follow a control plane: its stream into the replica, what was applied back to it, its time into the lease.

Each message is verified where it is applied (`sidecar.sync`); here is only how it gets there. A stream that brings no
watermark for some seconds, or none that can be reached, is left for another address: a relay that is cut off from its
origin looks exactly like that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog

from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.adapters.stream_http import SILENCE_SECONDS, Pace
from zt_engine.adapters.stream_keys import public_keys, statement
from zt_engine.bootstrap.control_link import client_of, harmless, interrupted, known_keys, place_of
from zt_engine.bootstrap.following_floor import floor_tasks
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.joining import Member, keep_membership
from zt_engine.bootstrap.kept_replica import KeptReplica
from zt_engine.bootstrap.told_records import ReadSituation, readers
from zt_engine.bootstrap.told_trust import staleness_of, taken
from zt_engine.config import Settings
from zt_engine.core.errors import InputError, Problem, UnavailableError, ZtError
from zt_engine.core.lease import Lease, Reading
from zt_engine.core.stream import KeySet, StatusAnswer, digest_of
from zt_engine.core.stream_signing import unseal
from zt_engine.ports import Clock
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.sync import KINDS, KeepNothing, Sync

log = structlog.get_logger()

STATUS_SECONDS = 10.0
EAGER_SECONDS = 1.0
"""The shortest time between two acknowledgements."""
SPREAD_SECONDS = 1.0
"""Over how long the acknowledgements of one change are spread, from a quarter of that on: by then it has gone out."""
THREAD_BYTES = 48 << 10
"""A larger message is read in a thread, so that decisions do not wait for it."""
MINOR_SECONDS = 30.0
WAITING = 16


class ControlFollower:
    """Keeps a replica equal to what a control plane says, and a lease running while it does."""

    def __init__(
        self,
        settings: Settings,
        member: Member,
        *,
        read_situation: ReadSituation,
        replica: Replica,
        lease: Lease,
        clock: Clock,
        trust_devices: Callable[[bytes], None],
        revision: Callable[[], str] = lambda: "",
        draw: Callable[[], float] = random.random,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trust_devices` takes the CAs that devices come from, whenever they change."""
        self.lease = lease
        self.member = member
        self._settings = settings
        self.trust_changed: Callable[[], Awaitable[None]] = _nobody
        """Told when approvers or bundle keys may be others."""
        lease.limit(staleness_of(member.membership, settings))
        self.fault: Problem | None = None
        """Why the stream is not followed now, if it is not."""
        self.connected = False
        self._going = False
        self.updates = asyncio.Event()
        """Set whenever something was applied."""
        self._clock = clock
        self._revision = revision
        self._trust_devices = trust_devices
        self.draw = draw
        self._elapsed = elapsed
        self._pace = Pace(draw)
        self._disk = ReplicaDisk(member.folder / "replica", member=member.key.key_id)
        self.client = client_of(settings, self._statement)
        self.releases: ReleaseFollower | None = None
        """What follows the releases that are told of, once there is an authorizer to switch."""
        self.sync = Sync(
            tenant=member.membership.tenant,
            keys=public_keys(member.membership.stream_keys),
            readers=readers(read_situation),
            replica=replica,
            lease=lease,
            keep=KeepNothing(),
            bundle_seq=lambda: self.releases.bundle_seq if self.releases is not None else 0,
            place=place_of(member.membership),
        )
        self.kept = KeptReplica(
            self._disk, self.client, self.sync, tenant=member.membership.tenant,
            draw=draw, elapsed=elapsed,
        )  # fmt: skip

    def clocks(self) -> Reading:
        """Return both clocks now."""
        return Reading(self._clock.now(), self._clock.elapsed())

    def _statement(self) -> str:
        membership = self.member.membership
        return statement(self.member.key, sidecar=membership.id, audience=membership.audience, now=self.now())

    def now(self) -> float:
        """What time it is at the control plane, as well as that is known: a wrong clock must not keep us out."""
        now, offset = self._clock.now(), self.lease.offset
        if offset is not None:
            return now + offset
        said = self.client.said_date
        return now if said is None or abs(said - now) < MINOR_SECONDS else said

    # -- what was known at the last start

    async def load(self) -> None:
        """Take up what is on the disk, verified again; whatever does not hold is dropped and asked for again."""
        self._trust_devices(self.member.membership.device_cas.encode())
        await asyncio.to_thread(self._load)
        if self.releases is not None:
            await self.releases.load()

    def _load(self) -> None:
        anchor = self._disk.anchor()
        if anchor is not None:
            self.lease.anchored(anchor, self.clocks())
        self.kept.load(self.clocks)
        self.keep()
        if self.sync.position.seq:
            log.info("replica.loaded", seq=self.sync.position.seq)

    def keep(self) -> None:
        """Write down what comes from now on, as soon as no other process of this sidecar does so any more."""
        if isinstance(self.sync.keep, KeepNothing) and not self._going and self._disk.acquire():
            self.sync.keep = self._disk

    def let_go(self) -> None:
        """Stop writing: a successor does."""
        self._going = True
        if self.releases is not None:
            self.releases.let_go()
        self.sync.keep = KeepNothing()
        self._disk.release()

    # -- following

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for as long as the sidecar does."""
        floor = floor_tasks(
            self._settings.control_plane.floor,
            sync=self.sync,
            clocks=self.clocks,
            heard=lambda: self.connected,
            told=self.updates,
        )
        own = self.follow(), self.tell(), self.watch(), *floor
        return own if self.releases is None else (*own, self.releases.follow())

    async def follow(self) -> None:
        """Follow the stream until cancelled. Nothing that goes wrong ends this."""
        while True:
            least = 0.0
            try:
                await self._listen()
                self._failed(UnavailableError("STREAM_DOWN", f"`{self.client.url}` ended the stream"))
            except (UnavailableError, InputError) as error:
                least = float(error.hint) if error.hint.isdecimal() else 0.0
                self._failed(error)
                if error.code == "STREAM_KEY_UNKNOWN":
                    await self._refresh_keys()
            except Exception as error:  # INVARIANT: a revocation that comes later must not find nobody listening.
                log.exception("stream.failed", error=type(error).__name__)
            self.connected = False
            if self.fault is None or self.fault.code != "STREAM_GAP":
                self.client.elsewhere()
            await asyncio.sleep(self._pace.wait(least=least))

    def _failed(self, error: ZtError) -> None:
        self.fault = interrupted(error, self.member, before=self.fault)

    async def _listen(self) -> None:
        """Follow one connection: whatever is urgent is applied as it arrives, everything else in its turn."""
        waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(WAITING)
        working = asyncio.ensure_future(self._apply(waiting))
        reading = asyncio.ensure_future(self._receive(waiting))
        try:
            await asyncio.wait((working, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in (working, reading):
                if task.done():
                    task.result()
        finally:
            for task in (working, reading):
                task.cancel()
            await asyncio.gather(working, reading, return_exceptions=True)

    async def _receive(self, waiting: asyncio.Queue[tuple[str, bytes]]) -> None:
        position, wanted = self.sync.position, self.sync.snapshot_wanted
        async with contextlib.aclosing(
            self.client.messages(cursor=0 if wanted else position.seq, least=position.seq)
        ) as messages:
            async for kind, raw in messages:
                if kind == "urgent":
                    self._commit(kind, raw)
                elif kind in KINDS:
                    await waiting.put((kind, raw))
                elif kind == "offer" and self.releases is not None:
                    self.releases.offered(raw)

    async def _apply(self, waiting: asyncio.Queue[tuple[str, bytes]]) -> None:
        deadline = self._elapsed() + SILENCE_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._elapsed())):
                    kind, raw = await waiting.get()
            except TimeoutError:
                raise UnavailableError("STREAM_SILENT", f"`{self.client.url}` sends nothing new") from None
            before = self.sync.position
            if len(raw) > THREAD_BYTES:
                with harmless():
                    prepared = await asyncio.to_thread(self.sync.prepare, kind, raw)
                    if kind == "batch" and self.sync.position.seq != before.seq:
                        raise InputError("STREAM_GAP", "the floor came in between")
                    self.sync.commit(prepared, self.clocks())
            else:
                self._commit(kind, raw)
            position = self.sync.position
            if kind == "watermark" and position.issued_at > before.issued_at and position.marked <= position.seq:
                self._heard()
            if self.sync.snapshot_wanted:
                raise InputError("STREAM_REVOCATIONS", "other things are revoked here than the watermark says")
            # A watermark that is ahead of what comes behind it proves nothing: something is held back.
            if kind != "watermark" or position.marked <= position.seq:
                deadline = self._elapsed() + SILENCE_SECONDS
            if position.seq != before.seq or kind == "snapshot":
                self.updates.set()
                if self.releases is not None:
                    self.releases.wake()

    def _commit(self, kind: str, raw: bytes) -> None:
        with harmless():
            self.sync.take(kind, raw, self.clocks())

    def _heard(self) -> None:
        """Note that the control plane is heard and everything it said is applied."""
        if not self.connected:
            log.info("stream.followed", url=self.client.url, seq=self.sync.position.seq)
        self.connected, self.fault = True, None
        self._pace.succeeded()

    # -- what goes back

    async def tell(self) -> None:
        """Say what was applied, soon after something was and every ten seconds, and learn the time."""
        while True:
            confirmed = False
            try:
                confirmed = await self._tell()
            except (UnavailableError, InputError) as error:
                log.debug("status.failed", code=error.code, problem=error.message)
            except Exception as error:  # INVARIANT: without the time nothing above C1 is decided; try again.
                log.exception("status.failed", error=type(error).__name__)
            await asyncio.sleep(EAGER_SECONDS * (0.5 + self.draw()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_SECONDS * (0.75 + self.draw() / 2) if confirmed else EAGER_SECONDS):
                    await self.updates.wait()
                    # Everybody hears of a change at once; they do not all say so at once.
                    await asyncio.sleep(SPREAD_SECONDS * (0.25 + self.draw()))

    async def _tell(self) -> bool:
        self.updates.clear()
        nonce = secrets.token_urlsafe(24)
        said = {
            "nonce": nonce,
            "applied_seq": self.sync.position.seq,
            "revision": self._revision()[:128],
            **self._release_said(),
            "refusals": sorted({problem.code for problem in self.problems})[:20],
        }
        asked = self._clock.elapsed()
        raw = await self.client.status(said, known=self.sync.keys)
        answer = unseal(raw, StatusAnswer, self.sync.keys, tenant=self.member.membership.tenant)
        if answer.nonce != nonce:
            raise InputError("STREAM_REPLAYED", "the answer is to another question")
        confirmed = self.lease.confirm(answer.now, asked=asked, reading=self.clocks())
        if confirmed and self.lease.anchor is not None and not isinstance(self.sync.keep, KeepNothing):
            self._disk.clock(self.lease.anchor)
        if answer.keys != digest_of(known_keys(self.member)):
            await self._refresh_keys()
        return confirmed

    def _release_said(self) -> Mapping[str, object]:
        held = self.releases
        return {"bundle_seq": held.bundle_seq, "bundle_digest": held.bundle_digest} if held is not None else {}

    async def _refresh_keys(self) -> None:
        """Take up another set of keys, vouched for by one of those that are believed now."""
        try:
            raw = await self.client.keys(known=self.sync.keys)
            told = unseal(raw, KeySet, self.sync.keys, tenant=self.member.membership.tenant)
        except (UnavailableError, InputError) as error:
            log.warning("stream_keys.refused", code=error.code, problem=error.message)
            return
        membership = self.member.membership
        if told.version <= membership.version or not public_keys(told.stream_keys):
            return
        changed = told.device_cas != membership.device_cas
        before = membership
        membership = await asyncio.to_thread(taken, membership, told, self._settings)
        if membership is before:
            return
        left = {key_id: jwk for key_id, jwk in before.stream_keys.items() if key_id not in told.stream_keys}
        if left:
            self._disk.keys_left(left)
        self.member = Member(membership, self.member.key, self.member.folder)
        await asyncio.to_thread(keep_membership, self.member)
        self.sync.keys = public_keys(told.stream_keys)
        self.sync.moved(place_of(self.member.membership), self.clocks())
        if self.releases is not None:
            self.releases.wake()  # its turn may have come
        self.lease.limit(await asyncio.to_thread(staleness_of, membership, self._settings))
        if membership.trust != before.trust:
            await self.trust_changed()
        if changed:
            self._trust_devices(told.device_cas.encode())
        log.info("stream_keys.changed", keys=sorted(told.stream_keys))
        self.updates.set()  # the key before may go once it is known who knows the next one

    async def watch(self) -> None:
        """Compare the clocks every second, so that one that is set does not go unnoticed; keep the disk short."""
        while True:
            self.lease.observe(self.clocks())
            self.keep()
            if self.connected and self.sync.keep is self._disk:
                await self.kept.turn()
            await asyncio.sleep(1.0)

    async def reached(self, seconds: float) -> bool:
        """Wait until everything is known and the control plane was heard, but no longer than so many seconds."""
        end = self._elapsed() + seconds
        while self._elapsed() < end:
            if self.connected and self.lease.offset is not None:
                return True
            await asyncio.sleep(0.02)
        return False

    async def believe(self, read_situation: ReadSituation) -> None:
        """Judge grants and releases by other approvers and keys."""
        self.sync.reread(readers(read_situation), self.clocks())
        if self.releases is not None:
            await self.releases.believe()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return everything that is refused or does not work now."""
        found = [self.fault, self._disk.problem, *self.sync.problems.values()]
        told = self.releases.problems if self.releases is not None else ()
        return (*(problem for problem in found if problem is not None), *told)

    async def close(self) -> None:
        """End connections, and write what waits."""
        if self.releases is not None:
            await self.releases.close()
        await self.client.close()
        await asyncio.to_thread(self._disk.close)

    def state(self) -> Mapping[str, object]:
        """Return how it stands, for operators."""
        age = self.lease.age(self._clock.elapsed())
        return {
            "connected": self.connected,
            "seq": self.sync.position.seq,
            "watermark_age": None if age is None else round(age, 1),
            "clock_offset": None if self.lease.offset is None else round(self.lease.offset, 3),
            "url": self.client.url,
            **({"release": self.releases.state()} if self.releases is not None else {}),
        }


async def _nobody() -> None:
    """Nobody has to be told."""
