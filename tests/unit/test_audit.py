"""An audit finds every change to anchored bytes, and calls nothing tampering that is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from zt_engine.adapters.log_checkpoints import CheckpointKeys, key_id
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport
from zt_engine.core.decision_event import timestamp
from zt_engine.core.decision_log import (
    GENESIS,
    Chain,
    ChainClosed,
    ChainOpened,
    Checkpoint,
    Floor,
    Head,
    LogSegment,
    Predecessor,
    RemovedSegment,
    SegmentOpened,
    SegmentsRemoved,
    checkpoint_line,
    checkpoint_payload,
    line_hash,
    parse_checkpoint,
    parse_segment_name,
    record_body,
    segment_name,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = CheckpointKeys([KEY.public_key()])
A, B, C = (f"20261122T0{hour}0000000Z-0000000{hour}" for hour in (1, 2, 3))
START = 1790000000.0


@dataclass(frozen=True)
class Log:
    """A log in memory: files by name, and checkpoint lines in the order they left."""

    files: dict[str, bytes]
    checkpoints: tuple[bytes, ...]

    def audit(self) -> AuditReport:
        segments = [
            LogSegment(name=name, chain=parsed.chain, first=parsed.first, lines=partial(_lines, content))
            for name, content in self.files.items()
            if (parsed := parse_segment_name(name)) is not None
        ]
        numbered = [(f"checkpoints:{number}", line + b"\n") for number, line in enumerate(self.checkpoints, 1)]
        return verify(segments, numbered, genuine=KEYS.verify)


def _lines(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True) if b"\r" not in content else _split(content)


def _split(content: bytes) -> list[bytes]:
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


class Writer:
    """Writes a log as a sidecar would, three lines a file, one checkpoint every other line."""

    def __init__(self, log: Log | None = None, *, now: float = START) -> None:
        self.files = dict(log.files) if log else {}
        self.checkpoints = list(log.checkpoints) if log else []
        self.now = now

    def open(self, name: str, predecessor: Predecessor | None = None) -> Writer:
        self.name, self.lines = name, 0
        self.chain = Chain(Head(0, predecessor.hash.encode() if predecessor else GENESIS))
        record = ChainOpened(chain=name, sidecar="s", at=timestamp(self.now), predecessor=predecessor)
        return self._put(record_body(record), new_file=True)

    def events(self, count: int, *, signed: bool = True) -> Writer:
        for _ in range(count):
            self.now += 1
            if self.lines % 3 == 0:
                anchored = self.anchored if signed else 0
                record = SegmentOpened(chain=self.name, sidecar="s", at=timestamp(self.now), anchored=anchored)
                self._put(record_body(record), new_file=True)
            self._put(b'"ts":"%b","decision_id":"d%d"' % (timestamp(self.now).encode(), self.lines))
            if signed:
                self.sign()
        return self

    def record(self, record: ChainClosed | SegmentsRemoved) -> Writer:
        return self._put(record_body(record))

    def sign(self) -> Writer:
        head = self.chain.committed
        checkpoint = Checkpoint(
            key=key_id(KEY.public_key()),
            sidecar="s",
            chain=self.name,
            count=head.count,
            head=head.hash.decode(),
            time=timestamp(self.now),
        )
        self.checkpoints.append(checkpoint_line(checkpoint, KEY.sign(checkpoint_payload(checkpoint))))
        self.anchored = head.count
        return self

    def head(self, *, live: bool = False) -> Predecessor:
        head = self.chain.committed
        return Predecessor(chain=self.name, seq=head.count - 1, hash=head.hash.decode(), live=live)

    def done(self) -> Log:
        return Log(dict(self.files), tuple(self.checkpoints))

    def _put(self, body: bytes, *, new_file: bool = False) -> Writer:
        first = self.chain.next_seq
        self.chain.append(body)
        if new_file:
            self.file = segment_name(self.name, first)
            self.files[self.file] = b""
        self.files[self.file] += self.chain.pending[0] + b"\n"
        self.chain.commit()
        self.lines += 1
        return self


def three_runs() -> Log:
    """A crashed run, one that ended in order, and one still going with two unsigned lines."""
    writer = Writer().open(A).events(7).events(1, signed=False)
    writer.open(B, writer.head()).sign().events(4)
    writer.record(ChainClosed(at=timestamp(writer.now))).sign()
    writer.open(C, writer.head()).sign().events(5).events(2, signed=False)
    return writer.done()


LOG = three_runs()


def anchored_bytes(log: Log) -> dict[str, int]:
    """How many bytes of each file are anchored: all of the older runs, the last one up to its newest checkpoint."""
    newest = parse_checkpoint(log.checkpoints[-1])
    assert newest is not None
    sizes = {}
    for name, content in log.files.items():
        parsed = parse_segment_name(name)
        assert parsed is not None
        lines = _split(content)
        if parsed.chain == newest.value.chain:
            lines = lines[: max(0, newest.value.count - parsed.first)]
        sizes[name] = sum(len(line) for line in lines)
    return {name: size for name, size in sizes.items() if size > 0}


ANCHORED = anchored_bytes(LOG)
FILES = sorted(ANCHORED)
ANCHORED_LINES = [(name, number) for name in FILES for number in range(LOG.files[name][: ANCHORED[name]].count(b"\n"))]


def with_file(log: Log, name: str, content: bytes | None) -> Log:
    files = {key: value for key, value in log.files.items() if key != name}
    return replace(log, files=files if content is None else files | {name: content})


def codes(log: Log) -> set[str]:
    return {finding.code for finding in log.audit().faults}


# --- what is no tampering --------------------------------------------------------------------------------------------


def test_an_untouched_log_has_no_fault_and_counts_what_is_not_signed_yet() -> None:
    report = LOG.audit()

    assert (report.faults, report.notes) == ((), ())
    assert report.unanchored == sum(content.count(b"\n") for content in LOG.files.values()) - len(ANCHORED_LINES)
    assert report.unanchored >= 2
    assert [chain.chain for chain in report.chains] == [A, B, C]


def test_the_unsigned_end_of_a_crashed_run_is_anchored_by_the_next_run() -> None:
    report = LOG.audit()

    assert report.chains[0].proven == report.chains[0].present


def test_lines_behind_the_last_checkpoint_may_vanish_unnoticed() -> None:
    cut = {name: LOG.files[name][:size] for name, size in ANCHORED.items()}

    report = replace(LOG, files=cut).audit()

    assert report.faults == ()
    assert report.unanchored == 0


def test_a_torn_end_is_noted_and_is_no_fault() -> None:
    last = max(LOG.files)
    report = with_file(LOG, last, LOG.files[last] + b'{"ts":"2026').audit()

    assert (report.faults, [note.code for note in report.notes]) == ((), ["LOG_LINE_TORN"])


def test_a_chain_that_took_over_from_a_living_one_lets_that_one_finish() -> None:
    writer = Writer().open(A).events(2)
    seen = writer.head(live=True)
    writer.events(3).record(ChainClosed(at=timestamp(writer.now))).sign()
    writer.open(B, seen).sign().events(2)

    report = writer.done().audit()

    assert (report.faults, report.unanchored) == ((), 0)


# --- mutations -------------------------------------------------------------------------------------------------------


@given(st.sampled_from(FILES), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_is_found(name: str, offset: int, change: int) -> None:
    content = bytearray(LOG.files[name])
    content[offset % ANCHORED[name]] ^= change

    assert with_file(LOG, name, bytes(content)).audit().faults


@given(st.sampled_from(FILES), st.integers(0), st.integers(1, 400))
def test_any_removed_bytes_are_found(name: str, offset: int, count: int) -> None:
    content = LOG.files[name]
    start = offset % ANCHORED[name]
    mutated = content[:start] + content[start + count :]

    assert with_file(LOG, name, mutated).audit().faults


@given(st.sampled_from(FILES), st.integers(0), st.binary(min_size=1, max_size=40))
def test_any_inserted_bytes_are_found(name: str, offset: int, extra: bytes) -> None:
    content = LOG.files[name]
    start = offset % ANCHORED[name]
    mutated = content[:start] + extra + content[start:]
    assume(mutated != content)

    assert with_file(LOG, name, mutated).audit().faults


@given(st.sampled_from(ANCHORED_LINES))
def test_any_removed_line_is_found(place: tuple[str, int]) -> None:
    lines = _split(LOG.files[place[0]])
    del lines[place[1]]

    assert with_file(LOG, place[0], b"".join(lines)).audit().faults


@given(st.sampled_from(ANCHORED_LINES), st.sampled_from(ANCHORED_LINES))
def test_any_two_lines_that_changed_places_are_found(one: tuple[str, int], other: tuple[str, int]) -> None:
    assume(one != other)
    files = {name: _split(content) for name, content in LOG.files.items()}
    first, second = files[one[0]][one[1]], files[other[0]][other[1]]
    files[one[0]][one[1]], files[other[0]][other[1]] = second, first

    mutated = replace(LOG, files={name: b"".join(lines) for name, lines in files.items()})

    assert mutated.audit().faults


@given(st.sampled_from(ANCHORED_LINES), st.sampled_from(ANCHORED_LINES))
def test_any_repeated_line_is_found(source: tuple[str, int], target: tuple[str, int]) -> None:
    lines = _split(LOG.files[target[0]])
    lines.insert(target[1], _split(LOG.files[source[0]])[source[1]])

    assert with_file(LOG, target[0], b"".join(lines)).audit().faults


@given(st.sampled_from(FILES), st.integers(0))
def test_any_cut_end_is_found(name: str, offset: int) -> None:
    assert with_file(LOG, name, LOG.files[name][: offset % ANCHORED[name]]).audit().faults


@given(st.sets(st.sampled_from(FILES), min_size=1))
def test_any_removed_files_are_found(names: set[str]) -> None:
    mutated = replace(LOG, files={name: content for name, content in LOG.files.items() if name not in names})

    assert mutated.audit().faults


@given(st.permutations(FILES))
def test_any_swapped_files_are_found(order: list[str]) -> None:
    assume(order != FILES)
    mutated = replace(LOG, files=LOG.files | {name: LOG.files[other] for name, other in zip(FILES, order, strict=True)})

    assert mutated.audit().faults


@given(st.sampled_from([A, B]))
def test_a_removed_run_is_found(chain: str) -> None:
    mutated = replace(LOG, files={name: content for name, content in LOG.files.items() if chain not in name})

    assert "LOG_CHAIN_MISSING" in codes(mutated)


def test_a_run_whose_checkpoints_vanished_with_it_is_found_by_the_next_run() -> None:
    mutated = Log(
        {name: content for name, content in LOG.files.items() if B not in name},
        tuple(line for line in LOG.checkpoints if B.encode() not in line),
    )

    assert "LOG_CHAIN_MISSING" in codes(mutated)


def rechained(log: Log, start: tuple[str, int], line: bytes) -> Log:
    """What somebody does who knows the format: change one line and link every later line of all files anew."""
    files: dict[str, bytes] = {}
    before: bytes | None = None
    for name in sorted(log.files):
        lines = _split(log.files[name])
        for number, old in enumerate(lines):
            if (name, number) == start:
                lines[number] = line
            elif before is not None:
                lines[number] = old[: -len(b'0"}\n') - 63] + before + b'"}\n'
            if before is not None or (name, number) == start:
                before = line_hash(lines[number][:-1])
        files[name] = b"".join(lines)
    return replace(log, files=files)


@given(st.sampled_from(ANCHORED_LINES))
def test_a_changed_line_is_found_even_when_everything_behind_it_is_linked_anew(place: tuple[str, int]) -> None:
    old = _split(LOG.files[place[0]])[place[1]]
    mutated = rechained(LOG, place, b'{"z":1,' + old[1:])

    assert mutated.audit().faults


@given(st.sampled_from(ANCHORED_LINES), st.integers(0, len(LOG.checkpoints) - 1))
def test_one_remaining_later_checkpoint_is_enough(place: tuple[str, int], kept: int) -> None:
    old = _split(LOG.files[place[0]])[place[1]]
    newest = LOG.checkpoints[-1]
    mutated = rechained(LOG, place, b'{"z":1,' + old[1:])

    assert replace(mutated, checkpoints=(LOG.checkpoints[kept], newest)).audit().faults


def test_a_rewritten_whole_log_does_not_fit_its_checkpoints() -> None:
    other = Writer(now=START + 0.5).open(A).events(7).done()

    assert "LOG_CHECKPOINT_MISMATCH" in codes(replace(other, checkpoints=LOG.checkpoints))


# --- between and after the runs --------------------------------------------------------------------------------------


def test_a_forged_run_between_two_others_is_found() -> None:
    forged = Writer().open("20261122T023000000Z-ffffffff").events(2, signed=False).done()

    assert "LOG_CHAIN_UNLINKED" in codes(replace(LOG, files=LOG.files | forged.files))


def test_lines_added_to_a_run_after_its_end_are_found() -> None:
    writer = Writer().open(A).events(2)
    head = writer.head()
    writer.events(1, signed=False)
    late = writer.done()
    writer.open(B, head).sign().events(1)

    assert "LOG_APPENDED_AFTER_END" in codes(replace(writer.done(), files=writer.files | late.files))


def test_lines_added_after_a_closing_record_are_found() -> None:
    writer = Writer().open(A).record(ChainClosed(at=timestamp(START))).sign().events(1, signed=False)

    assert "LOG_APPENDED_AFTER_END" in codes(writer.done())


# --- checkpoints -----------------------------------------------------------------------------------------------------


@given(st.integers(0, len(LOG.checkpoints) - 1), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_a_checkpoint_is_found(which: int, offset: int, change: int) -> None:
    line = bytearray(LOG.checkpoints[which])
    line[offset % len(line)] ^= change
    assume(bytes(line).strip() != LOG.checkpoints[which])
    checkpoints = (*LOG.checkpoints[:which], bytes(line), *LOG.checkpoints[which + 1 :])

    assert "LOG_CHECKPOINT_INVALID" in codes(replace(LOG, checkpoints=checkpoints))


def test_checkpoints_of_a_foreign_key_prove_nothing() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    segments = [
        LogSegment(name=name, chain=parsed.chain, first=parsed.first, lines=partial(_lines, content))
        for name, content in LOG.files.items()
        if (parsed := parse_segment_name(name)) is not None
    ]
    numbered = [(f"c:{n}", line + b"\n") for n, line in enumerate(LOG.checkpoints)]

    report = verify(segments, numbered, genuine=CheckpointKeys([stranger.public_key()]).verify)

    assert report.anchored == 0
    assert {finding.code for finding in report.faults} >= {"LOG_CHECKPOINT_INVALID"}


def test_checkpoints_set_back_to_an_older_state_are_found_by_the_log_that_quotes_them() -> None:
    writer = Writer().open(A).events(9)
    log = writer.done()

    assert "LOG_CHECKPOINT_MISSING" in codes(replace(log, checkpoints=log.checkpoints[:2]))


def test_a_long_time_without_any_signature_is_a_fault() -> None:
    writer = Writer().open(A).events(3).events(12, signed=False)

    assert codes(writer.done()) == {"LOG_CHECKPOINT_MISSING"}


def test_a_crash_right_after_an_idle_hour_is_no_fault() -> None:
    writer = Writer().open(A).events(3)
    writer.now += 3600

    assert codes(writer.events(2, signed=False).done()) == set()


def test_two_genuine_checkpoints_that_contradict_each_other_are_found() -> None:
    other = Writer(now=START + 0.5).open(A).events(3).done()
    mine = Writer().open(A).events(3).done()

    assert "LOG_CHECKPOINT_MISMATCH" in codes(replace(mine, checkpoints=mine.checkpoints + other.checkpoints))


# --- retention -------------------------------------------------------------------------------------------------------


def with_retention(*, signed: bool = True) -> tuple[Log, list[str]]:
    """LOG continued by a note that its oldest four files are gone."""
    writer = Writer().open(A).events(7)
    writer.open(B, writer.head()).sign().events(4)
    names = sorted(writer.files)
    gone, floor = names[:4], parse_segment_name(names[4])
    assert floor is not None
    note = SegmentsRemoved(
        at=timestamp(writer.now),
        action="deleted",
        segments=tuple(RemovedSegment(name=name, bytes=1) for name in gone),
        floor=Floor(chain=floor.chain, seq=floor.first),
    )
    writer.record(note)
    if signed:
        writer.sign().events(1)
    return writer.done(), gone


@given(st.sets(st.integers(0, 3)))
def test_files_that_an_anchored_note_names_may_be_gone_or_still_there(missing: set[int]) -> None:
    log, gone = with_retention()
    names = {gone[number] for number in missing}

    report = replace(log, files={name: content for name, content in log.files.items() if name not in names}).audit()

    assert report.faults == ()


def test_a_file_behind_the_floor_may_not_be_gone() -> None:
    log, gone = with_retention()
    fifth = sorted(log.files)[4]
    mutated = replace(log, files={n: c for n, c in log.files.items() if n not in gone and n != fifth})

    assert mutated.audit().faults


def test_a_note_that_no_checkpoint_covers_excuses_nothing() -> None:
    log, gone = with_retention(signed=False)
    mutated = replace(log, files={name: content for name, content in log.files.items() if name not in gone})

    assert mutated.audit().faults


def test_a_note_forged_at_the_end_of_a_crashed_run_excuses_nothing_after_a_restart() -> None:
    log, gone = with_retention(signed=False)
    writer = Writer(log)
    writer.name = B
    last = _split(log.files[max(log.files)])[-1][:-1]
    count = sum(content.count(b"\n") for name, content in log.files.items() if B in name)
    writer.open(C, Predecessor(chain=B, seq=count - 1, hash=line_hash(last).decode())).sign().events(2)
    mutated = replace(writer.done(), files={n: c for n, c in writer.files.items() if n not in gone})

    assert mutated.audit().faults
    assert replace(mutated, files=writer.files).audit().faults == ()
