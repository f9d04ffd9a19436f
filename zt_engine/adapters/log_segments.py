"""The decision log on disk: one chain a process, in files that rotate, each with a companion of canonical inputs.

Two threads meet here and share next to nothing. The event loop calls `append`, `store_input` and `flush`; it alone
changes the chain and writes. A background thread calls `tick` once a second: it syncs, signs, restores the reserve and
enforces the quota. It reads `chain.committed`, a frozen value replaced in one step, *before* it syncs, so what it signs
is on the disk.

Files of a log folder (0700, files 0600):
    decisions-<chain>-<first seq>.jsonl      events and records
    inputs/inputs-<chain>-<first seq>.jsonl  {"input_digest":"<hex>","input":<canonical bytes>}
    archive/<kind>/<digest>                  what decided
    reserve  .lock  torn/                    space kept back, start lock, ends that crashes left
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_checkpoints import CheckpointPublisher
from zt_engine.adapters.log_files import NO_SPACE, AppendFile, Files, private_folder
from zt_engine.adapters.log_notices import Notices
from zt_engine.adapters.log_pair import SegmentPair
from zt_engine.adapters.log_recovery import chain_name, give_back_all, opening, recover
from zt_engine.adapters.log_reserve import Reserve, SpaceState
from zt_engine.adapters.log_retention import Retention
from zt_engine.adapters.log_settings import LogSettings
from zt_engine.core.decision_event import timestamp
from zt_engine.core.decision_log import (
    GENESIS,
    Chain,
    ChainClosed,
    ChainOpened,
    Head,
    Noted,
    SegmentOpened,
    record_body,
    segment_name,
)
from zt_engine.core.errors import UnavailableError

NEWLINE = 0x0A
"""As a number: looking for one byte that way takes a quarter of the time."""


class DecisionLog:
    """Opening one continues the folder with a new chain; raises UnavailableError when it cannot be written.

    `generation` grows with each rotation: who keeps a prepared decision stores its input again when it has changed.
    """

    def __init__(
        self,
        settings: LogSettings,
        *,
        publisher: CheckpointPublisher,
        clock: Callable[[], float],
        files: Files | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._clock = clock
        self._files = files or Files()
        self._folder = private_folder(settings.folder)
        self._inputs_folder = private_folder(settings.inputs or settings.folder / "inputs")
        self._archive = Archive(settings.archive or settings.folder / "archive", self._files)
        if settings.moved_to is not None:
            private_folder(settings.moved_to)
        self._reserve = Reserve(self._files, self._folder / "reserve", settings.reserve_bytes)
        self._notices = Notices()
        self._retention = Retention(settings, inputs=self._inputs_folder, notices=self._notices)
        self._stored: set[str] = set()
        self._new_digests: list[str] = []
        self._new_inputs: list[bytes] = []
        self._bodies: list[bytes] = []
        self._sync_asked = False
        self._retired: deque[SegmentPair] = deque()
        self._folder_changed = True
        self._tick_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._closed = False
        self.generation = 0
        self.bytes_written = 0
        self.inputs_written = 0
        self.failures = 0
        self.anchored = 0
        self.anchored_at = 0.0
        self.synced_at = 0.0
        self._rotate_again_at = 0.0
        self._open(entropy)

    def _open(self, entropy: Callable[[int], bytes]) -> None:
        now = self._clock()
        try:
            with opening(self._folder):
                found = recover(self._folder, self._files)
                give_back_all(self._folder, kind="decisions")
                give_back_all(self._inputs_folder, kind="inputs")
                before = found.predecessor
                self.chain = chain_name(now, before.chain if before else None, entropy(4))
                self._chain = Chain(Head(0, before.hash.encode() if before else GENESIS))
                opened = ChainOpened(
                    chain=self.chain,
                    sidecar=self._settings.sidecar,
                    at=timestamp(now),
                    predecessor=before,
                    recovered=found.recovered,
                )
                self._chain.append(record_body(opened))
                self._pair = self._create_pair(0, now)
                self._pair.sync()
                self._files.sync_folder(self._folder)
                self._chain.commit()
        except OSError as error:
            raise self._unavailable(error) from error
        self.recovered = found.recovered
        self._reserve.restore()

    def _create_pair(self, first: int, now: float) -> SegmentPair:
        """A new segment whose first line is the pending one; raises OSError and leaves nothing behind."""
        pair = SegmentPair.create(
            self._files,
            segment=self._folder / segment_name(self.chain, first),
            inputs=self._inputs_folder / segment_name(self.chain, first, kind="inputs"),
            line=self._chain.pending[0] + b"\n",
            until=now + self._settings.segment_seconds,
        )
        pair.keep_ahead()
        self._folder_changed = True
        return pair

    # --- the event loop ----------------------------------------------------------------------------------------------

    def append(self, body: bytes, *, sync: bool = False) -> None:
        """Add one event to this turn's write. It exists for nobody until `flush` has returned."""
        if NEWLINE in body:
            raise ValueError("a line of the decision log holds no newline")
        if sync:
            self._sync_asked = True
        self._bodies.append(body)

    def has_input(self, digest: str) -> bool:
        """Whether the current companion is known to hold this input (forgetting costs a second copy, nothing else)."""
        return digest in self._stored

    def store_input(self, digest: str, canonical: bytes) -> None:
        """Keep the canonical input behind `digest` for replay, once; `canonical` is one line of JSON."""
        if digest in self._stored:
            return
        if b"\n" in canonical:
            raise ValueError("a canonical input is one line")
        if len(self._stored) >= self._settings.remembered_inputs:
            self._stored.clear()
        self._stored.add(digest)
        self._new_digests.append(digest)
        self._new_inputs.append(b'{"input_digest":"%b","input":%b}\n' % (digest.encode(), canonical))

    def note(self, kind: str, digest: str, text: str = "") -> None:
        """Record in the chain that something else decides from now on; written with the next flush. Any thread."""
        self._notices.add(Noted(at=timestamp(self._clock()), kind=kind, digest=digest, text=text))

    def archive(self, kind: str, digest: str, content: bytes) -> None:
        """Keep a bundle, catalogue or trust file by its digest; written once."""
        self._archive.store(kind, digest, content)

    def flush(self, *, rotate: bool = True) -> None:
        """Write what this turn appended, one write a file; only then may its answers leave.

        Raises UnavailableError `LOG_UNAVAILABLE` when it could not be written: then nothing of it is in the log, and
        every answer of this turn has to be a denial. Events that asked for `sync` are on the disk on return. Without
        `rotate` the file stays the same, for a flush between an event's decision and its own flush.
        """
        chain = self._chain
        if self._bodies:
            bodies, self._bodies = self._bodies, []
            chain.extend(bodies)
        if self._notices.waiting:
            self._notices.place(chain)
        if not chain.pending and not self._new_inputs:
            return
        pair = self._pair
        before = pair.inputs.size, pair.segment.size
        try:
            if self._new_inputs:  # first, so that no event refers to an input that is not there
                self._write(pair.inputs, b"".join(self._new_inputs))
            if chain.pending:
                self._write(pair.segment, b"\n".join(chain.pending) + b"\n")
            if self._sync_asked:
                pair.sync()
        except OSError as error:
            self._take_back(pair, before)
            raise self._unavailable(error) from error
        chain.commit()
        self.bytes_written += pair.inputs.size + pair.segment.size - sum(before)
        self._forget_turn(written=True)
        due = pair.segment.size + pair.inputs.size >= self._settings.segment_bytes or self._clock() >= pair.until
        if due and rotate and not self._closed:  # nothing may follow the closing record
            self._rotate()

    def discard(self) -> None:
        """Forget this turn unwritten, for a listener that failed between `append` and `flush` and denied everything."""
        self._bodies.clear()
        self._chain.rollback()
        self._notices.put_back()
        self._forget_turn(written=False)

    def _write(self, file: AppendFile, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            if error.errno not in NO_SPACE or not self._reserve.release():
                raise
            file.write(data)

    def _take_back(self, pair: SegmentPair, before: tuple[int, int]) -> None:
        self.failures += 1
        self._reserve.fail()
        for file, size in zip((pair.inputs, pair.segment), before, strict=True):
            try:
                if file.size != size:
                    file.rewind(size)
            except OSError:
                pass  # the file knows that it is torn and heals before its next write, or refuses it
        self.discard()

    def _forget_turn(self, *, written: bool) -> None:
        if written:
            self.inputs_written += len(self._new_digests)
            self._notices.written()
        else:
            self._stored.difference_update(self._new_digests)
        self._new_digests.clear()
        self._new_inputs.clear()
        self._sync_asked = False

    def _rotate(self) -> None:
        """Continue the chain in a new pair; if that cannot be created, go on in the old one and try in a second."""
        now = self._clock()
        if now < self._rotate_again_at:
            return
        opened = SegmentOpened(
            chain=self.chain, sidecar=self._settings.sidecar, at=timestamp(now), anchored=self.anchored
        )
        first = self._chain.next_seq
        self._chain.append(record_body(opened))
        try:
            pair = self._create_pair(first, now)
        except OSError:
            self._chain.rollback()
            self._rotate_again_at = now + 1.0
            return
        self._chain.commit()
        self._retired.append(self._pair)
        self._pair = pair
        self._stored.clear()
        self.generation += 1

    # --- the background thread ---------------------------------------------------------------------------------------

    def start(self, wake: Callable[[], None] | None = None, *, every: float = 1.0) -> None:
        """Sync, sign and clean up every second in a thread of its own (it waits for disks, it does not compute).

        `wake` is called from that thread when a record waits for the next `flush`, so that an idle sidecar writes it
        too: `lambda: loop.call_soon_threadsafe(flush)`.
        """
        self._notices.wake = wake
        self._thread = threading.Thread(target=self._run, args=(every,), name="decision-log", daemon=True)
        self._thread.start()

    def _run(self, every: float) -> None:
        while not self._stop.wait(every):
            try:
                self.tick()
            except Exception as error:  # the thread must outlive whatever a disk or a sink comes up with
                self._publisher.failures += 1
                self._publisher.last_error = f"{type(error).__name__}: {error}"

    def tick(self) -> None:
        """One round of the background work."""
        with self._tick_lock:
            committed = self._chain.committed  # INVARIANT: read before syncing, see the module's docstring
            now = self._clock()
            self._pair.keep_ahead()
            try:
                self._sync()
            except OSError:
                self._reserve.fail()
                return
            self.synced_at = now
            if self._reserve.state != "ok":
                self._reserve.restore()
            if committed.count > self.anchored and self._publisher.publish(self.chain, committed, now=now):
                self.anchored, self.anchored_at = committed.count, now
            self._retention.step(own=self.chain, generation=self.generation, anchored=self.anchored, now=now)

    def _sync(self) -> None:
        self._pair.sync()
        while self._retired:
            pair = self._retired[0]
            pair.sync()
            pair.close()
            self._retired.popleft()
        if self._folder_changed:
            self._folder_changed = False
            self._files.sync_folder(self._folder)
            self._files.sync_folder(self._inputs_folder)

    # --- for the admin listener --------------------------------------------------------------------------------------

    @property
    def space(self) -> Reserve:
        """Whose `state` is `state`, for whoever asks at every request."""
        return self._reserve

    @property
    def state(self) -> SpaceState:
        """`ok`; `reserve` (only C0 and C1 may be allowed); `unavailable` (nothing may)."""
        return self._reserve.state

    @property
    def records(self) -> int:
        """Lines in this process's chain."""
        return self._chain.committed.count

    @property
    def checkpoint_lag(self) -> int:
        """Lines that no checkpoint covers yet."""
        return self._chain.committed.count - self.anchored

    @property
    def checkpoint_failures(self) -> int:
        """Checkpoints that a sink did not take."""
        return self._publisher.failures

    @property
    def total_bytes(self) -> int:
        """Size of all segments and inputs at the last look."""
        return self._retention.total_bytes

    def close(self) -> None:
        """End the chain in order: a last record, a last sync, a last checkpoint."""
        if self._closed:
            return
        self._closed = True
        self._notices.wake = None
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._notices.add(ChainClosed(at=timestamp(self._clock())))
            self.flush()
            self.tick()
        finally:
            for pair in (*self._retired, self._pair):
                pair.close()
            self._publisher.close()

    def _unavailable(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            "LOG_UNAVAILABLE",
            f"the decision log cannot be written: {error.strerror}",
            where=str(self._folder),
            hint="free space on the disk of the log, or see whether it is mounted read-only",
        )
