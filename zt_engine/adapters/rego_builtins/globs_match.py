"""`regex.globs_match`: whether some text matches both of two simple patterns (characters, `.`, `[a-z]`, `+`, `*`).

OPA answers with a search of its own kind, which misses some intersections; a policy must get the same answer here, so
the search is the same, with its steps counted and capped, since it may be exponential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, limit, string
from zt_engine.adapters.rego_values import Value

_MAX_TOKENS: Final = 256
_MAX_STEPS: Final = 20_000
_MAX_RANGE: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Token:
    """One place: a character or a set of them (None for any), and how often it stands."""

    chars: frozenset[str] | None
    is_set: bool
    flag: str = ""

    def meets(self, other: _Token) -> bool:
        return self.chars is None or other.chars is None or not self.chars.isdisjoint(other.chars)

    def same(self, other: _Token) -> bool:
        return self.is_set == other.is_set and self.chars == other.chars


Tokens = tuple[_Token, ...]


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def next(self) -> tuple[str, bool]:
        """The next character and whether it is escaped; nothing at the end."""
        if self.at >= len(self.text):
            return "", False
        char = self.text[self.at]
        if char != "\\":
            self.at += 1
            return char, False
        if self.at + 1 >= len(self.text):
            raise RefusedError("input ends with an escape character")
        self.at += 2
        return self.text[self.at - 1], True

    def flag(self) -> str:
        char = self.text[self.at : self.at + 1]
        if char not in {"+", "*"}:
            if char == "\\" and self.at + 1 >= len(self.text):
                raise RefusedError("input ends with an escape character")
            return ""
        self.at += 1
        return char

    def tokens(self) -> list[_Token]:
        found: list[_Token] = []
        while self.at < len(self.text):
            char, escaped = self.next()
            chars: frozenset[str] | None = frozenset(char)
            is_set = not escaped and char == "["
            if is_set:
                chars = self.members()
            elif not escaped and char == ".":
                chars = None
            elif not escaped and char in {"]", "+", "*"}:
                raise RefusedError(f"`{char}` without what it belongs to")
            found.append(_Token(chars, is_set, self.flag()))
            limit(len(found), _MAX_TOKENS, "tokens")
        return found

    def members(self) -> frozenset[str]:
        chars: set[str] = set()
        previous = ""
        while True:
            char, escaped = self.next()
            if not char:
                raise RefusedError("found [ without matching ]")
            if not escaped and char == "]":
                return frozenset(chars)
            if not escaped and char == "-":
                chars |= self.range(previous)
                previous = ""
            else:
                chars.add(char)
                previous = char

    def range(self, first: str) -> set[str]:
        if not first or self.at >= len(self.text) - 1:
            raise RefusedError("a range needs a character on either side")
        last, escaped = self.next()
        if (not escaped and last in {"]", "-"}) or last < first:
            raise RefusedError("a range is out of order or ends in a symbol")
        limit(ord(last) - ord(first) + 1, _MAX_RANGE, "characters in a range")
        return {chr(code) for code in range(ord(first), ord(last) + 1)}


def _simplified(tokens: list[_Token]) -> Tokens:
    """Neighbours with the same content and a flag each are one."""
    found = tokens[:1]
    for token in tokens[1:]:
        latest = found[-1]
        if token.flag and latest.flag and token.same(latest):
            flag = "+" if "+" in {token.flag, latest.flag} else "*"
            found[-1] = _Token(latest.chars, latest.is_set, flag)
        else:
            found.append(token)
    return tuple(found)


def _trimmed(a: Tokens, b: Tokens) -> tuple[Tokens, Tokens] | None:
    """Both without common plain ends, of which one token each is left; None when the ends differ."""
    left = 0
    while left < min(len(a), len(b)) and not a[left].flag and not b[left].flag:
        if not a[left].meets(b[left]):
            return None
        left += 1
    left = max(left - 1, 0)
    end_a, end_b = len(a) - 1, len(b) - 1
    while min(end_a, end_b) >= left and not a[end_a].flag and not b[end_b].flag:
        if not a[end_a].meets(b[end_b]):
            return None
        end_a, end_b = end_a - 1, end_b - 1
    if end_a < len(a) - 1:
        end_a, end_b = end_a + 1, end_b + 1
    return a[left : end_a + 1], b[left : end_b + 1]


class _Search:
    def __init__(self) -> None:
        self.steps = 0

    def step(self, cost: int = 1) -> None:
        self.steps += cost
        limit(self.steps, _MAX_STEPS, "steps")

    def normal(self, a: Tokens, b: Tokens) -> bool:
        self.step(1 + min(len(a), len(b)))
        for at, (left, right) in enumerate(zip(a, b, strict=False)):
            if left.flag or right.flag:
                return self.special(a[at:], b[at:])
            if not left.meets(right):
                return False
        return len(a) == len(b)

    def special(self, a: Tokens, b: Tokens) -> bool:
        flagged, other = (a, b) if a[0].flag else (b, a)
        return self.plus(flagged, other) if flagged[0].flag == "+" else self.star(flagged, other)

    def plus(self, plussed: Tokens, other: Tokens) -> bool:
        if not plussed[0].meets(other[0]):
            return False
        return self.star(plussed, other[1:]) or (bool(other[0].flag) and self.normal(plussed[1:], other))

    def star(self, starred: Tokens, other: Tokens) -> bool:
        following = starred[1] if len(starred) > 1 else None
        for at, token in enumerate(other):
            self.step()
            if following is not None and token.meets(following) and self.normal(starred[1:], other[at:]):
                return True
            if not token.meets(starred[0]):
                return False
        return following is None


@builtin("regex.globs_match")
def globs_match(first: Value, second: Value) -> Value:
    """Whether the two have a text in common, as far as OPA sees it."""
    texts = string(first, 1), string(second, 2)
    for text in texts:
        limit(len(text), 4 * _MAX_TOKENS, "characters")
    trimmed = _trimmed(*(_simplified(_Reader(text).tokens()) for text in texts))
    return trimmed is not None and _Search().normal(*trimmed)
