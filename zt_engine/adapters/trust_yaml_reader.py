"""Numbers, words and tables out of a trust file: a wrong one is noted with its line, and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, TypeVar

from zt_engine.adapters.yaml_strict import YamlList, YamlMap, YamlNode
from zt_engine.core.errors import ConfigError, Problem

_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,5})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

_Word = TypeVar("_Word", bound=str)


class TrustReader:
    """Collects the faults of one file; a value that is wrong is read as the least it may be, and never used."""

    def __init__(self, where: str) -> None:
        self.problems: list[Problem] = []
        self._where = where

    def report(self, code: str, line: int, message: str, *, hint: str = "") -> None:
        """Note a fault in a line."""
        self.problems.append(Problem(code=code, message=message, where=f"{self._where}:{line}", hint=hint))

    def finish(self) -> None:
        """Raise ConfigError with every fault, in the order of their lines, if there is any."""
        if self.problems:
            self.problems.sort(key=lambda problem: int(problem.where.rpartition(":")[2]))
            raise ConfigError(tuple(self.problems))

    def table(self, node: YamlNode, name: str) -> YamlMap:
        """A mapping; an empty one in place of anything else."""
        if isinstance(node, YamlMap):
            return node
        self.report("TRUST_TYPE", node.line, f"`{name}` must be a mapping, not {kind(node)}")
        return YamlMap(node.line)

    def members(
        self, node: YamlNode, name: str, *, required: Iterable[str], optional: Iterable[str] = ()
    ) -> Mapping[str, YamlNode]:
        """The members of a mapping with fixed keys; unknown and missing ones are faults."""
        required, known = tuple(required), (*required, *optional)
        found = self.table(node, name)
        for key in found.items:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
                self.report("TRUST_UNKNOWN_KEY", found.lines[key], f"`{name}` has no key `{key[:80]}`", hint=hint)
        if isinstance(node, YamlMap):
            for key in required:
                if key not in found.items:
                    self.report("TRUST_MISSING_KEY", node.line, f"`{name}` needs `{key}`")
        return {key: value for key, value in found.items.items() if key in known}

    def items(self, node: YamlNode, name: str) -> Sequence[YamlNode]:
        """The entries of a list."""
        if isinstance(node, YamlList):
            return node.items
        self.report("TRUST_TYPE", node.line, f"`{name}` must be a list, not {kind(node)}")
        return ()

    def integer(self, node: YamlNode, name: str, *, least: int, most: int) -> int:
        """A whole number in decimal."""
        value = None if isinstance(node, YamlMap | YamlList) else node.value
        if type(value) is not int:
            self.report("TRUST_TYPE", node.line, f"`{name}` must be a whole number, not {kind(node)}")
            return least
        if not least <= value <= most:
            self.report("TRUST_RANGE", node.line, f"`{name}` is {value}, must be {least} to {most}")
            return least
        return value

    def text(self, node: YamlNode, name: str) -> str:
        """A word or address."""
        value = None if isinstance(node, YamlMap | YamlList) else node.value
        if isinstance(value, str) and value and value.isprintable():
            return value
        self.report("TRUST_TYPE", node.line, f"`{name}` must be text, not {kind(node)}")
        return ""

    def word(self, node: YamlNode, name: str, words: Sequence[_Word]) -> _Word:
        """One of a list of words."""
        text = self.text(node, name)
        for word in words:
            if word == text:
                return word
        if text:
            near = get_close_matches(text, words, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(words)}"
            self.report("TRUST_VALUE", node.line, f"`{name}` cannot be `{text[:80]}`", hint=hint)
        return words[0]

    def seconds(self, node: YamlNode, name: str) -> int:
        """A length of time such as `15m`, `4h` or `7d`, in seconds."""
        match = _DURATION.fullmatch(self.text(node, name))
        if match is None:
            self.report("TRUST_VALUE", node.line, f"`{name}` must be a length of time such as 15m, 4h or 7d")
            return 0
        return int(match[1]) * _SECONDS[match[2]]


def kind(node: YamlNode) -> str:
    """What a node is, for a person."""
    if isinstance(node, YamlMap):
        return "a mapping"
    if isinstance(node, YamlList):
        return "a list"
    if node.value is None:
        return "nothing"
    return f"`{node.text[:40]}`"
