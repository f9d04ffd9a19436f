"""Path templates, and an automaton that finds the most specific one in one step per path segment.

A template is a list of segments: a literal, `{name}` (exactly one segment, never empty) or, last, `*` (one or more
segments). *More specific* is decided at the first segment where two matching templates differ: literal before
`{name}` before `*`. A trie that tries them in this order has to go back when a promising branch ends, so its cost is
exponential in the worst case; here the sets of branches are computed when the catalogue is loaded (subset
construction), and a match never goes back. What that costs in memory is limited, and over the limit is a load error.

Two templates *cross* when they share paths but neither contains the other (`/{a}/x` and `/b/{c}`): the order above
would then choose by accident of position, so the catalogue demands that they mean the same or that the template of
the paths they share (`/b/x`) is written down.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from zt_engine.core.request import unescape

MAX_SEGMENTS = 32
MAX_SEGMENT = 255
MAX_TRANSITIONS = 300_000
"""How many steps one host's automaton may have; 10,000 ordinary routes need about 30,000."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_ENCODED = 12 * MAX_SEGMENT  # a character has at most four bytes, and each three characters as an escape
_ENCODED = re.compile(r"(?:[^%]++|%[0-9A-Fa-f]{2})*+")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_FORBIDDEN_IN_PATH = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_DOTS = frozenset({".", ".."})
_NOT_LITERAL = re.compile(r"[{}*?#;]")


class Wild(enum.Enum):
    """The two kinds of segment that are no literal."""

    PARAM = "{}"
    REST = "*"


Shape = tuple[str | Wild, ...]


class Template(Struct, frozen=True, kw_only=True):
    """A parsed path template: its segments, and at which position each name is captured."""

    text: str
    shape: Shape
    captures: tuple[tuple[int, str], ...]


class TemplateError(ValueError):
    """A path template that cannot be read; the message says why."""


class TangledError(ValueError):
    """A set of templates whose automaton would be larger than `MAX_TRANSITIONS`."""


def decode_segment(text: str) -> str | None:
    """Percent-decode one path segment; `None` unless the result is one clear UTF-8 NFC name.

    A decoded slash, backslash, control character or dot segment means that somebody behind us may read another
    path than we do, so it is refused rather than matched.
    """
    if "%" in text:
        if len(text) > _MAX_ENCODED or _ENCODED.fullmatch(text) is None:
            return None
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            return None
    if text in (".", "..") or len(text) > MAX_SEGMENT or _FORBIDDEN.search(text) is not None:
        return None
    return text if text.isascii() or unicodedata.is_normalized("NFC", text) else None


def decode_segments(path: str) -> list[str] | None:
    """Split an ASCII path with escapes into decoded segments, as `decode_segment` does one by one, in few passes."""
    if _ENCODED.fullmatch(path) is None or "\\" in path:
        return None
    try:
        text = unescape(path.encode("ascii")).decode("utf-8")
    except UnicodeError:
        return None
    segments = text[1:].split("/")
    if text.count("/") != path.count("/") or _FORBIDDEN_IN_PATH.search(text) is not None:
        return None
    if not _DOTS.isdisjoint(segments) or not (text.isascii() or unicodedata.is_normalized("NFC", text)):
        return None
    if len(text) > MAX_SEGMENT:
        for raw, segment in zip(path[1:].split("/"), segments, strict=True):
            if len(segment) > MAX_SEGMENT and "%" in raw:
                return None
    return segments


def decode_path(path: str) -> list[str] | None:
    """Split a canonical path into decoded segments; `None` when one of them is not clear or stands empty inside."""
    segments = []
    for raw in path[1:].split("/"):
        decoded = decode_segment(raw)
        if decoded is None:
            return None
        segments.append(decoded)
    return None if "" in segments[:-1] or not path.startswith("/") else segments


