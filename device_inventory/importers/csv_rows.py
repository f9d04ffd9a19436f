"""Rows of a CSV export out of its bytes, one after another: the whole is never held.

One wrong line is one fault. What goes on after it is read as if it had not been there.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from device_inventory.importers.rows import ImportFault, Row

Encoding = Literal["utf-8", "cp932"]

MAX_BYTES: Final = 2**30
MAX_LINE: Final = 2**20
MAX_COLUMNS: Final = 1024


def bounded(chunks: Iterable[bytes], faults: list[ImportFault], *, most: int = MAX_BYTES) -> Iterator[bytes]:
    """The chunks as UTF-8 or what they are, without a byte order mark, up to the cap; what lies beyond is a fault.

    UTF-16 is told by its byte order mark and transcribed.
    """
    size = 0
    decoder: codecs.IncrementalDecoder | None = None
    head = b""
    begun = False
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            faults.append(ImportFault(line=0, code="IMPORT_TOO_LARGE", message=f"only {most} bytes are read"))
            return
        piece = head + chunk
        if not begun:
            if len(piece) < 3:
                head = piece
                continue
            begun, head = True, b""
            if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                decoder = codecs.getincrementaldecoder("utf-16")()
            piece = piece.removeprefix(codecs.BOM_UTF8)
        if decoder is None:
            yield piece
            continue
        try:
            yield decoder.decode(piece).encode()
        except UnicodeError:
            faults.append(ImportFault(line=0, code="IMPORT_ENCODING", message="the rest is not UTF-16"))
            return
    if head:
        yield head
    try:
        if decoder is not None:
            decoder.decode(b"", final=True)
    except UnicodeError:
        faults.append(ImportFault(line=0, code="IMPORT_ENCODING", message="the rest is not UTF-16"))


def lines(
    chunks: Iterable[bytes], faults: list[ImportFault], *, encoding: Encoding = "utf-8"
) -> Iterator[tuple[int, str]]:
    """Each line with its number, decoded; a line that is too long or in another encoding is a fault and left out."""
    rest = bytearray()
    number = 0
    skipping = False

    def decoded(line: bytes) -> Iterator[tuple[int, str]]:
        if skipping:
            message = f"the line has more than {MAX_LINE} bytes"
            faults.append(ImportFault(line=number, code="IMPORT_ROW_TOO_LARGE", message=message))
            return
        try:
            yield number, line.decode(encoding)
        except UnicodeDecodeError:
            faults.append(ImportFault(line=number, code="IMPORT_ENCODING", message=f"the line is not {encoding}"))

    for chunk in chunks:
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            rest += chunk[begin : end + 1]
            begin = end + 1
            number += 1
            skipping = skipping or len(rest) > MAX_LINE
            yield from decoded(bytes(rest))
            rest.clear()
            skipping = False
        rest += chunk[begin:]
        if len(rest) > MAX_LINE:
            skipping = True
            rest.clear()
    # What was cut off is no line: half a number is another number.
    if (rest or skipping) and not any(fault.line == 0 for fault in faults):
        number += 1
        yield from decoded(bytes(rest))


def csv_rows(
    chunks: Iterable[bytes], *, required: Iterable[str] = (), encoding: Encoding = "utf-8"
) -> Iterator[tuple[int, Row] | ImportFault]:
    """Each row with its line as a mapping from the header's names, and the faults between them.

    Without a header that has the `required` names nothing is loaded: what the columns mean is not guessed.
    """
    faults: list[ImportFault] = []
    place = [0]

    def fed() -> Iterator[str]:
        for number, line in lines(bounded(chunks, faults), faults, encoding=encoding):
            place[0] = number
            yield line

    reader = csv.reader(fed(), strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.append(ImportFault(line=place[0], code="IMPORT_SYNTAX", message=str(error)))
            cells = []
        yield from faults
        faults.clear()
        if cells is None:
            break
        if not cells:
            continue
        if header is None:
            header = [name.strip() for name in cells]
            wrong = _header_fault(header, required, place[0])
            if wrong is not None:
                yield wrong
                return
        elif len(cells) != len(header):
            message = f"has {len(cells)} columns, the header has {len(header)}"
            yield ImportFault(line=place[0], code="IMPORT_ROW", message=message)
        else:
            yield place[0], dict(zip(header, cells, strict=True))
    if header is None:
        yield ImportFault(line=0, code="IMPORT_HEADER", message="there is no header")


def _header_fault(header: list[str], required: Iterable[str], line: int) -> ImportFault | None:
    missing = sorted(set(required) - set(header))
    if missing:
        message = f"the header lacks `{missing[0]}`"
    elif len(set(header)) != len(header) or len(header) > MAX_COLUMNS:
        message = "the header names a column twice, or too many"
    else:
        return None
    return ImportFault(line=line, code="IMPORT_HEADER", message=message)
