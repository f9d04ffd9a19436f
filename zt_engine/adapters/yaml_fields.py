"""Reading typed fields out of YAML nodes, so that one pass finds every fault and each has its line and a way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from zt_engine.adapters.yaml_strict import YamlList, YamlMap, YamlNode, YamlScalar
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.instants import parse_instant

MAX_TEXT = 500
MAX_ITEMS = 500
MAX_PROBLEMS = 100

_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]")


class Faults:
    """Collects the faults of one file, under the code prefix of its kind (`CATALOGUE`)."""

    def __init__(self, where: str, prefix: str) -> None:
        self._where = where
        self._prefix = prefix
        self.problems: list[Problem] = []

    def add(self, code: str, message: str, line: int, hint: str = "") -> None:
        """Add a fault; a code that begins with `_` gets the prefix."""
        full = self._prefix + code if code.startswith("_") else code
        self.problems.append(Problem(code=full, message=message, where=self.at(line), hint=hint))

    def at(self, line: int) -> str:
        return f"{self._where}:{line}"

    def raise_if_any(self) -> None:
        if self.problems:
            raise ConfigError(tuple(self.problems[:MAX_PROBLEMS]))


class Fields:
    """One mapping whose keys are known; whatever is unknown, missing or of another type becomes a fault.

    Every reader returns `None` (or an empty tuple) both for what is absent and for what was reported, so that reading
    goes on to the next fault; nothing built from it is used before `Faults.raise_if_any`.
    """

    def __init__(self, node: YamlMap, name: str, known: Collection[str], faults: Faults) -> None:
        self.line = node.line
        self.name = name
        self._node = node
        self._faults = faults
        for key in node.items:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(sorted(known))}"
                faults.add("_UNKNOWN_KEY", f"`{name}` has no key `{key[:80]}`", node.lines[key], hint)

    def has(self, key: str) -> bool:
        return key in self._node.items

    def line_of(self, key: str) -> int:
        """Say where a key stands; the mapping's own line when it does not."""
        return self._node.lines.get(key, self.line)

    def node(self, key: str) -> YamlNode | None:
        return self._node.items.get(key)

    def require(self, key: str, why: str, code: str = "_MISSING") -> bool:
        """Report a missing key, with the reason why it may not be left out."""
        node = self._node.items.get(key)
        if node is None or (isinstance(node, YamlScalar) and node.value is None):
            self._faults.add(code, f"`{self.name}` has no `{key}`", self.line_of(key), why)
            return False
        return True

    def wrong(self, key: str, expected: str) -> None:
        self._faults.add("_VALUE", f"`{self.name}.{key}` is not {expected}", self.line_of(key))

    def text(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "a text") -> str | None:
        if key not in self._node.items:
            return None
        value = as_text(self._node.items[key])
        if value is not None and (pattern is None or pattern.fullmatch(value) is not None):
            return value
        self.wrong(key, expected)
        return None

    def integer(self, key: str, low: int, high: int) -> int | None:
        if key not in self._node.items:
            return None
        node = self._node.items[key]
        value = node.value if isinstance(node, YamlScalar) else None
        if type(value) is not int or not low <= value <= high:
            self.wrong(key, f"an integer from {low} to {high}")
            return None
        return value

    def truth(self, key: str) -> bool | None:
        if key not in self._node.items:
            return None
        node = self._node.items[key]
        value = node.value if isinstance(node, YamlScalar) else None
        if not isinstance(value, bool):
            self.wrong(key, "`true` or `false`")
            return None
        return value

    def instant(self, key: str, *, dates: bool = False) -> int | None:
        if key not in self._node.items:
            return None
        value = as_text(self._node.items[key])
        moment = parse_instant(value, dates=dates) if value is not None else None
        if moment is None:
            example = "2026-04-01T00:00:00+09:00" + (" or a date" if dates else "")
            self.wrong(key, f"an instant such as {example}")
            return None
        return moment

    def texts(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "a text") -> tuple[str, ...]:
        """Read a list of distinct texts, in the order written; an empty list is a fault, since it has two readings."""
        if key not in self._node.items:
            return ()
        node = self._node.items[key]
        if not isinstance(node, YamlList) or not 0 < len(node.items) <= MAX_ITEMS:
            self.wrong(key, f"a list of 1 to {MAX_ITEMS} entries")
            return ()
        found: list[str] = []
        for item in node.items:
            value = as_text(item)
            if value is None or (pattern is not None and pattern.fullmatch(value) is None):
                self._faults.add("_VALUE", f"an entry of `{self.name}.{key}` is not {expected}", item.line)
            elif value in found:
                self._faults.add("_DUPLICATE", f"`{value}` stands twice in `{self.name}.{key}`", item.line)
            else:
                found.append(value)
        return tuple(found)

    def choices(self, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Read a list of words from a closed vocabulary."""
        found = self.texts(key)
        for word in found:
            if word not in allowed:
                close = difflib.get_close_matches(word, allowed, n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(allowed)}"
                self._faults.add("_VALUE", f"`{word[:80]}` in `{self.name}.{key}` is unknown", self.line_of(key), hint)
        return found

    def mapping(self, key: str) -> YamlMap | None:
        node = self._node.items.get(key)
        if node is None or isinstance(node, YamlMap):
            return node
        self.wrong(key, "a mapping")
        return None

    def sequence(self, key: str) -> Sequence[YamlNode]:
        node = self._node.items.get(key)
        if node is None:
            return ()
        if isinstance(node, YamlList):
            return node.items
        self.wrong(key, "a list")
        return ()


def as_text(node: YamlNode) -> str | None:
    """Give a scalar that is a text: not empty, not long, and without characters that nobody sees."""
    if not isinstance(node, YamlScalar) or not isinstance(node.value, str):
        return None
    return node.value if 0 < len(node.value) <= MAX_TEXT and _UNSEEN.search(node.value) is None else None
