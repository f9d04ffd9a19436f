"""The soak of the sequencer finds what it looks for."""

from __future__ import annotations

import pytest

from benchmarks.soak import WRITERS, faults

WHOLE = [(number * WRITERS + writer + 1, writer, number) for number in range(3) for writer in range(WRITERS)]


def test_a_stream_in_which_each_event_has_one_place_has_no_fault() -> None:
    assert list(faults(iter(WHOLE), each=3)) == []


@pytest.mark.parametrize(
    "stream",
    [
        WHOLE[:5] + WHOLE[6:],
        [*WHOLE[:5], WHOLE[5], WHOLE[5], *WHOLE[6:]],
        [*WHOLE, (len(WHOLE) + 1, 4, 2)],
        WHOLE[:-1],
        [(seq + (seq > 7), writer, number) for seq, writer, number in WHOLE],
        [(seq, writer, 1 - number if number < 2 else number) for seq, writer, number in WHOLE],
        [],
    ],
    ids=["skipped", "a place twice", "an event twice", "the last missing", "a gap", "out of order", "nothing"],
)
def test_whatever_is_missing_doubled_or_out_of_order_is_a_fault(stream: list[tuple[int, int, int]]) -> None:
    assert list(faults(iter(stream), each=3))
