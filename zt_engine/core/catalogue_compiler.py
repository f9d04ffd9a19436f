"""From the rules people wrote to the catalogue that answers requests, with every contradiction between them named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from zt_engine.core.catalogue import (
    READ_METHODS,
    Attribute,
    Catalogue,
    Entry,
    HostRoutes,
    Leaf,
    ObjectRule,
    Parts,
    Resource,
    Rule,
    Service,
    alike,
    fill,
    observed,
    with_compartments,
)
from zt_engine.core.classification import Label, Scheme, join
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.route_guard import Guard
from zt_engine.core.route_matcher import (
    MAX_TRANSITIONS,
    Shape,
    State,
    TangledError,
    Wild,
    compile_templates,
    crossings,
    decode_path,
    meet,
    walk,
)
from zt_engine.core.route_tables import tabulate

MAX_ROUTES = 20_000
MAX_OBJECTS = 50_000
MAX_PROBLEMS = 100
"""Enough for a person; a file that is wrong everywhere is not listed line by line."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def compile_catalogue(
    *,
    scheme: Scheme,
    services: Sequence[Service],
    rules: Sequence[Rule],
    objects: Sequence[ObjectRule],
    digest: str,
    version: str,
) -> Catalogue:
    """Compile, or raise ConfigError with every contradiction: labels above a ceiling, ambiguous rules, lost objects."""
    problems: list[Problem] = []
    by_id = {service.id: service for service in services}
    _check_sizes(rules, objects, problems)
    _check_ceilings(rules, objects, by_id, scheme, problems)
    entries = _entries(rules, objects, services, scheme, problems)
    hosts = _hosts(entries, rules, objects, services, problems)
    if problems:
        raise ConfigError(tuple(problems[:MAX_PROBLEMS]))
    return Catalogue(
        digest=digest,
        version=version,
        scheme=scheme,
        services=by_id,
        rules=tuple(rules),
        objects=tuple(objects),
        hosts=hosts,
    )


def _check_sizes(rules: Sequence[Rule], objects: Sequence[ObjectRule], problems: list[Problem]) -> None:
    for kind, count, limit in (("routes", len(rules), MAX_ROUTES), ("objects", len(objects), MAX_OBJECTS)):
        if count > limit:
            text = f"{count} {kind}; a catalogue has at most {limit}"
            hint = "split the site, or use wider routes"
            problems.append(Problem(code="CATALOGUE_TOO_LARGE", message=text, hint=hint))


def _check_ceilings(
    rules: Iterable[Rule],
    objects: Iterable[ObjectRule],
    services: Mapping[str, Service],
    scheme: Scheme,
    problems: list[Problem],
) -> None:
    """A ceiling holds in both directions: nothing above it may be read from, or written to, its service."""
    names = {level.rank: level.code for level in scheme.levels.values()}
    found = [(rule.service, f"route `{rule.template.text}`", rule.label, rule.ceiling, rule.where) for rule in rules]
    for item in objects:
        found.append((item.service, f"object `{item.path}`", item.label, services[item.service].ceiling, item.where))
    for service, what, label, ceiling, where in found:
        if label.rank > ceiling:
            problems.append(
                Problem(
                    code="CATALOGUE_CEILING",
                    message=f"{what} of `{service}` is {label.code}, above the service's ceiling {names[ceiling]}",
                    where=where,
                    hint="raise the ceiling with the owner's consent, or keep this data out of the service",
                )
            )


def _entries(
    rules: Sequence[Rule],
    objects: Sequence[ObjectRule],
    services: Sequence[Service],
    scheme: Scheme,
    problems: list[Problem],
) -> list[Mapping[str, Entry]]:
    strictest = _service_maxima(rules, objects, services, scheme)
    share = _Shared()
    return [_rule_entries(rule, strictest.get(rule.service), share, problems) for rule in rules]


