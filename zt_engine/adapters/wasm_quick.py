"""A quicker form of a policy: other bodies for the hottest functions of OPA's runtime, and a memory of its own.

Every module that `opa build -t wasm` makes carries the same runtime. When it is one that is known to the byte, its
hottest functions get other bodies under the same numbers, and the old ones, which the new ones call for whatever is
rare, go to the end; and the module has its memory instead of importing it, which saves every function a look at where
it lies. Any other module is left as it is: slower, never wrong. What the two make of a policy is the same
to the byte, which tests/unit/test_wasm_quick.py holds for generated inputs.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import wasmtime

from zt_engine.adapters import wasm_quick_text as text
from zt_engine.adapters import wasm_quick_values as values
from zt_engine.adapters.wasm_sections import (
    CODE,
    FUNCTIONS,
    IMPORTS,
    MEMORIES,
    TABLES,
    function_names,
    number,
    read_bodies,
    read_imports,
    read_sections,
    read_types,
    write_bodies,
    write_sections,
    write_types,
)


class _Quick(NamedTuple):
    parameters: tuple[str, ...]
    body: str


_QUICK: Final[Mapping[str, _Quick]] = {
    "opa_malloc": _Quick(("$n",), values.MALLOC),
    "opa_value_hash": _Quick(("$k",), values.HASH),
    "opa_value_get": _Quick(("$o", "$k"), values.GET),
    "opa_value_compare": _Quick(("$k", "$q"), values.COMPARE),
    "opa_json_lex_read": _Quick(("$o",), text.LEX_READ),
    "opa_json_parse_token": _Quick(("$o", "$t"), text.PARSE_TOKEN),
    "opa_json_parse_string": _Quick(("$t", "$p", "$n"), text.PARSE_STRING),
    "opa_json_writer_emit_string": _Quick(("$o", "$k"), text.EMIT_STRING),
}
"""All of them take and return 32-bit integers; they call each other by the numbers that the digest below covers."""

_KNOWN: Final = frozenset({"81423376455b4db2d0a5565c1070c9608f862836e4e3e6fa665b0edcddba025a"})
"""Digests of runtimes that these bodies were written for: OPA 1.20.2."""

_MOST_FUNCTIONS: Final = 20_000
"""Assembling takes a line for each; the pack has 850."""

_LOCALS_32: Final = ("$o", "$k", "$t", "$h", "$p", "$n", "$a", "$b", "$e", "$q", "$m", "$s")
_MEMORY: Final = '(import "" "" (memory 1))'


def quickened(module: bytes, *, spare_pages: int) -> bytes:
    """Return the module with quicker bodies and a memory of its own, which is larger than what it asks for.

    A module whose runtime is not a known one is returned itself.
    """
    try:
        sections = read_sections(module)
        names = function_names(sections)
        parts = dict(sections)
        imports, bodies = read_imports(parts[IMPORTS]), read_bodies(parts[CODE])
        imported = len(imports.functions)
        places = tuple(names[name] - imported for name in _QUICK)
        if min(places) < 0 or _digest(places, bodies) not in _KNOWN:
            return module
        types = read_types(parts[FUNCTIONS])
        if not len(types) == len(bodies) <= _MOST_FUNCTIONS or TABLES not in parts or MEMORIES in parts:
            return module
    except (ValueError, IndexError, KeyError):
        return module
    new = _assembled(places, imported, imported + len(bodies))
    bodies += [bodies[place] for place in places]
    types += [types[place] for place in places]
    for place, body in zip(places, new, strict=True):
        bodies[place] = body
    changed = {
        IMPORTS: number(imported) + b"".join(imports.functions),
        FUNCTIONS: write_types(types),
        CODE: write_bodies(bodies),
    }
    made = [(kind, changed.get(kind, content)) for kind, content in sections]
    behind = [kind for kind, _ in made].index(TABLES) + 1
    memory = number(1) + b"\x00" + number(imports.pages + spare_pages)  # what it may grow to is the store's limit
    return write_sections([*made[:behind], (MEMORIES, memory), *made[behind:]])


def _digest(places: tuple[int, ...], bodies: list[bytes]) -> str:
    """The digest of what is replaced: the bodies hold the numbers of what they call and the addresses they use."""
    found = hashlib.sha256()
    for place in places:
        found.update(f"{place} {len(bodies[place])} ".encode())
        found.update(bodies[place])
    return found.hexdigest()


@functools.lru_cache(maxsize=16)
def _assembled(places: tuple[int, ...], imported: int, functions: int) -> tuple[bytes, ...]:
    """Assemble the bodies for a module of so many functions, so that every number in them is right.

    Functions of the module are imports here, in their order; behind them come the old bodies, then the new ones.
    """
    kinds = {imported + place: name for name, place in zip(_QUICK, places, strict=True)}
    lines = ["(module"]
    for index in range(functions):
        name = kinds.get(index)
        lines.append(f'(import "" "" (func {f"${name} {_signature(name)}" if name else ""}))')
    lines.append(_MEMORY)
    lines += [f"(func $slow_{name} {_signature(name)} unreachable)" for name in _QUICK]
    for name, quick in _QUICK.items():
        parameters = " ".join(f"(param {parameter} i32)" for parameter in quick.parameters)
        locals_32 = " ".join(f"(local {one} i32)" for one in _LOCALS_32 if one not in quick.parameters)
        body = quick.body.replace("(call $slow ", f"(call $slow_{name} ")
        lines.append(f"(func {parameters} (result i32) {locals_32} (local $x i64) (local $y i64) {body})")
    lines.append(")")
    made = dict(read_sections(bytes(wasmtime.wat2wasm("\n".join(lines)))))
    return tuple(read_bodies(made[CODE])[len(_QUICK) :])


def _signature(name: str) -> str:
    return f"(param {' '.join('i32' for _ in _QUICK[name].parameters)}) (result i32)"
