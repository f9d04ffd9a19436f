"""Lists a page at a time: `{items, next}`, where `next` goes into `after` of the following request."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query

from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url, to_base64url

MOST: Final = 500

Limit = Annotated[int, Query(ge=1, le=MOST)]
After = Annotated[str, Query(max_length=1024)]
ItemT = TypeVar("ItemT")


def page(
    found: Sequence[ItemT], limit: int, *, key: Callable[[ItemT], str | int], show: Callable[[ItemT], Any]
) -> dict[str, Any]:
    """Return a page of what was asked for with one item more than `limit`: that tells whether there is another page."""
    shown = found[:limit]
    return {"items": [show(item) for item in shown], "next": key(shown[-1]) if len(found) > limit else None}


def cursor_of(*parts: str) -> str:
    """Return a cursor that holds several texts."""
    return to_base64url(json.dumps(parts, ensure_ascii=False).encode())


def read_cursor(cursor: str, count: int) -> tuple[str, ...]:
    """Return the texts of a cursor, empty ones for the beginning; PAGE_CURSOR for what is none."""
    if not cursor:
        return ("",) * count
    try:
        parts = json.loads(from_base64url(cursor))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != count or not all(isinstance(part, str) for part in parts):
        raise InputError("PAGE_CURSOR", "`after` is no cursor of this list")
    return tuple(parts)
