"""Lines, the chain over them, records, names and checkpoints of the decision log."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.decision_log import (
    GENESIS,
    Chain,
    ChainOpened,
    Checkpoint,
    Head,
    Noted,
    Predecessor,
    checkpoint_line,
    checkpoint_payload,
    line_hash,
    link_of,
    parse_checkpoint,
    parse_segment_name,
    record_body,
    record_of,
    segment_name,
    walk,
)

BODIES = st.lists(st.dictionaries(st.text(max_size=5), st.integers(), min_size=1), max_size=8)


def body(members: dict[str, int]) -> bytes:
    return json.dumps(members).encode()[1:-1]


@given(BODIES)
def test_each_line_names_its_place_and_the_hash_of_the_line_before(rows: list[dict[str, int]]) -> None:
    chain = Chain()

    for row in rows:
        chain.append(body(row))

    before = GENESIS.decode()
    for number, line in enumerate(chain.pending):
        parsed = json.loads(line)
        assert (parsed["seq"], parsed["prev_hash"]) == (number, before)
        before = hashlib.sha256(line).hexdigest()


@given(BODIES, BODIES)
def test_a_rollback_leaves_the_chain_as_if_nothing_had_been_appended(
    kept: list[dict[str, int]], lost: list[dict[str, int]]
) -> None:
    chain, same = Chain(), Chain()
    for row in kept:
        chain.append(body(row))
        same.append(body(row))
    chain.commit()
    same.commit()

    for row in lost:
        chain.append(body(row))
    chain.rollback()

    chain.append(b'"next":1')
    same.append(b'"next":1')
    assert chain.pending == same.pending


@given(BODIES)
def test_a_walk_over_an_untouched_chain_finds_nothing(rows: list[dict[str, int]]) -> None:
    chain = Chain()
    for row in rows:
        chain.append(body(row))

    steps = list(walk([line + b"\n" for line in chain.pending], Head(0, GENESIS)))

    assert [step.fault for step in steps] == [""] * len(rows)


def test_a_repeated_name_earlier_in_a_line_does_not_stand_for_the_real_link() -> None:
    chain = Chain()
    chain.append(b'"seq":99,"prev_hash":"' + b"f" * 64 + b'"')

    link = link_of(chain.pending[0])

    assert link is not None
    assert (link.seq, link.prev_hash) == (0, GENESIS)


def test_what_is_no_line_of_ours_has_no_link() -> None:
    bad = [b"", b"{}", b"x" * 200, b'{"a":1,"seq":01,"prev_hash":"' + GENESIS + b'"}', b'["seq":0,"prev_hash":"x"}']

    assert [link_of(line) for line in bad] == [None] * len(bad)


def test_records_survive_the_way_through_a_line() -> None:
    before = Predecessor(chain="c0", seq=4, hash="ab", live=True)
    record = ChainOpened(chain="c1", sidecar="s", at="t", predecessor=before)
    chain = Chain()

    chain.append(record_body(record))

    assert record_of(chain.pending[0]) == record


def test_events_and_unknown_records_are_no_records() -> None:
    lines = [b'{"ts":"t"}', b'{"record":"from.the.future"}', b'{"record":"chain.opened"}', b'{"record":']

    assert [record_of(line) for line in lines] == [None] * 4


def test_a_note_says_what_was_taken_into_use() -> None:
    chain = Chain()

    chain.append(record_body(Noted(at="t", kind="bundle", digest="d")))

    assert json.loads(chain.pending[0])["record"] == "noted"


def test_segment_names_sort_as_the_log_runs() -> None:
    chains = ["20261122T071000123Z-00000000", "20261122T071000124Z-ffffffff"]
    names = [segment_name(chain, first) for chain in chains for first in (0, 9, 10, 100000)]

    assert names == sorted(names)
    parsed = [parse_segment_name(name) for name in names]
    assert [(name.chain, name.first) for name in parsed if name] == [(c, f) for c in chains for f in (0, 9, 10, 100000)]


def test_other_files_have_no_segment_name() -> None:
    chain = "20261122T071000123Z-00000000"
    others = ["reserve", f".new-{segment_name(chain, 0)}", segment_name(chain, 0) + ".gz", f"decisions-{chain}-1.jsonl"]

    assert [parse_segment_name(name) for name in others] == [None] * 4
    assert parse_segment_name(segment_name(chain, 0, kind="inputs")) is None


CHECKPOINT = Checkpoint(key="k", sidecar="s", chain="c", count=3, head="ab", time="t")


def test_a_checkpoint_line_gives_back_what_was_signed() -> None:
    line = checkpoint_line(CHECKPOINT, b"\x01" * 64)

    parsed = parse_checkpoint(line + b"\n")

    assert parsed is not None
    assert (parsed.value, parsed.signed, parsed.signature) == (CHECKPOINT, checkpoint_payload(CHECKPOINT), b"\x01" * 64)


def test_a_checkpoint_is_found_in_a_syslog_line() -> None:
    line = b"Nov 22 07:10:00 host zt-engine: zt.checkpoint " + checkpoint_line(CHECKPOINT, bytes(64))

    parsed = parse_checkpoint(line)

    assert parsed is not None
    assert parsed.value == CHECKPOINT


def test_checkpoints_of_another_algorithm_or_format_are_refused() -> None:
    line = checkpoint_line(CHECKPOINT, bytes(64))
    bad = [
        line.replace(b"Ed25519", b"none"),
        line.replace(b'"checkpoint":1', b'"checkpoint":2'),
        line.replace(b'"count":3', b'"count":-3'),
        line.replace(b'"count":3', b'"count":"3"'),
        line[:-4],
        b"",
    ]

    assert [parse_checkpoint(one) for one in bad] == [None] * len(bad)


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_readers(raw: bytes) -> None:
    parse_checkpoint(raw)
    record_of(raw)
    link_of(raw)
    assert len(line_hash(raw)) == 64
