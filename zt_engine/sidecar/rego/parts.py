"""The parts of `multipart/form-data`, in the one form that browsers and libraries write and every reader takes alike.

Readers differ about nearly everything else in this format: text before and behind, delimiters after a bare line feed,
names that are escaped, folded or doubled, encodings of a part. All of that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

from zt_engine.core.errors import InputError
from zt_engine.sidecar.rego.names import examine

MAX_PARTS = 512
_KIND = re.compile(r'(?i:multipart/form-data) *; *(?i:boundary)=("?)([A-Za-z0-9_-]{0,69}[A-Za-z0-9_])\1')
_NAME = rb'[^"\\%;\x00-\x1f\x7f]'
_DISPOSITION = re.compile(
    rb'(?i:content-disposition): *(?i:form-data); *name="(%b{1,256})"(?:; *filename="(%b{0,256})")?' % (_NAME, _NAME)
)
_TYPE = re.compile(rb"(?i:content-type): *([A-Za-z0-9.+/-]{1,128})(?:; *charset=(?i:utf-8))?")
_OF_FIELDS = (b"text/plain", b"application/json")
"""What a part that is no file may be of: a part of another type is a file to some readers."""
_CHARSET = "_charset_"
"""A field by which some readers decode the others."""


def parts(kind: str, raw: bytes, read_json: Callable[[bytes], Any]) -> dict[str, list[Any]]:
    """Return the contents of each name: JSON where the part says so, else text; a file's stands under its name as well.

    Raises InputError REGO_BODY for what is not in that one form.
    """
    matched = _KIND.fullmatch(kind)
    if matched is None:
        raise _fault("a boundary, and nothing else, says where the parts end")
    found: dict[str, list[Any]] = {}
    files: dict[str, bool] = {}
    for head, content in _divided(b"--" + matched[2].encode(), raw):
        name, is_file, of_json = _described(head, empty=not content)
        if files.setdefault(name, is_file) is not is_file:
            raise _fault("a name is that of a field and of a file")
        found.setdefault(name, []).append(read_json(content) if of_json else _text(content, is_file=is_file))
    examine(found, "REGO_BODY")
    return found


def _divided(mark: bytes, raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return head and content of each part, whose delimiters are all the places where the boundary stands."""
    body = raw.removesuffix(b"\r\n")
    begin, between, end = mark + b"\r\n", b"\r\n" + mark + b"\r\n", b"\r\n" + mark + b"--"
    pieces = body[len(begin) : -len(end)].split(between, MAX_PARTS)
    whole = body.startswith(begin) and body.endswith(end) and len(body) >= len(begin) + len(end)
    if not whole or len(pieces) > MAX_PARTS or raw.count(mark) != len(pieces) + 1:
        raise _fault("parts that do not begin and end as they should, or too many")
    divided = [piece.partition(b"\r\n\r\n") for piece in pieces]
    if not all(blank for _, blank, _ in divided):
        raise _fault("a part without a head")
    return [(head, content) for head, _, content in divided]


def _described(head: bytes, *, empty: bool) -> tuple[str, bool, bool]:
    """Return the name of a part, whether it is a file, and whether it is JSON."""
    first, _, second = head.partition(b"\r\n")
    disposition, kind = _DISPOSITION.fullmatch(first), _TYPE.fullmatch(second) if second else None
    if disposition is None or (second and kind is None):
        raise _fault("a part says more than its name, its file and its type")
    name, file = _text(disposition[1], is_file=False), disposition[2]
    said = kind[1].lower() if kind is not None else b""
    if name != name.strip() or name == _CHARSET or (file == b"" and not empty):
        raise _fault("the name of a part is read in more than one way")
    if file and not _names_a_file(file):
        raise _fault("a file that is none to some readers")
    if (said not in _OF_FIELDS if said else False) if file is None else not said:
        raise _fault("a file without a type, or a field of one")
    return name, file is not None, said == b"application/json"


def _names_a_file(raw: bytes) -> bool:
    """Whether anything is left of a name without its folders and entities: Django drops the file otherwise."""
    last = unescape(raw.decode(errors="replace")).replace("\\", "/").rpartition("/")[2]
    return "".join(filter(str.isprintable, last)).strip() not in {"", ".", ".."}


def _text(raw: bytes, *, is_file: bool) -> str:
    try:
        return raw.decode(errors="replace" if is_file else "strict")
    except UnicodeDecodeError:
        raise _fault("a field is no UTF-8") from None


def _fault(message: str) -> InputError:
    return InputError("REGO_BODY", f"multipart/form-data: {message}")
