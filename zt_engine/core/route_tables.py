"""The usual match in one or two lookups: a table for each way in which a host's templates place their literals.

The automaton of `core.route_matcher` visits a state for each segment, and among ten thousand routes nearly every visit
waits for the memory. But templates place their literals in few ways only: `/area/items/{item}` and `/area/users/{user}`
both have them first and second. All templates of one such *mask* are one dictionary, by their literals (tuple space
search). Where two templates of different masks match one path, the first difference between them is the first
difference between the masks; so the masks are asked in the order literal, `{name}`, `*`, and the first one that knows
the path has the most specific template.

What is not found here is looked for by the automaton, which knows everything: a path with a slash at its end, a method
that the route does not list, a number of segments for which templates have many masks. So a match costs a bounded
number of lookups, and then at most the automaton's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, Generic, TypeVar, cast

from msgspec import Struct

from zt_engine.core.route_matcher import Shape, Wild

MOST_MASKS = 4
"""How many masks may be asked for one number of segments; where there are more, the automaton is asked at once."""

EntryT = TypeVar("EntryT")

_Mask = tuple[int, ...]
_Literals = Callable[[Sequence[object]], object]
_Table = Mapping[object, "EntryT | None"]
_Tables = tuple["_Table[EntryT]", tuple[tuple[_Literals, "_Table[EntryT]"], ...]]
"""First the templates of literals only, by their path; then each mask's, by their literals, the most specific first."""
_Known = dict[object, object]
_ORDER: Final = {Wild.PARAM: 1, Wild.REST: 2}
_ABSENT: Final = object()
_EMPTY: Final[Mapping[object, None]] = {}


class MethodTables(Struct, Generic[EntryT], frozen=True):
    """The templates of one host for one method; a template that does not list the method stands here as None."""

    sizes: Mapping[int, _Tables[EntryT]]
    """By the number of a path's segments."""
    deep: _Tables[EntryT]
    """For any larger number of segments."""

    def find(self, path: str, segments: list[str]) -> EntryT | None:
        """Find what the most specific template leads to; None: ask the automaton.

        `path` is the joined segments, of which none but the last is empty.
        """
        exact, probes = self.sizes.get(len(segments), self.deep)
        found = exact.get(path, _ABSENT)
        if found is _ABSENT and path[-1] != "/":
            for literals, table in probes:
                found = table.get(literals(segments), _ABSENT)
                if found is not _ABSENT:
                    break
        return None if found is _ABSENT else cast("EntryT | None", found)


def tabulate(leaves: Mapping[Shape, Mapping[str, EntryT]], known: _Known) -> dict[str, MethodTables[EntryT]]:
    """Make the tables of one host, by method, for templates of distinct shapes.

    `known` holds what equals among the keys of all hosts once, so that more of it stays in the processor's cache.
    """
    shapes: dict[_Mask, list[Shape]] = {}
    for shape in leaves:
        shapes.setdefault(_mask(shape), []).append(shape)
    wild = sorted(mask for mask in shapes if any(mask))
    deepest = max(map(len, shapes), default=0)
    asked = [_asked(wild, size) for size in range(1, deepest + 2)]
    literals = {mask: _literals(mask) for mask in {mask for masks in asked for mask in masks}}
    keys = {
        mask: [(_held(take(shape), known), leaves[shape]) for shape in shapes[mask]] for mask, take in literals.items()
    }
    found = {}
    for method in {method for leaf in leaves.values() for method in leaf}:
        tables = {mask: {key: leaf.get(method) for key, leaf in listed} for mask, listed in keys.items()}
        sizes: list[_Tables[EntryT]] = []
        for size, masks in enumerate(asked, start=1):
            plain = shapes.get((0,) * size, ())
            exact: dict[object, EntryT | None] = {
                f"/{'/'.join(map(str, shape))}": leaves[shape].get(method) for shape in plain
            }
            sizes.append((exact or _EMPTY, tuple([(literals[mask], tables[mask]) for mask in masks])))
        found[method] = MethodTables(dict(enumerate(sizes[:-1], start=1)), sizes[-1])
    return found


def _held(key: object, known: _Known) -> object:
    """Return the one that equals a key, of parts that are each held once as well."""
    found = known.get(key)
    if found is None:
        found = tuple([known.setdefault(part, part) for part in key]) if isinstance(key, tuple) else key
        known[found] = found
    return found


def _mask(shape: Shape) -> _Mask:
    return tuple([_ORDER.get(segment, 0) if isinstance(segment, Wild) else 0 for segment in shape])


def _asked(masks: Iterable[_Mask], size: int) -> tuple[_Mask, ...]:
    """The masks that match paths of so many segments, in the order given; none where they are too many."""
    found = [mask for mask in masks if len(mask) == size or (len(mask) < size and mask[-1] == _ORDER[Wild.REST])]
    return tuple(found) if len(found) <= MOST_MASKS else ()


def _literals(mask: _Mask) -> _Literals:
    """Return what takes the literals of a mask from a path's segments."""
    positions = [position for position, kind in enumerate(mask) if kind == 0]
    return itemgetter(*positions) if positions else _nothing


def _nothing(_: Sequence[object]) -> object:
    return ()
