"""Which service, route and label a request concerns: the compiled catalogue.

`Catalogue.match` costs a few dictionary lookups (`core.route_tables`), or one for each path segment, whatever the
number of routes. The most specific template decides alone (`core.route_matcher` says what that means): a method that it
does not list is unknown, never the business of a wider rule. Unknown is a refusal everywhere (`HOST_UNKNOWN`,
`ROUTE_UNKNOWN`, `METHOD_UNKNOWN`).

A path that only a wildcard matches is refused (`PATH_ALIASED`) when it is nearly the path of a narrower route or object
of the same host which means something else: by letter case, trailing slashes, dots or blanks, or by what follows
(`core.route_guard`). Whoever wants such a path served writes it down.

An object, given by its exact path, *raises* the label of its route (`join`) and never lowers it: lowering would need a
signature of its own, which this format does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from zt_engine.core.classification import RANK_C2, Label, Scheme, overdue
from zt_engine.core.errors import InputError
from zt_engine.core.route_guard import Guard
from zt_engine.core.route_matcher import Shape, State, Template, decode_segments, walk
from zt_engine.core.route_tables import MethodTables

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Attribute = bool | int | str | tuple[bool | int | str, ...]


class Observe(Struct, frozen=True, kw_only=True):
    """Onboarding: until then these unmet codes (all, when none is named) are recorded instead of enforced, up to C2."""

    until: int
    codes: tuple[str, ...] = ()


class Service(Struct, frozen=True, kw_only=True):
    """A system behind the proxy, with the owner who answers for its labels."""

    id: str
    title_ja: str
    title_en: str
    owner: str
    review_at: int
    hosts: tuple[str, ...]
    channels: tuple[str, ...]
    ceiling: int
    where: str = ""


class Rule(Struct, frozen=True, kw_only=True):
    """One route as its owner wrote it, with the service's defaults filled in and `where` it stands.

    `compartments` may name captured parameters (`case:{case_id}`). An `opaque` route (GraphQL, WebDAV, search) can
    reach everything in its service, so it carries the strictest label the service has.
    """

    service: str
    template: Template
    methods: tuple[str, ...]
    label: Label
    channels: tuple[str, ...]
    ceiling: int
    compartments: tuple[str, ...] = ()
    write: bool | None = None
    opaque: bool = False
    state: str | None = None
    attributes: Mapping[str, Attribute] = {}
    enforces: tuple[str, ...] = ()
    observe: Observe | None = None
    assertion: bool = False
    action: str = ""
    where: str = ""


class ObjectRule(Struct, frozen=True, kw_only=True):
    """One object, by the exact path of its service, and the label it adds to its route's."""

    service: str
    path: str
    label: Label
    where: str = ""


class Resource(Struct, frozen=True):
    """What a request concerns: the label has the objects and compartments joined in already."""

    service: str
    route: str
    params: dict[str, str]
    label: Label
    write: bool
    channels: tuple[str, ...]
    ceiling: int
    state: str | None
    attributes: Mapping[str, Attribute]
    enforces: tuple[str, ...]
    observe: Observe | None
    assertion: bool
    action: str


Parts = tuple[str, tuple[int, ...]]
"""A compartment's name with a place (`%s`) for each captured segment, and the positions of these segments."""


class Entry(Struct, frozen=True):
    """What a route and method lead to: `resource` is complete unless something is captured.

    `wild` is the route's shape if it has a wildcard, so that it matches paths that nobody wrote down, and something
    more specific beside it that such a path could nearly be.
    """

    resource: Resource
    captures: tuple[tuple[int, str], ...]
    compartments: tuple[Parts, ...]
    wild: Shape | None = None


Leaf = Mapping[str, Entry]
"""What stands at the end of a path: an entry for each method."""


class HostRoutes(Struct, frozen=True):
    """The routes of one host; `objects` come first and are found by their whole decoded path.

    `guard` is none where a host has no wildcard, or where all its routes mean the same. `tables`, by method, find what
    `root` finds, in fewer steps or not at all.
    """

    root: State[Leaf]
    objects: Mapping[str, Leaf]
    guard: Guard[Leaf] | None = None
    tables: Mapping[str, MethodTables[Entry]] = {}


