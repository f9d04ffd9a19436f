"""Lines of a terminal's width, Japanese among them: broken between words or between wide characters, and indented.

A library that breaks only at blanks takes a Japanese sentence for one long word, and breaks it after whatever Latin
letters stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len

# A word of narrow characters with what follows it closely, a single wide one with its closing marks, or a blank.
_PIECE: Final = re.compile(r"\s|[!-~]+|[^\s!-~][、。，．）」』】〉》!-/:-@]*")
_LEAST: Final = 20


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text; those after the first are indented like the text, behind its bullet."""
    lead = re.match(r"\s*(?:[-・→$] )?", text)
    indent = " " * (cell_len(lead[0]) if lead else 0)
    width = max(width, len(indent) + _LEAST)
    line, begun = lead[0] if lead else "", False
    for piece in _PIECE.findall(text[len(line) :]):
        if begun and cell_len(line) + cell_len(piece) > width:
            yield line.rstrip()
            line, begun = indent, False
        if begun or not piece.isspace():
            line, begun = line + piece, True
    yield line.rstrip()
