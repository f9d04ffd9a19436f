"""Routes of FastAPI, taken apart once in a process: nearly every test makes a control plane, whose routes are the same.

What FastAPI finds out about a function follows from its code, its annotations and its defaults, not from what it closes
over. That takes a quarter of a second for all routes of a control plane, and a copy of it next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import FunctionType
from typing import Any

from fastapi import routing
from fastapi.dependencies.models import Dependant

_known: dict[tuple[Any, ...], tuple[object, Dependant]] = {}


def share_shapes() -> None:
    """Have FastAPI take no function apart twice. Each route keeps its own function."""
    theirs: Any = routing
    analyse = theirs.get_dependant

    def get_dependant(*, path: str, call: Callable[..., Any], **how: Any) -> Any:
        if not isinstance(call, FunctionType) or hasattr(call, "__wrapped__"):
            return analyse(path=path, call=call, **how)
        seen = (call.__defaults__, call.__kwdefaults__, call.__annotations__)
        key = (call.__code__, path, *sorted(how.items()))
        before, found = _known.get(key, (None, None))
        if found is None or before != seen:
            found = analyse(path=path, call=call, **how)
            _known[key] = seen, found
        return replace(found, call=call, dependencies=[*found.dependencies])

    theirs.get_dependant = get_dependant
    theirs.create_model_field = cache(theirs.create_model_field)