class Catalogue(Struct, frozen=True, kw_only=True):
    """The compiled catalogue; `digest` names its exact text, `version` is what people call it."""

    digest: str
    version: str
    scheme: Scheme
    services: Mapping[str, Service]
    rules: tuple[Rule, ...]
    objects: tuple[ObjectRule, ...]
    hosts: Mapping[str, HostRoutes]

    def match(self, host: str, method: str, path: str) -> Resource:
        """Find what a canonical request concerns, or raise InputError: what nobody labelled is refused.

        `path` is the canonical, percent-encoded path (`core.request`); it is compared in decoded form, so that a
        literal is found however a client escapes it.
        """
        routes = self.hosts.get(host)
        if routes is None:
            raise InputError("HOST_UNKNOWN", "no service of the catalogue has this host")
        if "//" in path or path[:1] != "/" or not path.isascii():
            raise InputError("PATH_UNREADABLE", "the path is not canonical")
        if "%" in path:
            decoded = decode_segments(path)
            if decoded is None:
                raise InputError("PATH_UNREADABLE", "a path segment is not one clear UTF-8 name")
            segments = decoded
            path = "/" + "/".join(segments)
        else:
            segments = path[1:].split("/")
        tables = routes.tables.get(method)
        entry = None if tables is None or path in routes.objects else tables.find(path, segments)
        if entry is None:
            entry = _entry(routes, method, path, segments)
        if entry.wild is not None and routes.guard is not None:
            for twin in routes.guard.twins(segments, entry.wild):
                if not alike(twin.get(method), entry):
                    raise InputError("PATH_ALIASED", "the path is nearly that of a narrower route, and not that path")
        return fill(entry, segments) if entry.captures else entry.resource

    def tasks(self, *, now: float) -> Iterator[tuple[str, str, str]]:
        """Name what is overdue as (code, service, where); nothing of it changes a label (L6)."""
        for service in self.services.values():
            if now >= service.review_at:
                yield "LABEL_REVIEW_OVERDUE", service.id, service.where
        for rule in self.rules:
            yield from ((code, rule.service, rule.where) for code in overdue(rule.label, now=now))
        for item in self.objects:
            yield from ((code, item.service, item.where) for code in overdue(item.label, now=now))


def _entry(routes: HostRoutes, method: str, path: str, segments: list[str]) -> Entry:
    """Find what the tables do not know, or say why there is nothing."""
    leaf = routes.objects.get(path) or walk(routes.root, segments)
    if leaf is None:
        raise InputError("ROUTE_UNKNOWN", "no route of the catalogue has this path")
    entry = leaf.get(method)
    if entry is None:
        raise InputError("METHOD_UNKNOWN", "the most specific route for this path does not list this method")
    return entry


def alike(one: Entry | None, other: Entry | None) -> bool:
    """Whether two entries are protected alike, so that nobody gains by reaching one as the other."""
    if one is None or other is None:
        return one is other
    return one.compartments == other.compartments and _protection(one.resource) == _protection(other.resource)


def _protection(resource: Resource) -> tuple[object, ...]:
    """Everything of a resource but its route's name and parameters."""
    return (
        *(resource.label, resource.service, resource.write, resource.channels, resource.ceiling, resource.state),
        *(resource.attributes, resource.enforces, resource.observe, resource.assertion, resource.action),
    )


def fill(entry: Entry, segments: list[str]) -> Resource:
    """Give the resource with its captured parameters, and the compartments they name, filled in."""
    fixed = entry.resource
    label = fixed.label
    compartments = entry.compartments
    if len(compartments) == 1 and not label.compartments:
        label = replace(label, compartments=(spell(compartments[0], segments),))
    elif compartments:
        label = with_compartments(label, [spell(parts, segments) for parts in compartments])
    params = {}
    for position, name in entry.captures:  # and no comprehension, which costs a call
        params[name] = segments[position]
    return Resource(
        fixed.service,
        fixed.route,
        params,
        label,
        fixed.write,
        fixed.channels,
        fixed.ceiling,
        fixed.state,
        fixed.attributes,
        fixed.enforces,
        fixed.observe,
        fixed.assertion,
        fixed.action,
    )


def spell(parts: Parts, segments: list[str]) -> str:
    """Write out a compartment's name."""
    text, positions = parts
    if len(positions) == 1:
        return text % segments[positions[0]]
    return text % tuple([segments[position] for position in positions])


def with_compartments(label: Label, names: list[str]) -> Label:
    """Add compartments to a label, which is a join with them and so never looser."""
    together = sorted({*label.compartments, *names}) if label.compartments or len(names) > 1 else names
    return replace(label, compartments=tuple(together))


def observed(observe: Observe | None, label: Label) -> Observe | None:
    """Give the onboarding mode that applies to a label: none above C2, whatever its service says."""
    return observe if observe is not None and label.rank <= RANK_C2 else None
