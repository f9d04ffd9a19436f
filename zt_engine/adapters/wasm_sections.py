"""The few parts of a Wasm module's binary form that are read and written: sections, function bodies, names.

Only what `wasm_quick` needs; whatever does not read as expected raises ValueError or IndexError, and wasmtime judges
the module as it came. Source: WebAssembly Core Specification 2.0, 5 (binary format).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

HEADER: Final = b"\x00asm\x01\x00\x00\x00"
CUSTOM, IMPORTS, FUNCTIONS, TABLES, MEMORIES, CODE = 0, 2, 3, 4, 5, 10
_FUNCTION_NAMES: Final = 1
_FUNCTION, _MEMORY = 0, 2
_POLICY_MEMORY: Final = b"\x03env\x06memory"


def read_number(raw: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned LEB128 number at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 28:
            raise ValueError("a number of more than 32 bits")


def number(value: int) -> bytes:
    """Write an unsigned number as LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_number(raw, at)
    if at + size > len(raw):
        raise ValueError("a part that is longer than what it is part of")
    return raw[at : at + size], at + size


def read_sections(module: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, content) of every section in order."""
    if not module.startswith(HEADER):
        raise ValueError("no module")
    found, at = [], len(HEADER)
    while at < len(module):
        kind = module[at]
        content, at = _read_bytes(module, at + 1)
        found.append((kind, content))
    return found


def write_sections(sections: Iterable[tuple[int, bytes]]) -> bytes:
    """Make a module of its sections."""
    return HEADER + b"".join(bytes([kind]) + number(len(content)) + content for kind, content in sections)


def read_bodies(code: bytes) -> list[bytes]:
    """Return the body of every function of a code section."""
    count, at = read_number(code, 0)
    found = []
    for _ in range(count):
        body, at = _read_bytes(code, at)
        found.append(body)
    return found


def write_bodies(bodies: list[bytes]) -> bytes:
    """Make a code section of bodies."""
    return number(len(bodies)) + b"".join(number(len(body)) + body for body in bodies)


def read_types(functions: bytes) -> list[int]:
    """Return the type of every function of a function section."""
    count, at = read_number(functions, 0)
    found = []
    for _ in range(count):
        kind, at = read_number(functions, at)
        found.append(kind)
    return found


def write_types(types: list[int]) -> bytes:
    """Make a function section of types."""
    return number(len(types)) + b"".join(map(number, types))


class Imports(NamedTuple):
    """What a policy imports: its functions as they are written, and the memory, in pages at its start."""

    functions: list[bytes]
    pages: int


def read_imports(imports: bytes) -> Imports:
    """Read an import section; ValueError for what no policy imports."""
    count, at = read_number(imports, 0)
    functions, pages = [], 0
    for _ in range(count):
        start = at
        _, at = _read_bytes(imports, at)
        _, at = _read_bytes(imports, at)
        kind = imports[at]
        first, at = read_number(imports, at + 1)
        if kind == _FUNCTION:
            functions.append(imports[start:at])
        elif kind == _MEMORY and imports[start:at].startswith(_POLICY_MEMORY) and first <= 1 and not pages:
            pages, at = read_number(imports, at)
            if first:
                _, at = read_number(imports, at)
        else:
            raise ValueError("an import that no policy has")
    return Imports(functions, pages)


def function_names(sections: Iterable[tuple[int, bytes]]) -> dict[str, int]:
    """Return the numbers of functions by what the name section calls them; empty without one."""
    for kind, content in sections:
        if kind != CUSTOM:
            continue
        title, at = _read_bytes(content, 0)
        if title == b"name":
            return dict(_names(content, at))
    return {}


def _names(content: bytes, at: int) -> Iterator[tuple[str, int]]:
    while at < len(content):
        kind = content[at]
        part, at = _read_bytes(content, at + 1)
        if kind != _FUNCTION_NAMES:
            continue
        count, place = read_number(part, 0)
        for _ in range(count):
            index, place = read_number(part, place)
            name, place = _read_bytes(part, place)
            yield name.decode(), index