def parse_template(text: str) -> Template:
    """Read a path template; literals may be written plainly or percent-encoded, and mean the same."""
    if not text.startswith("/"):
        raise TemplateError("a path starts with `/`")
    raw = text[1:].split("/")
    if len(raw) > MAX_SEGMENTS:
        raise TemplateError(f"a path template has at most {MAX_SEGMENTS} segments")
    shape: list[str | Wild] = []
    captures: list[tuple[int, str]] = []
    for position, segment in enumerate(raw):
        last = position == len(raw) - 1
        if segment == "*":
            if not last:
                raise TemplateError("`*` stands only at the end")
            shape.append(Wild.REST)
        elif segment.startswith("{") and segment.endswith("}"):
            name = segment[1:-1]
            if _NAME.fullmatch(name) is None:
                raise TemplateError(f"`{segment}` is no parameter: a name is lower-case letters, digits and `_`")
            if any(name == other for _, other in captures):
                raise TemplateError(f"`{segment}` stands twice")
            captures.append((position, name))
            shape.append(Wild.PARAM)
        else:
            shape.append(_literal(segment, last=last))
    return Template(text=text, shape=tuple(shape), captures=tuple(captures))


def _literal(segment: str, *, last: bool) -> str:
    if not segment and not last:
        raise TemplateError("an empty segment (`//`) never reaches the catalogue")
    if _NOT_LITERAL.search(segment) is not None:
        raise TemplateError(f"`{segment}`: a segment is a literal, or `{{name}}`, or a final `*`, and has no `?#;`")
    decoded = decode_segment(segment)
    if decoded is None:
        raise TemplateError(f"`{segment}` is not one UTF-8 NFC path segment")
    return decoded


LeafT = TypeVar("LeafT")


class State(Generic[LeafT]):
    """One state of the automaton: what the next segment leads to, and what ends here.

    `literals` always has the empty segment, which no parameter matches. `sink` says that more segments change nothing.
    """

    __slots__ = ("default", "leaf", "literals", "sink")

    def __init__(self) -> None:
        self.literals: Mapping[str, State[LeafT] | None] = {}
        self.default: State[LeafT] | None = None
        self.leaf: LeafT | None = None
        self.sink = False


_NOTHING: Mapping[str, None] = {"": None}


class _End(Generic[LeafT]):
    """The branch behind a final `*`: it matches whatever still comes."""

    __slots__ = ("leaf",)

    def __init__(self, leaf: LeafT) -> None:
        self.leaf = leaf


class _Node(Generic[LeafT]):
    __slots__ = ("leaf", "literals", "param", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[LeafT]] = {}
        self.param: _Node[LeafT] | None = None
        self.rest: _End[LeafT] | None = None
        self.leaf: LeafT | None = None


_Branches = tuple["_Node[LeafT] | _End[LeafT]", ...]


def walk(root: State[LeafT], segments: list[str]) -> LeafT | None:
    """Find what the most specific template for these segments leads to."""
    state: State[LeafT] | None = root
    for segment in segments:
        if state is None:
            return None
        if state.sink:
            break
        state = state.literals.get(segment, state.default)
    return None if state is None else state.leaf


def compile_templates(leaves: Mapping[Shape, LeafT]) -> State[LeafT]:
    """Build the automaton for templates of distinct shapes; `TangledError` when it would grow too large."""
    start: _Branches[LeafT] = (_trie(leaves),)
    states: dict[_Branches[LeafT], State[LeafT]] = {start: State()}
    waiting = [start]
    transitions = 0
    while waiting:
        branches = waiting.pop()
        state = states[branches]
        _finish(state, branches)
        if state.sink:
            continue
        literals: dict[str, State[LeafT] | None] = {}
        names = {name for branch in branches if isinstance(branch, _Node) for name in branch.literals}
        transitions += len(names) + 2
        if transitions > MAX_TRANSITIONS:
            raise TangledError(f"over {MAX_TRANSITIONS} steps")
        for name in (*names, "", None):
            after = _step(branches, name)
            if after and after not in states:
                states[after] = State()
                waiting.append(after)
            target = states[after] if after else None
            if name is None:
                state.default = target
            else:
                literals[name] = target
        # One table for the thousands of states that only wait for a parameter.
        state.literals = _NOTHING if literals == _NOTHING else literals
    return states[start]


