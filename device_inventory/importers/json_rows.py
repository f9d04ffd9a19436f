"""Rows of a JSON export out of its bytes: the objects of one list, one after another, however long the list is.

Exports are one document of up to a gigabyte, often on one line. What is looked at as a whole is one object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

from device_inventory.importers.csv_rows import MAX_LINE, bounded
from device_inventory.importers.rows import ImportFault, Row

_MARKS: Final = re.compile(rb'["\\{}\[\]]')
# Inside an entry: a text that ends in the same piece is passed over as a whole.
_MARKS_IN_ENTRY: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)


def json_rows(chunks: Iterable[bytes], *, member: str) -> Iterator[tuple[int, Row] | ImportFault]:
    """Each object with its place in the list, which is the document itself or its member `member`."""
    faults: list[ImportFault] = []
    scan = _Scan(member.encode(), faults)
    for piece in bounded(chunks, faults):
        for raw in scan.feed(piece):
            yield from _told(faults)
            yield _row(raw, scan.count)
        yield from _told(faults)
        if scan.broken:
            return
    if not any(fault.line == 0 for fault in faults):
        scan.close()
    yield from _told(faults)


def _told(faults: list[ImportFault]) -> Iterator[ImportFault]:
    yield from faults
    faults.clear()


def _row(raw: bytes, count: int) -> tuple[int, Row] | ImportFault:
    try:
        row = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_constant)
    except UnicodeDecodeError:
        return ImportFault(line=count, code="IMPORT_ENCODING", message="the entry is not UTF-8")
    except RecursionError:
        return ImportFault(line=count, code="IMPORT_SYNTAX", message="the entry is nested too deeply")
    except ValueError as error:
        # The parser's own sentence names line and column of the entry, and quotes nothing of it.
        return ImportFault(line=count, code="IMPORT_SYNTAX", message=str(error).lower())
    if not isinstance(row, dict):
        return ImportFault(line=count, code="IMPORT_ROW", message="the entry is no object")
    return count, row


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name.lower()} is not json")


class _Scan:
    """Finds where the objects of the list begin and end; whether they are JSON is for the parser to say."""

    def __init__(self, member: bytes, faults: list[ImportFault]) -> None:
        self._member = member
        self._faults = faults
        self._outer: list[int] = []
        """The brackets that are open outside the list's entries."""
        self._inside = False
        self._depth = 0
        self._entry: bytearray | None = None
        self._skipped = False
        self._string: bytearray | None = None
        self._escaped = False
        self._name = b""
        self._seen = False
        self._odd = False
        self.count = 0
        self.broken = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield each entry that ends in them."""
        at = 0
        while at < len(piece) and not self.broken:
            if self._escaped:
                self._escaped = False
                self._keep(piece[at : at + 1])
                at += 1
                continue
            if self._entry is not None and self._string is None:
                at, done = self._pass_entry(piece, at)
                if done is not None:
                    yield done
                continue
            mark = _MARKS.search(piece, at)
            end = len(piece) if mark is None else mark.start()
            self._keep(piece[at:end])
            at = end + 1
            if mark is not None:
                self._mark(piece[end])

    def close(self) -> None:
        """Say what is missing when the document has ended."""
        if self.broken:
            return
        if self._outer or self._depth or self._string is not None:
            self._broke("IMPORT_TRUNCATED", "the document ends in the middle")
        elif not self._seen:
            self._broke("IMPORT_SHAPE", f"there is no list `{self._member.decode()}`")

    def _keep(self, content: bytes) -> None:
        if self._entry is not None:
            if not self._skipped:
                self._entry += content
                if len(self._entry) > MAX_LINE:
                    self._skipped = True
                    self._entry.clear()
        elif self._string is not None:
            self._string += content[: MAX_LINE - len(self._string)]
        elif self._inside:
            self._between(content)

    def _mark(self, mark: int) -> None:
        kept = bytes((mark,))
        if self._string is not None:
            self._in_string(mark, kept)
        elif mark == ord('"'):
            if self._inside:
                self._between(kept)
            self._string = bytearray()
        elif mark == ord("\\"):
            self._broke("IMPORT_SYNTAX", "there is a backslash outside of any text")
        elif mark in b"{[":
            self._open(mark)
        else:
            self._shut(mark)

    def _in_string(self, mark: int, kept: bytes) -> None:
        assert self._string is not None
        if mark == ord('"'):
            if self._entry is not None:
                self._keep(kept)
            else:
                self._name = bytes(self._string)
            self._string = None
            return
        self._escaped = mark == ord("\\")
        self._keep(kept)

    def _pass_entry(self, piece: bytes, begin: int) -> tuple[int, bytes | None]:
        """Go on in an entry; return where it or the piece ends, and the entry when it did."""
        for mark in _MARKS_IN_ENTRY.finditer(piece, begin):
            end = mark.end()
            sign = mark.group()
            if sign == b'"':
                self._keep(piece[begin:end])
                self._string = bytearray()
                return end, None
            if sign in (b"{", b"["):
                self._depth += 1
            elif sign in (b"}", b"]"):
                self._depth -= 1
                if not self._depth:
                    self._keep(piece[begin:end])
                    return end, self._finished()
        self._keep(piece[begin:])
        return len(piece), None

    def _finished(self) -> bytes | None:
        entry, self._entry = self._entry, None
        assert entry is not None
        if not self._skipped:
            return bytes(entry)
        self._skipped = False
        message = f"the entry has more than {MAX_LINE} bytes"
        self._faults.append(ImportFault(line=self.count, code="IMPORT_ROW_TOO_LARGE", message=message))
        return None

    def _open(self, mark: int) -> None:
        if self._inside:
            self.count += 1
            self._entry, self._depth = bytearray((mark,)), 1
            return
        if len(self._outer) >= 64:
            self._broke("IMPORT_SYNTAX", "the document is nested too deeply")
            return
        self._outer.append(mark)
        listed = len(self._outer) == 1 or (len(self._outer) == 2 and self._name == self._member)
        if mark == ord("[") and listed and not self._seen:
            self._inside = self._seen = True

    def _shut(self, mark: int) -> None:
        if not self._outer or self._outer.pop() != {ord("}"): ord("{"), ord("]"): ord("[")}[mark]:
            self._broke("IMPORT_SYNTAX", "a bracket closes nothing")
            return
        self._inside = False

    def _between(self, content: bytes) -> None:
        # A number or a word may be cut in two by the end of a piece, and is one entry all the same.
        for index, part in enumerate(content.split(b",")):
            if index:
                self._odd = False
            if part.strip() and not self._odd:
                self._odd = True
                self.count += 1
                self._faults.append(ImportFault(line=self.count, code="IMPORT_ROW", message="the entry is no object"))

    def _broke(self, code: str, message: str) -> None:
        self.broken = True
        self._faults.append(ImportFault(line=self.count, code=code, message=message))
