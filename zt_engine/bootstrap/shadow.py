"""The shadow beside a sidecar: a process of its own that decides what comes in once more, with and without a candidate.

It follows the inputs that the sidecar's log stores, once for each that is new, and is on no request's path: it reads
files, asks the control plane what is to be watched, and says what it has seen. A decision is a pure function of its
input and the policy, so what the shadow makes of an input without the candidate is what was answered.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_following import GLANCE_BYTES, LogFollower, NewInput, decision_of, decisions, p99
from zt_engine.adapters.priority import Crowd
from zt_engine.adapters.shadow_http import ShadowClient, Watched
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.stream_http import trusting
from zt_engine.adapters.stream_keys import statement
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.deciding import Decider
from zt_engine.bootstrap.joining import read_member
from zt_engine.bootstrap.wiring import read_trusted
from zt_engine.config import Policy as PolicySettings
from zt_engine.config import Settings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import BundleError, ZtError
from zt_engine.core.guards import Case
from zt_engine.core.policy_input import PolicyInput
from zt_engine.core.shadow import Kind, Outcome, Record, Tally, varied
from zt_engine.core.situation import Situation
from zt_engine.ports import Clock

log = structlog.get_logger()

ASK_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.25
BREATH_SECONDS: Final = 0.001
"""After each input while others want the processor: the kernel lets whoever runs run on for milliseconds, which is what
all wait who are asked meanwhile."""
BATCH: Final = 8
"""So many inputs until that is looked for, while nobody wants it."""
REST: Final = 3.0
"""So many times as long as others had the processor during an input, they have it to themselves after it."""
LONGEST_REST_SECONDS: Final = 0.25
LATEST_SECONDS: Final = 120.0
"""Who is further behind takes breath after each batch alone."""
PATIENT: Final = PolicySettings(budget_ms=1000)
"""Whoever gives way to everybody is stopped in the middle of an evaluation; that is no fault of the candidate's."""
KINDS: Final[dict[str, Kind]] = {
    "overlay.changed": "overlay",
    "grant.changed": "grant",
    "threat_level.changed": "threat_level",
    "bundle.released": "release",
}
ReadSituation = Callable[[bytes], Situation]


class Control(Protocol):
    """What the shadow asks and tells."""

    def watched(self) -> tuple[Watched, ...]:
        """Return what is to be watched."""
        ...

    def bundle(self, digest: str) -> bytes:
        """Return a bundle, unverified."""
        ...

    def report(self, ref_seq: int, told: dict[str, Any], /) -> None:
        """Take what was seen."""
        ...


class Watch:
    """One candidate: how an input is decided without it and with it."""

    def __init__(self, told: Watched, tally: Tally, *, read: ReadSituation, candidate: Decider | None) -> None:
        self.told = told
        self.tally = tally
        self.kind = KINDS[told.type]
        self.id = told.object.partition(":")[2]
        self.candidate = candidate
        self.baseline: Decider | None = None
        """What holds without the candidate where the candidate is what holds here."""
        self._with = _record(self.kind, bytes(told.record), read)
        self._without = _record(self.kind, msgspec.json.encode(told.before), read)

    def decide(self, active: Decider, document: PolicyInput) -> tuple[Outcome, Outcome]:
        """Return what comes out without the candidate and with it."""
        if self.kind == "release":
            assert self.candidate is not None
            return _outcome(self.baseline or active, document), _outcome(self.candidate, document)
        ranks = active.ranks
        before = varied(document, self.kind, self.id, self._without, ranks)
        after = varied(document, self.kind, self.id, self._with, ranks)
        first = _outcome(active, before)
        return first, first if before == after else _outcome(active, after)

    def close(self) -> None:
        """Free the engines."""
        for decider in (self.candidate, self.baseline):
            if decider is not None:
                decider.close()


