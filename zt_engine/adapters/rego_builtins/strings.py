"""`strings.*` and `indexof_n`, by characters as OPA counts them."""

from __future__ import annotations

from bisect import bisect_left

from zt_engine.adapters.rego_builtins.operands import (
    MAX_ITEMS,
    RefusedError,
    builtin,
    integer,
    limit,
    string,
    strings,
)
from zt_engine.adapters.rego_values import Value


@builtin("indexof_n")
def indexof_n(base: Value, search: Value) -> Value:
    """Every position, overlapping ones included."""
    text, wanted = string(base, 1), string(search, 2)
    if not wanted:
        raise RefusedError("empty search character")
    found: list[Value] = []
    at = text.find(wanted)
    while at >= 0:
        found.append(at)
        limit(len(found))
        limit(len(found) * len(wanted), 10_000_000, "compared characters")
        at = text.find(wanted, at + 1)
    return found


@builtin("strings.count")
def count(base: Value, search: Value) -> Value:
    """Occurrences that do not overlap; the empty string occurs once more than there are characters."""
    return string(base, 1).count(string(search, 2))


def _one_or_many(value: Value, position: int) -> list[str]:
    return [value] if isinstance(value, str) else strings(value, position)


def _any_starts_with_any(texts: list[str], prefixes: list[str]) -> bool:
    """By binary search, so that two long lists cost no product."""
    ordered = sorted(texts)
    for prefix in prefixes:
        at = bisect_left(ordered, prefix)
        if at < len(ordered) and ordered[at].startswith(prefix):
            return True
    return False


@builtin("strings.any_prefix_match")
def any_prefix_match(search: Value, base: Value) -> Value:
    """Whether any of the strings starts with any of the prefixes."""
    return _any_starts_with_any(_one_or_many(search, 1), _one_or_many(base, 2))


@builtin("strings.any_suffix_match")
def any_suffix_match(search: Value, base: Value) -> Value:
    """Whether any of the strings ends with any of the suffixes."""
    return _any_starts_with_any(
        [text[::-1] for text in _one_or_many(search, 1)], [text[::-1] for text in _one_or_many(base, 2)]
    )


@builtin("strings.split_n")
def split_n(base: Value, delimiter: Value, parts: Value) -> Value:
    """The first n parts, or the last -n; the empty delimiter splits into characters."""
    text, mark, wanted = string(base, 1), string(delimiter, 2), integer(parts, 3)
    if wanted == 0:
        return []
    if mark:
        found = text.split(mark, wanted) if 0 < wanted < MAX_ITEMS else text.split(mark)
    else:
        limit(len(text) if wanted < 0 else min(len(text), wanted))
        found = list(text)
    found = found[:wanted] if wanted > 0 else found[max(len(found) + wanted, 0) :]
    limit(len(found))
    return list(found)
