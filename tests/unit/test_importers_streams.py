"""What importers read comes in pieces, odd, cut off or without end: faults, and never more memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.importers import csv_rows as csv_module
from device_inventory.importers.csv_rows import MAX_LINE, bounded, csv_rows
from device_inventory.importers.intune import intune_csv, intune_json
from device_inventory.importers.json_rows import json_rows
from device_inventory.importers.rows import ImportFault
from tests.unit.importers_support import (
    CSV,
    INTUNE,
    NOW,
    codes,
    csv_line,
    pieces,
)


@pytest.mark.parametrize(
    ("raw", "faults"),
    [
        (b"", ["IMPORT_SHAPE"]),
        (b"null", ["IMPORT_SHAPE"]),
        (b"{}", ["IMPORT_SHAPE"]),
        (b'{"other": [{}]}', ["IMPORT_SHAPE"]),
        (b'{"value": {"value": [{}]}}', ["IMPORT_SHAPE"]),
        (b'{"value": []}', []),
        (b"[]", []),
        (b"[1, 2]", ["IMPORT_ROW", "IMPORT_ROW"]),
        (b'["a,b", [1, 2], null]', ["IMPORT_ROW"] * 3),
        (b'[{"a": 1}', ["IMPORT_TRUNCATED"]),
        (b'[{"a": ', ["IMPORT_TRUNCATED"]),
        (b'[{"a": "', ["IMPORT_TRUNCATED"]),
        (b"]", ["IMPORT_SYNTAX"]),
        (b"[}", ["IMPORT_SYNTAX"]),
        (b"[{]}]", ["IMPORT_SYNTAX"] * 2),
        (b'[{"a": 1, "a": 2}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": NaN}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": 1e}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": ' + b"9" * 5000 + b"}]", ["IMPORT_SYNTAX"]),
        (b"[" * 100, ["IMPORT_TRUNCATED"]),
        (b'{"a":' * 100, ["IMPORT_SYNTAX"]),
        (b"[\\", ["IMPORT_SYNTAX"]),
        (b"[" + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]", ["IMPORT_SYNTAX"]),
    ],
)
def test_odd_json_is_a_fault_and_never_an_exception(raw: bytes, faults: list[str]) -> None:
    assert [item.code for item in json_rows(pieces(raw), member="value") if isinstance(item, ImportFault)] == faults


_rows = st.lists(
    st.dictionaries(
        st.text(max_size=6),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(_rows, st.integers(1, 9), st.booleans(), st.sampled_from([None, 2]))
def test_a_list_is_read_however_it_is_cut_and_written(rows: list[Any], size: int, bare: bool, indent: Any) -> None:
    document: Any = (
        rows if bare else {"value": "value", "x": {"value": [{}]}, "y": ["value"], "value ": 1, "list": rows}
    )
    raw = json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8", "surrogatepass")

    read = list(json_rows(pieces(raw, size), member="list"))

    assert read == [(number, row) for number, row in enumerate(rows, 1)]


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_bytes_make_a_reader_raise(raw: bytes, size: int) -> None:
    list(json_rows(pieces(raw, size), member="value"))
    list(intune_csv(pieces(CSV.encode() + raw, size), now=NOW))
    list(csv_rows(pieces(raw, size), encoding="cp932"))


@given(
    st.lists(
        st.lists(
            st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
            min_size=2,
            max_size=2,
        ),
        max_size=5,
    ),
    st.integers(1, 9),
)
def test_a_table_is_read_however_it_is_cut(rows: list[list[str]], size: int) -> None:
    import csv as writer
    import io

    out = io.StringIO()
    writer.writer(out, quoting=writer.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows])

    read = list(csv_rows(pieces(out.getvalue().encode(), size)))

    assert [list(row.values()) for _, row in read] == rows  # type: ignore[misc, union-attr]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "IMPORT_HEADER"),
        (b"a,b\r\n1,2\r\n", "IMPORT_HEADER"),
        (CSV.replace("Device name", "Serial number").encode(), "IMPORT_HEADER"),
    ],
)
def test_without_its_header_nothing_is_loaded(raw: bytes, code: str) -> None:
    assert codes(intune_csv(pieces(raw), now=NOW)) == [code]


def test_a_line_without_end_is_skipped_and_the_rest_loads() -> None:
    raw = [CSV.encode(), csv_line().encode(), *[b"x" * 65_536] * 40, b"\r\n", csv_line().encode()]

    items = list(intune_csv(raw, now=NOW))

    assert codes(items) == ["loaded", "IMPORT_ROW_TOO_LARGE", "loaded"]


def test_a_quote_that_is_never_closed_does_not_swallow_the_file() -> None:
    lines = [csv_line(serial=f"SN{number}") for number in range(3000)]
    lines[10] = csv_line(name='"open')

    items = list(intune_csv(pieces((CSV + "".join(lines)).encode(), 4096), now=NOW))

    assert "IMPORT_SYNTAX" in codes(items)
    assert codes(items).count("loaded") > 1000


def test_an_entry_without_end_is_skipped_and_the_rest_loads() -> None:
    good = json.dumps(INTUNE).encode()
    raw = [b"[", good, b',{"deviceName":"', *[b"x" * 65_536] * 20, b'"},', good, b"]"]

    assert codes(intune_json(raw, now=NOW)) == ["loaded", "IMPORT_ROW_TOO_LARGE", "loaded"]


def test_what_lies_beyond_the_cap_is_not_read() -> None:
    faults: list[ImportFault] = []
    endless = iter(lambda: b"x" * 1000, None)

    assert sum(len(piece) for piece in bounded(endless, faults, most=10_000)) == 10_000
    assert [fault.code for fault in faults] == ["IMPORT_TOO_LARGE"]
    assert csv_module.MAX_BYTES == 2**30


def test_a_row_that_the_cap_cuts_in_two_is_not_loaded() -> None:
    faults: list[ImportFault] = []
    rows = [b"a,b\n1,", b"23\n4,5", b"67\n"]

    assert list(csv_module.lines(bounded(rows, faults, most=12), faults)) == [(1, "a,b\n"), (2, "1,23\n")]
    assert [fault.code for fault in faults] == ["IMPORT_TOO_LARGE"]


def _memory(read: Callable[[Iterator[bytes]], Iterable[Any]], head: bytes, row: bytes, tail: bytes, times: int) -> int:
    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(times):
            yield row * 200
        yield tail

    tracemalloc.start()
    for _ in read(chunks()):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_long_file_takes_no_more_memory_than_a_short_one() -> None:
    def by_json(chunks: Iterator[bytes]) -> Iterable[Any]:
        return intune_json(chunks, now=NOW)

    def by_csv(chunks: Iterator[bytes]) -> Iterable[Any]:
        return intune_csv(chunks, now=NOW)

    entry = json.dumps(INTUNE).encode()
    for read, head, row, tail in (
        (by_json, b"[", entry + b",", entry + b"]"),
        (by_csv, CSV.encode(), csv_line().encode(), b""),
    ):
        short, long = (_memory(read, head, row, tail, times) for times in (2, 12))
        assert long < short * 1.5 + MAX_LINE
