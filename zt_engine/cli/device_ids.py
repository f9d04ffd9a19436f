"""Ids as a person types them: whole, or the beginning of one that the control plane made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from zt_engine.core.errors import InputError

LEAST: Final = 4
SHOWN: Final = 10
_BEGINNING: Final = re.compile(rf"[0-9a-f][0-9a-f-]{{{LEAST - 1},34}}")
_MADE_HERE: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def whole(given: str, listed: Callable[[], Iterable[Mapping[str, Any]]], *, what: str) -> str:
    """Return the one id that begins with `given`; InputError ID_AMBIGUOUS with those there are, when it is not one.

    Only ids made by the control plane can be cut short: `laptop-1` is never taken for `laptop-17`. What begins none is
    returned as it is, for the control plane to say that there is no such thing. `listed` is asked only where needed.
    """
    if not _BEGINNING.fullmatch(given):
        return given
    ids = sorted({str(one["id"]) for one in listed()})
    if given in ids:
        return given
    found = [id_ for id_ in ids if id_.startswith(given) and _MADE_HERE.fullmatch(id_)]
    if len(found) > 1:
        more = ", ..." if len(found) > SHOWN else ""
        raise InputError("ID_AMBIGUOUS", f"`{given}` begins {', '.join(found[:SHOWN])}{more}", where=what)
    return found[0] if found else given