class Shadow:
    """Watches every candidate of a control plane beside one sidecar. For one thread."""

    def __init__(
        self,
        follower: LogFollower,
        archive: Archive,
        control: Control,
        clock: Clock,
        *,
        open_release: Callable[[bytes], Bundle],
        read_situation: ReadSituation,
        waited: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`waited` says for how many seconds others had the processor since it was asked last."""
        self._follower = follower
        self._archive = archive
        self._control = control
        self._clock = clock
        self._open_release = open_release
        self._read_situation = read_situation
        self._waited = waited
        self.rest: Callable[[float], object] = lambda _: None
        """Lets so many seconds pass, unless it has to stop."""
        self._crowded = False
        self._at_once = 0
        """Inputs since the last rest."""
        self._watches: dict[int, Watch] = {}
        self._active: tuple[tuple[str, str, str], Decider] | None = None
        self._asked_at: float | None = None

    def close(self) -> None:
        """Free every engine."""
        for watch in self._watches.values():
            watch.close()
        if self._active is not None:
            self._active[1].close()

    def run(self, stopped: threading.Event) -> None:
        """Watch until told to stop."""
        self.rest = stopped.wait
        while not stopped.is_set():
            try:
                self.turn()
            except (ZtError, OSError) as error:
                log.warning("shadow.failed", problem=str(error)[:300])
            if not self._follower.waiting:
                stopped.wait(POLL_SECONDS)

    def turn(self) -> None:
        """Decide what is new; every few seconds say what was seen and ask what is to be watched."""
        fresh = self._follower.new_inputs()
        if self._watches and fresh:
            self._take(fresh)
        if self._due():
            self._asked_at = self._clock.elapsed()
            latest = p99(decisions(self._follower.tail()))
            for ref_seq, watch in self._watches.items():
                told: dict[str, Any] = msgspec.to_builtins(watch.tally.report(p99_us=latest))
                try:
                    self._control.report(ref_seq, told)
                except ZtError as error:  # it may be over; what is watched is asked next
                    log.info("shadow.not_reported", ref_seq=ref_seq, code=error.code)
            self._follow(self._control.watched())

    def _due(self) -> bool:
        return self._asked_at is None or self._clock.elapsed() - self._asked_at >= ASK_SECONDS

    def _take(self, fresh: list[NewInput]) -> None:
        for watch in self._watches.values():
            watch.tally.keys += len(fresh)
        active = self._policy()
        if active is None:
            return
        tail = b""
        self._waited()
        for one in fresh:
            document = msgspec.json.decode(one.document, type=PolicyInput)
            for watch in self._watches.values():
                before, after = watch.decide(active, document)
                wanted = watch.tally.wants_sample(document, before, after)
                tail = tail or (self._follower.tail() if wanted else b"")
                watch.tally.add(document, before, after, decision_of(tail, one.digest) if wanted else "")
            self._give_way(decided_at=document.time)

    def _give_way(self, *, decided_at: int) -> None:
        waited = self._waited()
        self._at_once += 1
        late = self._clock.now() - decided_at >= LATEST_SECONDS
        if self._at_once < BATCH and (late or not (waited or self._crowded)):
            return
        rest = BREATH_SECONDS if late else max(BREATH_SECONDS, min(REST * waited, LONGEST_REST_SECONDS))
        self.rest(rest)
        overslept = self._waited() - rest
        self._crowded, self._at_once = waited > 0 or overslept > BREATH_SECONDS, 0

    def _policy(self) -> Decider | None:
        """Return the policy that decides here now, as the log names it."""
        named = self._named(GLANCE_BYTES) or (self._named() if self._active is None else None)
        if named is not None:
            key = (str(named.get("bundle", "")), str(named.get("catalogue", "")), str(named.get("trust", "")))
            if self._active is None or self._active[0] != key:
                decider = _archived(self._archive, *key)
                if self._active is not None:
                    self._active[1].close()
                self._active = (key, decider)
        if self._active is None:
            return None
        for watch in self._watches.values():
            self._stand_in(watch, self._active[0][0])
        return self._active[1]

    def _named(self, *most: int) -> dict[str, str | int] | None:
        last = reversed(decisions(self._follower.tail(*most)))
        return next((one.versions for one in last if one.versions), None)

    def _stand_in(self, watch: Watch, active: str) -> None:
        """Have what was before decide, where a release that is watched is what decides already."""
        if watch.kind != "release" or watch.baseline is not None or active != watch.told.bundle:
            return
        watch.baseline = self._released(str(watch.told.before))

    def _follow(self, told: tuple[Watched, ...]) -> None:
        wanted = {one.ref_seq: one for one in told if one.type in KINDS}
        for over in self._watches.keys() - wanted.keys():
            self._watches.pop(over).close()
        for ref_seq in wanted.keys() - self._watches.keys():
            one = wanted[ref_seq]
            candidate = self._released(one.bundle) if KINDS[one.type] == "release" else None
            cases = [msgspec.convert(case, Case) for case in one.must_allow]
            tally = Tally(ref_seq, began_at=int(self._clock.now()), must_allow=cases)
            self._watches[ref_seq] = Watch(one, tally, read=self._read_situation, candidate=candidate)
            log.info("shadow.watching", ref_seq=ref_seq, about=one.object)

    def _released(self, digest: str) -> Decider:
        """Fetch a release's bundle, verified like one that is to be activated."""
        raw = self._control.bundle(digest)
        if hashlib.sha256(raw).hexdigest() != digest:
            raise BundleError("BUNDLE_RELEASE", "the control plane sent another bundle", where=digest)
        bundle = self._open_release(raw)
        if bundle.catalogue is None or bundle.trust is None:
            raise BundleError("BUNDLE_FILE_MISSING", "a release holds its own catalogue and trust model")
        return _decider(bundle, bundle.catalogue, bundle.trust)


def open_shadow(settings: Settings, clock: Clock) -> Shadow:
    """Return the shadow of a sidecar that has joined; raises ConfigError."""
    member, trusted = read_member(settings), read_trusted(settings)
    urls, held = addresses(settings, member.membership.audience)
    encrypted = any(url.startswith("https:") for url in urls)
    control = ShadowClient(
        urls,
        statement=lambda: statement(
            member.key, sidecar=member.membership.id, audience=member.membership.audience, now=clock.now()
        ),
        verify=trusting(settings.path(held) if held is not None else None) if encrypted else True,
    )
    folder = settings.path(settings.log.dir)
    return Shadow(
        LogFollower(folder),
        Archive(folder / "archive"),
        control,
        clock,
        open_release=lambda raw: activation.read_bundle(raw, trusted.bundle_keys),
        read_situation=lambda raw: decode_situation(raw, where="candidate", approvers=trusted.approvers),
        waited=Crowd().waited,
    )


def addresses(settings: Settings, audience: str) -> tuple[tuple[str, ...], Path | None]:
    """Return where the control plane is, and its CA; where `zt up` runs both programs it is what it calls itself."""
    if settings.control_plane.url:
        return settings.control_plane.url, settings.control_plane.ca_file
    return (audience,), settings.control_plane.ca_file or settings.control.ca_file


def _record(kind: Kind, raw: bytes, read: ReadSituation) -> Record:
    if kind == "release" or raw == b"null":
        return Record()
    if kind == "threat_level":
        return Record(level=read(raw).threat_level)
    found = read(b'{"threat_level":0,"%bs":[%b]}' % (kind.encode(), raw))
    return Record(overlay=next(iter(found.overlays), None), grant=next(iter(found.grants), None))


def _outcome(decider: Decider, document: PolicyInput) -> Outcome:
    decision = decider.decide_input(document).decision
    return Outcome(str(decision.effect), decision.reasons)


def _archived(archive: Archive, bundle: str, catalogue: str, trust: str) -> Decider:
    """Return what decided by what the log archived. Its signature was verified when it was activated."""
    files = dict(bundle_archive.read(archive.read("bundle", bundle)))
    files.pop(SIGNATURES, None)
    opened = open_bundle(bundle_archive.write(files), keys={}, require_signature=False)
    return _decider(opened, archive.read("catalogue", catalogue), archive.read("trust", trust))


def _decider(bundle: Bundle, catalogue: bytes, trust: bytes) -> Decider:
    parts = activation.Parts(
        bundle=bundle,
        catalogue=activation.read_catalogue(catalogue, where="catalogue"),
        catalogue_digest=hashlib.sha256(catalogue).hexdigest(),
        trust=activation.read_trust(trust, where="trust"),
        trust_digest=hashlib.sha256(trust).hexdigest(),
    )
    return Decider(parts, activation.make_engine(bundle, PATIENT))
