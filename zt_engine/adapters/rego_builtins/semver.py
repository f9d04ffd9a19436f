"""Semantic versions, with OPA's leniencies: a leading `v`, leading zeros, signs."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, string
from zt_engine.adapters.rego_values import Value

_META: Final = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_INT64: Final = 1 << 63


class _Version(NamedTuple):
    numbers: tuple[int, ...]
    pre_release: str


def _parse(text: str) -> _Version | None:
    rest, _, metadata = text.removeprefix("v").partition("+")
    rest, _, pre_release = rest.partition("-")
    if any(part and not _META.fullmatch(part) for part in (metadata, pre_release)):
        return None
    parts = rest.split(".")
    if len(parts) != 3 or not all(len(part) < 100 and _NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = tuple(map(int, parts))
    return _Version(numbers, pre_release) if all(-_INT64 <= n < _INT64 for n in numbers) else None


def _identifier(text: str) -> tuple[int, int, str]:
    """Numeric identifiers sort below the others, and by value (SemVer 2.0.0, 11.4)."""
    if text.isascii() and text.isdigit():
        return (0, min(int(text[:20]) if len(text) < 20 else _INT64 - 1, _INT64 - 1), "")
    return (1, 0, text)


def _precedence(version: _Version) -> tuple[tuple[int, ...], bool, list[tuple[int, int, str]]]:
    pre = version.pre_release
    return (version.numbers, not pre, [_identifier(part) for part in pre.split(".")] if pre else [])


@builtin("semver.compare")
def compare(a: Value, b: Value) -> Value:
    """-1, 0 or 1."""
    first, second = _parse(string(a, 1)), _parse(string(b, 2))
    if first is None or second is None:
        raise RefusedError(f"operand {1 if first is None else 2}: not a valid SemVer")
    left, right = _precedence(first), _precedence(second)
    return (left > right) - (left < right)


@builtin("semver.is_valid")
def is_valid(text: Value) -> Value:
    """False for anything that is not a string, too."""
    return isinstance(text, str) and _parse(text) is not None