class _Shared:
    """Equal parts of entries, held once: ten thousand routes capture the same few ways, and what is the same for all
    of them stays in the processor's cache.
    """

    def __init__(self) -> None:
        self._labels: dict[Label, Label] = {}
        self._captures: dict[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]] = {}
        self._parts: dict[tuple[Parts, ...], tuple[Parts, ...]] = {}
        self._routes: dict[str, str] = {}
        self._nothing: Mapping[str, Attribute] = {}

    def route(self, text: str) -> str:
        return self._routes.setdefault(text, text)

    def label(self, label: Label) -> Label:
        return self._labels.setdefault(label, label)

    def captures(self, captures: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
        return self._captures.setdefault(captures, captures)

    def parts(self, parts: tuple[Parts, ...]) -> tuple[Parts, ...]:
        return self._parts.setdefault(parts, parts)

    def attributes(self, attributes: Mapping[str, Attribute]) -> Mapping[str, Attribute]:
        return attributes or self._nothing


def _service_maxima(
    rules: Iterable[Rule], objects: Iterable[ObjectRule], services: Iterable[Service], scheme: Scheme
) -> dict[str, Label]:
    """The strictest label of each service: its ceiling's rank, joined with everything its routes and objects say.

    Declassification is dropped, since not all of the service falls with it. Where routes capture compartments, the
    whole service needs `kind:*` of each, which only somebody who was given exactly that holds.
    """
    codes = {level.rank: level.code for level in scheme.levels.values()}
    maxima = {
        service.id: Label(scheme=scheme.id, code=codes[service.ceiling], rank=service.ceiling) for service in services
    }
    for rule in rules:
        everything = [_PLACEHOLDER.sub("*", name) for name in rule.compartments]
        maxima[rule.service] = join(maxima[rule.service], with_compartments(rule.label, everything))
    for item in objects:
        maxima[item.service] = join(maxima[item.service], item.label)
    return maxima


def _rule_entries(rule: Rule, strictest: Label | None, share: _Shared, problems: list[Problem]) -> Mapping[str, Entry]:
    label = join(rule.label, strictest) if rule.opaque and strictest is not None else rule.label
    if rule.opaque:
        label = replace(label, declassify=None)
    positions = {name: position for position, name in rule.template.captures}
    fixed, captured = [], []
    for name in rule.compartments:
        unknown = [field for field in _PLACEHOLDER.findall(name) if field not in positions]
        if unknown:
            text = f"compartment `{name}` names `{unknown[0]}`, which `{rule.template.text}` does not capture"
            problems.append(Problem(code="CATALOGUE_COMPARTMENT", message=text, where=rule.where))
        elif "{" in name:
            captured.append(_parts(name, positions))
        else:
            fixed.append(name)
    label = with_compartments(label, fixed) if fixed else label
    label, attributes = share.label(label), share.attributes(rule.attributes)
    names, parts = share.captures(rule.template.captures), share.parts(tuple(captured))
    wild = rule.template.shape if any(isinstance(segment, Wild) for segment in rule.template.shape) else None
    route = share.route(rule.template.text)
    return {
        method: Entry(_resource(rule, route, label, attributes, method), names, parts, wild) for method in rule.methods
    }


def _parts(name: str, positions: Mapping[str, int]) -> Parts:
    pieces = _PLACEHOLDER.split(name)
    text = "%s".join(piece.replace("%", "%%") for piece in pieces[::2])
    return text, tuple(positions[field] for field in pieces[1::2])


def _resource(rule: Rule, route: str, label: Label, attributes: Mapping[str, Attribute], method: str) -> Resource:
    return Resource(
        service=rule.service,
        route=route,
        params={},
        label=label,
        write=method not in READ_METHODS if rule.write is None else rule.write,
        channels=rule.channels,
        ceiling=rule.ceiling,
        state=rule.state,
        attributes=attributes,
        enforces=rule.enforces,
        observe=observed(rule.observe, label),
        assertion=rule.assertion,
        action=rule.action,
    )


def _hosts(
    entries: Sequence[Mapping[str, Entry]],
    rules: Sequence[Rule],
    objects: Sequence[ObjectRule],
    services: Sequence[Service],
    problems: list[Problem],
) -> dict[str, HostRoutes]:
    """Compile the routes of each set of services that share a host, once, and find their objects."""
    sharing: dict[str, tuple[str, ...]] = {}
    for service in services:
        for host in service.hosts:
            sharing[host] = (*sharing.get(host, ()), service.id)
    rules_of: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        rules_of.setdefault(rule.service, []).append(number)
    objects_of: dict[str, list[ObjectRule]] = {}
    for item in objects:
        objects_of.setdefault(item.service, []).append(item)
    compiled: dict[tuple[str, ...], HostRoutes] = {}
    known: dict[object, object] = {}
    for together in dict.fromkeys(sharing.values()):
        numbers = [number for service in together for number in rules_of.get(service, ())]
        routes = _host(
            [rules[number] for number in numbers],
            [entries[number] for number in numbers],
            [item for service in together for item in objects_of.get(service, ())],
            known,
            problems,
        )
        if routes is not None:
            compiled[together] = routes
    return {host: compiled[together] for host, together in sharing.items() if together in compiled}


def _host(
    rules: Sequence[Rule],
    entries: Sequence[Mapping[str, Entry]],
    objects: Sequence[ObjectRule],
    known: dict[object, object],
    problems: list[Problem],
) -> HostRoutes | None:
    leaves: dict[Shape, dict[str, Entry]] = {}
    written: dict[Shape, dict[str, Rule]] = {}
    for rule, methods in zip(rules, entries, strict=True):
        leaf = leaves.setdefault(rule.template.shape, {})
        for method, entry in methods.items():
            if method in leaf:
                problems.append(_ambiguous(rule, written[rule.template.shape][method], method))
                continue
            leaf[method] = entry
            written.setdefault(rule.template.shape, {})[method] = rule
    try:
        _check_crossings(written, problems)
        root: State[Leaf] = compile_templates(leaves)
        found = _objects(root, objects, problems)
        guard = _guard(leaves, found)
        for shape, leaf in leaves.items():
            if guard is None or not guard.guards(shape):
                leaf.update({method: replace(entry, wild=None) for method, entry in leaf.items() if entry.wild})
        return HostRoutes(root, found, guard, tabulate(leaves, known))
    except TangledError as error:
        text = f"the templates of `{rules[0].service}` overlap too much: {error}"
        hint = "begin its routes with literals, or give its parts hosts of their own"
        problems.append(Problem(code="CATALOGUE_TANGLED", message=text, where=rules[0].where, hint=hint))
        return None


def _guard(routes: Mapping[Shape, Leaf], objects: Mapping[str, Leaf]) -> Guard[Leaf] | None:
    """Nothing is to be guarded where nothing but what was written down is matched, or where all is protected alike."""
    leaves = [*routes.values(), *objects.values()]
    if not any(isinstance(segment, Wild) for shape in routes for segment in shape):
        return None
    if all(leaf.keys() == leaves[0].keys() and all(alike(leaf[m], leaves[0][m]) for m in leaf) for leaf in leaves):
        return None
    return Guard(routes, ((tuple(path[1:].split("/")), leaf) for path, leaf in objects.items()))


def _check_crossings(written: Mapping[Shape, Mapping[str, Rule]], problems: list[Problem]) -> None:
    pairs = list(islice(crossings(written), MAX_TRANSITIONS))
    if len(pairs) == MAX_TRANSITIONS:
        raise TangledError(f"over {MAX_TRANSITIONS} overlapping pairs")
    for a, b in pairs:
        if meet(a, b) in written:
            continue
        for method in written[a].keys() & written[b].keys():
            one, other = written[a][method], written[b][method]
            if _meaning(one) != _meaning(other):
                problems.append(_ambiguous(one, other, method))
                break


def _meaning(rule: Rule) -> tuple[object, ...]:
    """What a decision may depend on; where the captured names stand counts as soon as a compartment uses them."""
    captures = rule.template.captures if any("{" in name for name in rule.compartments) else ()
    return (
        *(rule.service, rule.label, rule.channels, rule.ceiling, rule.compartments, captures, rule.write, rule.opaque),
        *(rule.state, rule.attributes, rule.enforces, rule.observe, rule.assertion, rule.action),
    )


def _ambiguous(rule: Rule, other: Rule, method: str) -> Problem:
    """Name both rules, the later one first, since that is where somebody is writing."""
    one, two = _describe(rule), _describe(other)
    return Problem(
        code="CATALOGUE_AMBIGUOUS",
        message=f"{one} and {two} ({other.where}) match the same {method} request and neither is more specific",
        where=rule.where,
        hint="keep one of them, or add a route for exactly the paths they share",
    )


def _describe(rule: Rule) -> str:
    return f"`{rule.service}` `{rule.template.text}` ({rule.label.code})"


def _objects(root: State[Leaf], objects: Sequence[ObjectRule], problems: list[Problem]) -> dict[str, Leaf]:
    """Resolve each object's route now: what it captures is known, so its label is complete before any request."""
    found: dict[str, Leaf] = {}
    for item in objects:
        segments = decode_path(item.path)
        leaf = None if segments is None else walk(root, segments)
        entries = {} if leaf is None else {m: e for m, e in leaf.items() if e.resource.service == item.service}
        if segments is None or not entries:
            text = f"object `{item.path}` lies on no route of `{item.service}`"
            problems.append(Problem(code="CATALOGUE_OBJECT", message=text, where=item.where, hint="correct its path"))
            continue
        plain = "/" + "/".join(segments)
        if plain in found:
            text = f"object `{item.path}` of `{item.service}` is listed twice"
            problems.append(Problem(code="CATALOGUE_DUPLICATE", message=text, where=item.where, hint="keep one"))
            continue
        found[plain] = {method: _with_object(entry, segments, item.label) for method, entry in entries.items()}
    return found


def _with_object(entry: Entry, segments: list[str], label: Label) -> Entry:
    resource = fill(entry, segments)
    raised = join(resource.label, label)
    return Entry(replace(resource, label=raised, observe=observed(resource.observe, raised)), (), ())