def _finish(state: State[LeafT], branches: _Branches[LeafT]) -> None:
    first = branches[0]
    state.sink = isinstance(first, _End)
    state.leaf = next((branch.leaf for branch in branches if branch.leaf is not None), None)


def _step(branches: _Branches[LeafT], name: str | None) -> _Branches[LeafT]:
    """Advance every branch by one segment, most specific first; `None` stands for any name that no literal has.

    Behind a `*` nothing can win any more, since it matches all that may come.
    """
    after: list[_Node[LeafT] | _End[LeafT]] = []
    for branch in branches:
        if isinstance(branch, _End):
            after.append(branch)
            break
        if name is not None and name in branch.literals:
            after.append(branch.literals[name])
        if branch.param is not None and name != "":
            after.append(branch.param)
        if branch.rest is not None:
            after.append(branch.rest)
            break
    return tuple(after)


def _trie(leaves: Mapping[Shape, LeafT]) -> _Node[LeafT]:
    root: _Node[LeafT] = _Node()
    for shape, leaf in leaves.items():
        node = root
        for segment in shape:
            if segment is Wild.REST:
                node.rest = _End(leaf)
            elif segment is Wild.PARAM:
                node.param = node = node.param or _Node()
            else:
                node = node.literals.setdefault(segment, _Node())
        if shape[-1] is not Wild.REST:
            node.leaf = leaf
    return root


def meet(a: Shape, b: Shape) -> Shape | None:
    """Give the shape of exactly the paths that match both; `None` when no path does."""
    both: list[str | Wild] = []
    for position, (x, y) in enumerate(zip(a, b, strict=False)):
        if x is Wild.REST:
            return (*both, *b[position:])
        if y is Wild.REST:
            return (*both, *a[position:])
        if x is Wild.PARAM or y is Wild.PARAM:
            narrower = y if x is Wild.PARAM else x
            if narrower == "":
                return None
            both.append(narrower)
        elif x == y:
            both.append(x)
        else:
            return None
    return tuple(both) if len(a) == len(b) else None


def crossings(shapes: Iterable[Shape]) -> Iterator[tuple[Shape, Shape]]:
    """Give every pair of shapes that share paths while neither contains the other.

    Walks pairs of trie branches, so that shapes which differ in a literal never meet; `TangledError` over the limit.
    """
    root = _trie({shape: shape for shape in shapes})
    waiting: list[tuple[_Node[Shape], _Node[Shape], bool, bool]] = [(root, root, False, False)]
    visits = 0
    while waiting:
        visits += 1
        if visits > MAX_TRANSITIONS:
            raise TangledError(f"over {MAX_TRANSITIONS} pairs")
        u, v, u_narrower, v_narrower = waiting.pop()
        if u_narrower and v_narrower:
            if u.leaf is not None and v.leaf is not None:
                yield u.leaf, v.leaf
            if u.rest is not None and v.rest is not None:
                yield u.rest.leaf, v.rest.leaf
        if u_narrower and u.rest is not None:
            yield from ((u.rest.leaf, leaf) for leaf in _below(v))
        if v_narrower and v.rest is not None:
            yield from ((v.rest.leaf, leaf) for leaf in _below(u))
        for name, child in u.literals.items():
            if name in v.literals:
                waiting.append((child, v.literals[name], u_narrower, v_narrower))
            if v.param is not None and name:
                waiting.append((child, v.param, True, v_narrower))
        if u.param is not None and v.param is not None:
            waiting.append((u.param, v.param, u_narrower, v_narrower))
        if u is not v and u.param is not None:
            waiting.extend((u.param, child, u_narrower, True) for name, child in v.literals.items() if name)


def _below(node: _Node[Shape]) -> Iterator[Shape]:
    """Give the shapes that go at least one more segment down: what a `*` at this node contains."""
    waiting = [*node.literals.values(), *([node.param] if node.param else [])]
    while waiting:
        here = waiting.pop()
        if here.leaf is not None:
            yield here.leaf
        if here.rest is not None:
            yield here.rest.leaf
        waiting.extend(here.literals.values())
        if here.param is not None:
            waiting.append(here.param)
