"""YAML as proxies write it: anchors and merge keys included, tags ignored, several documents in one file."""

from __future__ import annotations

import re
import warnings

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import fault
from zt_engine.doctor.trees.node import MAX_DEPTH, Node, Scalar

MAX_CHARACTERS = 512 << 10
"""The parser is Python: so much takes it many seconds."""

_DEEP = re.compile(r"(?:[\[{][ \t\n]{0,9}){65}")
"""Seen before the parser spends seconds on it."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_WORDS: dict[str, Scalar] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "on", "On"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE", "no", "No", "off", "Off"), False)
"""Also the words of YAML 1.1: Go's reader and Envoy's take them."""


def read(text: str, file: str) -> list[Node]:
    """Return the documents; ConfigError DOCTOR_SYNTAX, DOCTOR_TOO_LARGE."""
    if len(text) > MAX_CHARACTERS:
        raise fault("DOCTOR_TOO_LARGE", f"YAML of more than {MAX_CHARACTERS} characters", file)
    if _DEEP.search(text) is not None:
        raise fault("DOCTOR_TOO_LARGE", "nested too deeply", file)
    try:
        return [_Reader(file).node(root, 0) for root in _composed(text)]
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise fault("DOCTOR_SYNTAX", str(error.problem or error.context), f"{file}{line}") from None
    except RecursionError:
        raise fault("DOCTOR_TOO_LARGE", "nested too deeply", file) from None
    except (YAMLError, ValueError, AttributeError, AssertionError, TypeError, IndexError, KeyError) as error:
        # The parser's own slips on text that nobody writes.
        raise fault("DOCTOR_SYNTAX", f"not YAML ({type(error).__name__})", file) from None


def _composed(text: str) -> list[YamlNode]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an anchor that is used again is no business of ours
        return [root for root in YAML(typ="safe", pure=True).compose_all(text) if root is not None]


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._known: dict[int, Node] = {}

    def node(self, source: YamlNode, depth: int) -> Node:
        """Return the node of an alias again: nothing is expanded."""
        if id(source) in self._known:
            return self._known[id(source)]
        place = Place(self._file, source.start_mark.line + 1)
        if depth > MAX_DEPTH:
            raise fault("DOCTOR_TOO_LARGE", "nested too deeply", str(place))
        found = self._known[id(source)] = Node(place)
        if isinstance(source, MappingNode):
            merged: list[Node] = []
            for key, value in source.value:
                name = str(key.value) if isinstance(key, ScalarNode) else ""
                inside = self.node(value, depth + 1)
                if name == "<<":
                    merged.extend(inside.elements or [inside])
                    continue
                found.pairs.append((name, self._below_key(inside, key, value)))
            have = {name for name, _ in found.pairs}
            for other in merged:
                found.pairs.extend(pair for pair in list(other.pairs) if pair[0] not in have)
        elif isinstance(source, SequenceNode):
            found.elements.extend(self.node(item, depth + 1) for item in source.value)
        elif isinstance(source, ScalarNode):
            found.scalar = _scalar(source)
        return found

    def _below_key(self, inside: Node, key: YamlNode, value: YamlNode) -> Node:
        """A value stands where its key does, unless it is an alias's, which stands once only."""
        if value.start_mark.line >= key.start_mark.line:
            inside.place = Place(self._file, key.start_mark.line + 1)
        return inside


def _scalar(source: ScalarNode) -> Scalar:
    text = str(source.value)
    if source.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
