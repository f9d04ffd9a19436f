"""`object.subset`."""

from __future__ import annotations

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, limit
from zt_engine.adapters.rego_values import Key, RegoSet, Value, equal, order


def _object_subset(whole: dict[str | Key, Value], part: dict[str | Key, Value]) -> bool:
    """Every key of the part is there, with an equal value or one of which it is a subset in turn."""
    return all(key in whole and (equal(item, whole[key]) or _nested(whole[key], item)) for key, item in part.items())


def _nested(whole: Value, part: Value) -> bool:
    match whole, part:
        case dict(), dict():
            return _object_subset(whole, part)
        case RegoSet(), RegoSet():
            return _set_subset(whole, part)
        case list(), list():
            return _array_subset(whole, part)
    return False


def _set_subset(whole: RegoSet, part: RegoSet) -> bool:
    return all(item in whole for item in part)


def _array_subset(whole: list[Value], part: list[Value]) -> bool:
    """Whether the part occurs in the whole, in one piece."""
    if not part:
        return True
    limit(len(whole) * len(part), 1_000_000, "comparisons")
    left, right = [order(item) for item in whole], [order(item) for item in part]
    return any(left[at : at + len(right)] == right for at in range(len(left) - len(right) + 1))


def _array_holds_set(whole: list[Value], part: RegoSet) -> bool:
    # OPA counts matches: a repeated element of the array counts again, and an empty set is in no empty array.
    unmatched = len(part)
    for item in whole:
        unmatched -= item in part
        if unmatched == 0:
            return True
    return False


@builtin("object.subset")
def subset(whole: Value, part: Value) -> Value:
    """Whether the second is part of the first: objects recursively, sets by element, arrays in one piece."""
    match whole, part:
        case dict(), dict():
            return _object_subset(whole, part)
        case RegoSet(), RegoSet():
            return _set_subset(whole, part)
        case list(), list():
            return _array_subset(whole, part)
        case list(), RegoSet():
            return _array_holds_set(whole, part)
    raise RefusedError("both arguments object.subset must be of the same type or array and set")
