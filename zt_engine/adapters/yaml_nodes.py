"""YAML as a person wrote it: nodes that know their lines, and a reader that collects every fault before it gives up.

The tree is never turned into objects by tag, so nothing in a file can construct anything; aliases are refused, so
nothing in it can be larger than it looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from zt_engine.core.errors import ConfigError, Problem

MAX_CHARACTERS: Final = 1 << 20
MAX_DEPTH: Final = 32

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])|0s")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Key = str | bool
_Word = TypeVar("_Word", bound=str)


class YamlReader:
    """Reads one file's nodes into values; a wrong one is noted in `problems` and read as the least it may be."""

    def __init__(self, *, where: str, prefix: str) -> None:
        self.problems: list[Problem] = []
        self._where = where
        self._prefix = prefix

    def compose(self, text: str) -> Node:
        """The root node of the only document in `text`; ConfigError where there is none."""
        if len(text) > MAX_CHARACTERS:
            raise self._stop(f"has {len(text)} characters, at most {MAX_CHARACTERS} are read", self._where)
        try:
            root = YAML(typ="rt", pure=True).compose(text)
            if root is not None:
                _refuse_aliases(root)
        except MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise self._stop(str(error.problem), self._where + line) from error
        except _AliasError as error:
            raise self._stop("anchors and aliases are not read: write the value out", self.place(error.node)) from error
        except (YAMLError, ValueError, RecursionError) as error:
            raise self._stop(f"is not YAML ({type(error).__name__})", self._where) from error
        if root is None:
            raise self._stop("is empty", self._where)
        return root

    def place(self, node: Node) -> str:
        """`file:line` of a node."""
        return f"{self._where}:{node.start_mark.line + 1}"

    def report(self, kind: str, node: Node, message: str, *, hint: str = "") -> None:
        """Note a fault at a node under the code `<prefix>_<kind>`."""
        code = f"{self._prefix}_{kind}"
        self.problems.append(Problem(code=code, message=message, where=self.place(node), hint=hint))

    def finish(self) -> None:
        """Raise ConfigError with every fault, in the order of their lines, if there is any."""
        if self.problems:
            self.problems.sort(key=lambda problem: int(problem.where.rpartition(":")[2]))
            raise ConfigError(tuple(self.problems))

    def entries(self, node: Node, name: str) -> dict[Key, tuple[Node, Node]]:
        """The members of a mapping with free keys: key -> (key node, value node)."""
        found: dict[Key, tuple[Node, Node]] = {}
        if not isinstance(node, MappingNode):
            self.report("TYPE", node, f"`{name}` must be a mapping, not {_kind(node)}")
            return found
        for key_node, value in node.value:
            key = self._key(key_node)
            if key is None:
                self.report("TYPE", key_node, f"a key of `{name}` must be a word, not {_kind(key_node)}")
            elif key in found:
                self.report("DUPLICATE", key_node, f"`{key_node.value}` appears twice in `{name}`")
            else:
                found[key] = (key_node, value)
        return found

    def members(
        self, node: Node, name: str, *, required: Iterable[str], optional: Iterable[str] = ()
    ) -> dict[str, Node]:
        """The members of a mapping with fixed keys; unknown and missing ones are faults."""
        required, known = tuple(required), (*required, *optional)
        found: dict[str, Node] = {}
        mapping = isinstance(node, MappingNode)
        for key, (key_node, value) in self.entries(node, name).items():
            if key in known and isinstance(key, str):
                found[key] = value
            else:
                near = get_close_matches(str(key), known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
                self.report("UNKNOWN_KEY", key_node, f"`{name}` has no `{key_node.value}`", hint=hint)
        if mapping:
            for key in required:
                if key not in found:
                    self.report("MISSING_KEY", node, f"`{name}` needs `{key}`")
        return found

    def items(self, node: Node, name: str) -> Sequence[Node]:
        """The entries of a list."""
        if isinstance(node, SequenceNode):
            return tuple(node.value)
        self.report("TYPE", node, f"`{name}` must be a list, not {_kind(node)}")
        return ()

    def integer(self, node: Node, name: str, *, least: int, most: int) -> int:
        """A whole number in decimal; booleans, fractions and other bases are not."""
        text = node.value if isinstance(node, ScalarNode) and node.tag.endswith(":int") else ""
        if not _INTEGER.fullmatch(text):
            self.report("TYPE", node, f"`{name}` must be a whole number, not {_kind(node)}")
            return least
        number = int(text)
        if not least <= number <= most:
            self.report("RANGE", node, f"`{name}` is {number}, must be {least} to {most}")
            return least
        return number

    def text(self, node: Node, name: str) -> str:
        """A word or sentence."""
        if isinstance(node, ScalarNode) and node.tag.endswith(":str") and node.value.isprintable():
            return str(node.value)
        self.report("TYPE", node, f"`{name}` must be text, not {_kind(node)}")
        return ""

    def word(self, node: Node, name: str, words: Sequence[_Word]) -> _Word:
        """One of a list of words."""
        text = self.text(node, name)
        for word in words:
            if word == text:
                return word
        if text:
            near = get_close_matches(text, words, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(words)}"
            self.report("VALUE", node, f"`{name}` cannot be `{text}`", hint=hint)
        return words[0]

    def seconds(self, node: Node, name: str) -> int:
        """A length of time such as `15m`, `4h` or `7d`, in seconds."""
        match = _DURATION.fullmatch(self.text(node, name))
        if match is None:
            self.report("VALUE", node, f"`{name}` must be a length of time such as 15m, 4h or 7d")
            return 0
        return int(match[1]) * _SECONDS[match[2]] if match[1] else 0

    def _key(self, node: Node) -> Key | None:
        if not isinstance(node, ScalarNode):
            return None
        if node.tag.endswith(":bool"):
            return bool(node.value.lower() == "true")
        return str(node.value) if node.tag.endswith(":str") and node.value.isprintable() else None

    def _stop(self, message: str, where: str) -> ConfigError:
        return ConfigError((Problem(code=f"{self._prefix}_SYNTAX", message=message, where=where),))


class _AliasError(Exception):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node


def _refuse_aliases(root: Node) -> None:
    # An alias is the anchored node itself, met a second time (or inside itself).
    waiting, seen = [(root, 0)], {id(root)}
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise RecursionError
        children: list[Node] = []
        if isinstance(node, MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, SequenceNode):
            children = list(node.value)
        for child in children:
            if id(child) in seen:
                raise _AliasError(child)
            seen.add(id(child))
            waiting.append((child, depth + 1))


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    kinds: Mapping[str, str] = {"int": "a number", "float": "a fraction", "bool": "a boolean", "null": "nothing"}
    return kinds.get(node.tag.rpartition(":")[2], f"`{str(node.value)[:40]}`")
