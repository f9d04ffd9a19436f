"""What a policy reads of its input, found on the parsed source. The decision cache keys on exactly this, so it must
never be too little: a dynamic reference counts with its constant start, a bare `input` as everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from zt_engine.authoring.rego_ast import Module

WHOLE_INPUT = ""
"""The JSON Pointer (RFC 6901) of the whole document."""


def input_reads(modules: Iterable[Module]) -> tuple[str, ...]:
    """Return JSON Pointers, sorted, none below another. A value at or below one may matter, nothing else does.

    Over-approximates: rules that no entrypoint reaches count, as does a reference under `with input as`. An alias
    (`x := input.device`) counts as all it stands for, whatever is taken of it later.
    """
    found = set()
    for module in modules:
        for ref in module.refs():
            if ref.head == "input":
                found.add(_pointer(ref.constant))
    return tuple(sorted(pointer for pointer in found if not _covered(pointer, found)))


def _pointer(constant: tuple[str | int | float | bool | None, ...]) -> str:
    """The part of a reference up to its first key that is not text: `input.a[0]` depends on all of `/a`."""
    keys = []
    for key in constant:
        if not isinstance(key, str):
            break
        keys.append("/" + key.replace("~", "~0").replace("/", "~1"))
    return "".join(keys)


def _covered(pointer: str, found: set[str]) -> bool:
    return any(pointer != other and pointer.startswith(f"{other}/") for other in found)
