"""Paths that are nearly a stricter route's: found here, so that a trailing slash does not lead around it.

`/admin/`, `/Admin`, `/admin%20` and `/admin/x` are other paths than `/admin`, and a wide route (`/*`) matches them.
Many a backend serves the same thing for all of them: it strips slashes, ignores case, drops trailing dots and blanks,
or hands the rest of the path to a script. The catalogue cannot know which, so it asks for *twins*: the routes and
objects that would match if both sides were folded, and that are more specific than the route that did match.

- A segment is folded by NFKC, case folding, and stripping trailing dots and blanks (and slashes that NFKC makes).
- Empty segments at the end count for nothing, on both sides; a final `*` behind a literal matches nothing, too.
- What follows an object or a route of literals only belongs to it, unless longer templates begin with that route.
- A template is more specific if at the first difference it has a literal where the other has `{name}` or `*`, has
  `{name}` where the other has `*`, or has ended before one of them.

Where the owner wrote both spellings as literals, the backend tells them apart, and so does the catalogue. The set of
templates that match is computed when the catalogue is loaded (as in `core.route_matcher`, but with every branch kept);
a request costs one lookup for each segment, and one for each length that an object or literal route has. Most templates
have nothing more specific beside them: then there is nothing to ask (`Guard.guards`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar
from unicodedata import normalize

from zt_engine.core.route_matcher import MAX_TRANSITIONS, Shape, TangledError, Wild

LeafT = TypeVar("LeafT")

Twin = tuple[Shape, LeafT]

_TRAILING = re.compile(r"[. ](?:/|\Z)|/\Z|\A\Z")
"""Where folding takes something away from an ASCII path in lower case."""


def fold(segment: str) -> str:
    """Return what careless backends make of a decoded segment."""
    return _stripped(_caseless(segment))


def _caseless(text: str) -> str:
    return text.lower() if text.isascii() else normalize("NFKC", normalize("NFKC", text).casefold())


def _stripped(segment: str) -> str:
    return segment.rstrip("./ ")


def fold_path(segments: Iterable[str]) -> list[str]:
    """Fold every segment, and leave out the empty ones at the end."""
    # All at once, since the cost is in the calls; no segment has a NUL, and none composes with it.
    folded = [_stripped(segment) for segment in _caseless("\0".join(segments)).split("\0")]
    while folded and not folded[-1]:
        folded.pop()
    return folded


def fold_shape(shape: Shape) -> Shape:
    """Fold a template's literals, as `fold_path` does a path's."""
    folded = [segment if isinstance(segment, Wild) else fold(segment) for segment in shape]
    while folded and folded[-1] == "":
        folded.pop()
    return tuple(folded)


def narrower(one: Shape, other: Shape) -> bool:
    """Whether a template is more specific than another, at their first difference."""
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return theirs is Wild.REST or (theirs is Wild.PARAM and mine is not Wild.REST)
    return len(one) < len(other) and isinstance(other[len(one)], Wild)


class _State(Generic[LeafT]):
    """One state of the automaton; `found` is everything that matches a path which ends here."""

    __slots__ = ("default", "found", "literals", "sink")

    def __init__(self) -> None:
        self.literals: dict[str, _State[LeafT] | None] = {}
        self.default: _State[LeafT] | None = None
        self.found: tuple[Twin[LeafT], ...] = ()
        self.sink = False


class _Node(Generic[LeafT]):
    __slots__ = ("anchored", "ends", "literals", "param", "rest")

    def __init__(self, *, anchored: bool) -> None:
        self.literals: dict[str, _Node[LeafT]] = {}
        self.param: _Node[LeafT] | None = None
        self.rest: _End[LeafT] | None = None
        self.ends: list[Twin[LeafT]] = []
        self.anchored = anchored
        """Whether a literal leads here: `/{a}/*` says nothing about `/x`, `/admin/*` does about `/admin`."""


class _End(Generic[LeafT]):
    __slots__ = ("twins",)

    def __init__(self) -> None:
        self.twins: list[Twin[LeafT]] = []


_Branches = tuple["_Node[LeafT] | _End[LeafT]", ...]


class Guard(Generic[LeafT]):
    """The routes and objects of one host, in folded form."""

    __slots__ = ("_branches", "_closed", "_depths", "_fixed", "_root")

    def __init__(self, routes: Mapping[Shape, LeafT], objects: Iterable[tuple[Shape, LeafT]]) -> None:
        """Raises TangledError when the automaton would grow too large."""
        objects = list(objects)
        self._branches: dict[Shape, set[str | Wild | None]] = {}
        """What follows each beginning of a template; None: one ends there."""
        for shape in (*routes, *(shape for shape, _ in objects)):
            for size in range(len(shape) + 1):
                follows = shape[size] if size < len(shape) else None
                self._branches.setdefault(shape[:size], set()).add(follows)
        longer = {folded[:size] for folded in map(fold_shape, routes) for size in _literal_prefixes(folded)}
        self._fixed: dict[Shape, list[Twin[LeafT]]] = {}
        self._closed: dict[Shape, list[Twin[LeafT]]] = {}
        wild: list[Twin[LeafT]] = []
        for shape, leaf in (*routes.items(), *objects):
            folded = fold_shape(shape)
            if any(isinstance(segment, Wild) for segment in folded):
                wild.append((shape, leaf))
                continue
            self._fixed.setdefault(folded, []).append((shape, leaf))
            if folded and folded not in longer:
                self._closed.setdefault(folded, []).append((shape, leaf))
        self._depths = tuple(sorted({len(folded) for folded in self._closed}))
        self._root = _compile(_trie(wild))

    def guards(self, matched: Shape) -> bool:
        """Whether any template or object is more specific than this one: if not, it never has a twin."""
        return any(
            any(follows is not segment and follows is not Wild.REST for follows in self._branches[matched[:size]])
            for size, segment in enumerate(matched)
            if isinstance(segment, Wild)
        )

    def twins(self, segments: list[str], matched: Shape) -> list[LeafT]:
        """Give what is more specific than the matched template and would match as well if both were folded."""
        path = "/".join(segments)
        plain = path.isascii() and path == path.lower() and _TRAILING.search(path) is None
        key = tuple(segments if plain else fold_path(segments))
        found = [*self._fixed.get(key, ())]
        for depth in self._depths:
            if depth >= len(key):
                break
            found += self._closed.get(key[:depth], ())
        state: _State[LeafT] | None = self._root
        for segment in key:
            if state is None or state.sink:
                break
            state = state.literals.get(segment, state.default)
        if state is not None:
            found += state.found
        return [leaf for shape, leaf in found if shape is not matched and narrower(shape, matched)]


def _literal_prefixes(folded: Shape) -> range:
    """The lengths of the proper prefixes of a shape that have literals only."""
    literals = next((n for n, segment in enumerate(folded) if isinstance(segment, Wild)), len(folded) - 1)
    return range(1, literals + 1)


def _trie(twins: Iterable[Twin[LeafT]]) -> _Node[LeafT]:
    root: _Node[LeafT] = _Node(anchored=False)
    for twin in twins:
        node = root
        for segment in fold_shape(twin[0]):
            if segment is Wild.REST:
                node.rest = node.rest or _End()
                node.rest.twins.append(twin)
                break
            if segment is Wild.PARAM:
                node.param = node = node.param or _Node(anchored=node.anchored)
            else:
                node = node.literals.setdefault(str(segment), _Node(anchored=True))
        else:
            node.ends.append(twin)
    return root


def _compile(root: _Node[LeafT]) -> _State[LeafT]:
    start: _Branches[LeafT] = (root,)
    states: dict[_Branches[LeafT], _State[LeafT]] = {start: _State()}
    waiting = [start]
    transitions = 0
    while waiting:
        branches = waiting.pop()
        state = states[branches]
        state.found = tuple(_found(branches))
        state.sink = all(isinstance(branch, _End) for branch in branches)
        if state.sink:
            continue
        names = {name for branch in branches if isinstance(branch, _Node) for name in branch.literals}
        transitions += len(names) + 1
        if transitions > MAX_TRANSITIONS:
            raise TangledError(f"over {MAX_TRANSITIONS} steps")
        for name in (*names, None):
            after = _step(branches, name)
            if after and after not in states:
                states[after] = _State()
                waiting.append(after)
            target = states[after] if after else None
            if name is None:
                state.default = target
            else:
                state.literals[name] = target
    return states[start]


def _found(branches: _Branches[LeafT]) -> Iterator[Twin[LeafT]]:
    for branch in branches:
        if isinstance(branch, _End):
            yield from branch.twins
            continue
        yield from branch.ends
        if branch.rest is not None and branch.anchored:
            yield from branch.rest.twins


def _step(branches: _Branches[LeafT], name: str | None) -> _Branches[LeafT]:
    after: list[_Node[LeafT] | _End[LeafT]] = []
    for branch in branches:
        if isinstance(branch, _End):
            after.append(branch)
            continue
        if name is not None and name in branch.literals:
            after.append(branch.literals[name])
        if branch.param is not None:
            after.append(branch.param)
        if branch.rest is not None:
            after.append(branch.rest)
    return tuple(after)
