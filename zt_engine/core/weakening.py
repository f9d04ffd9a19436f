"""What a new policy gives up that the old one held: two catalogues, two trust models, two data documents compared.

Whatever has no direction that can be read off (an attribute that rules look at, a network that moved) counts as given
up: two people look at it rather than none. Decisions themselves are compared by `bootstrap.weakening`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from zt_engine.core.bundle_hash import Json
from zt_engine.core.catalogue import Catalogue, Resource
from zt_engine.core.classification import Label, Scheme, join
from zt_engine.core.errors import InputError
from zt_engine.core.route_matcher import Shape, TangledError, Wild, crossings, meet
from zt_engine.core.trust_model import TrustModel

MAX_CROSSINGS: Final = 10_000
PROBE: Final = "zt-probe"
"""Stands for whatever a parameter or wildcard matches; longer where a catalogue writes such a segment down."""
_LOWER_IS_STRICTER: Final = frozenset({"penalties", "penalty_cap"})
_PLACES: Final = frozenset({"networks", "windows"})
_WEIGHTS: Final = ("weight",)
_REQUIRED: Final = frozenset({"reads", "writes", "obligations", "unmanaged"})
"""Lists of data whose every entry asks for something."""
_EXCEPTED: Final = frozenset({"waivable", "exceptions", "exempt", "open_to"})
"""Lists of data whose every entry lets something through."""
_LOWERED: Final = frozenset({"report_age", "ceiling", "waiver_ceiling"})
"""Figures of data that ask for more the lower they are."""


class Weakening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that was stricter before: `where` names route, factor or scenario, the others what it was and is."""

    code: str
    where: str
    before: str
    after: str


def weakened_catalogue(before: Catalogue, after: Catalogue) -> Iterator[Weakening]:
    """Yield what the new catalogue protects less: scheme, ceilings, and every path as a request would find it."""
    yield from _scheme(before.scheme, after.scheme)
    for name, service in sorted(after.services.items()):
        old = before.services.get(name)
        if old is None:
            continue
        if old.ceiling != service.ceiling:
            # Raised, more may be kept there; lowered, what reaches all of the service is labelled lower.
            yield _changed("WEAKENS_CEILING", name, old.ceiling, service.ceiling)
    for host in sorted(before.hosts.keys() | after.hosts.keys()):
        yield from _host(before, after, host)


def weakened_trust(before: TrustModel, after: TrustModel) -> Iterator[Weakening]:
    """Yield every number of the trust model that lifts a score, every weight that fell, every place that moved."""
    old, new = (_plain(model) for model in (before, after))
    yield from _numbers(old, new, ())


def weakened_data(before: Json, after: Json) -> Iterator[Weakening]:
    """Yield thresholds that fell, requirements that left a list, and everything else that does not plainly tighten."""
    yield from _data(before, after, ())


def is_weaker(before: Label, after: Label) -> bool:
    """Whether somebody may read what has the new label and might not read what had the old one."""
    if before.scheme != after.scheme:
        return True
    both = join(before, after)
    calm = {"code": "", "review_at": None, "max_until": None}
    return replace(both, **calm) != replace(after, **calm)


def _scheme(before: Scheme, after: Scheme) -> Iterator[Weakening]:
    if before.id != after.id:
        yield _changed("WEAKENS_SCHEME", "scheme", before.id, after.id)
    old, new = before.ranks(), after.ranks()
    for code in sorted(old.keys() & new.keys()):
        if old[code] != new[code]:
            yield _changed("WEAKENS_SCHEME", f"labels.{code}", old[code], new[code])
    for foreign, ours in sorted(after.maps.items()):
        known = before.maps.get(foreign)
        if known is None or new.get(ours, 0) < old.get(known, 0):
            yield _changed("WEAKENS_SCHEME", f"maps.{foreign}", known or "-", ours)


def _host(before: Catalogue, after: Catalogue, host: str) -> Iterator[Weakening]:
    rules = [
        rule
        for catalogue in (before, after)
        for rule in catalogue.rules
        if host in catalogue.services[rule.service].hosts
    ]
    if not rules:
        return
    methods = sorted({method for rule in rules for method in rule.methods})
    shapes = {rule.template.shape for rule in rules}
    try:
        met = list(islice(crossings(shapes), MAX_CROSSINGS + 1))
    except TangledError:
        met = []
        yield _changed("WEAKENS_UNKNOWN", host, "routes", "-")
    if len(met) > MAX_CROSSINGS:
        yield _changed("WEAKENS_UNKNOWN", host, "routes", MAX_CROSSINGS)
        met.pop()
    # Where two of them meet, one may have given way to the other.
    shapes |= {shape for shape in (meet(a, b) for a, b in met) if shape is not None}
    found = [
        item.path
        for catalogue in (before, after)
        for item in catalogue.objects
        if host in catalogue.services[item.service].hosts
    ]
    probe = _probe(shapes, found)
    longest = max(map(len, shapes))
    paths = dict.fromkeys(path for shape in shapes for path in _paths(shape, probe, longest))
    paths |= dict.fromkeys(found)
    for path in sorted(paths):
        for method in methods:
            new = _found(after, host, method, path)
            if new is None:
                continue
            where = f"{method} {host}{path}"
            old = _found(before, host, method, path)
            if old is None:
                yield _changed("WEAKENS_ROUTE", where, "-", f"{new.service} {new.label.code}")
            elif old != new:
                yield from _resource(where, old, new)


def _probe(shapes: Iterable[Shape], objects: Iterable[str]) -> str:
    """Return a segment that no template and no object of a host writes down, so that only wildcards match it."""
    written = {part for shape in shapes for part in shape if isinstance(part, str)}
    written |= {part for path in objects for part in path.split("/")}
    probe = PROBE
    while any(probe in part for part in written):
        probe += "-"
    return probe


def _paths(shape: Shape, probe: str, longest: int) -> Iterator[str]:
    """Yield a path of a shape; of one that ends in `*` one of every length, since narrower ones take some of them."""
    fixed = [probe if isinstance(part, Wild) else quote(part, safe="") for part in shape]
    if shape[-1] is not Wild.REST:
        yield "/" + "/".join(fixed)
        return
    for more in range(max(1, longest - len(shape) + 2)):
        front = [*fixed[:-1], *[probe] * more]
        yield "/" + "/".join([*front, probe])
        yield "/" + "/".join([*front, ""])


def _found(catalogue: Catalogue, host: str, method: str, path: str) -> Resource | None:
    try:
        return catalogue.match(host, method, path)
    except InputError:
        return None


def _resource(where: str, old: Resource, new: Resource) -> Iterator[Weakening]:
    if is_weaker(old.label, new.label):
        yield _changed("WEAKENS_LABEL", where, _label(old.label), _label(new.label))
    if old.service != new.service:
        yield _changed("WEAKENS_ROUTE", where, old.service, new.service)
    if set(new.channels) - set(old.channels):
        yield _changed("WEAKENS_CHANNEL", where, old.channels, new.channels)
    if _observes_more(old, new):
        yield _changed("WEAKENS_OBSERVE", where, old.observe, new.observe)
    if set(new.enforces) - set(old.enforces) or (old.assertion and not new.assertion) or (old.write and not new.write):
        yield _changed("WEAKENS_ENFORCEMENT", where, _enforced(old), _enforced(new))
    if (old.attributes, old.state, old.action) != (new.attributes, new.state, new.action):
        yield _changed("WEAKENS_ATTRIBUTE", where, _described(old), _described(new))


def _observes_more(old: Resource, new: Resource) -> bool:
    if new.observe is None:
        return False
    if old.observe is None or new.observe.until > old.observe.until:
        return True
    # No codes are all codes.
    return bool(old.observe.codes) and (not new.observe.codes or bool(set(new.observe.codes) - set(old.observe.codes)))


def _enforced(resource: Resource) -> Mapping[str, object]:
    return {"enforces": resource.enforces, "assertion": resource.assertion, "write": resource.write}


def _described(resource: Resource) -> Mapping[str, object]:
    return {"attributes": resource.attributes, "state": resource.state, "action": resource.action}


def _label(label: Label) -> Mapping[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(label)
    return {name: value for name, value in plain.items() if value not in (None, [], ())}


def _plain(value: object) -> object:
    """The model with factors and parts by name instead of by place, so that one more of them moves no other."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, frozenset | set):
        return tuple(sorted(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_plain(item) for item in value]
        key = next(
            (one for one in ("name", "fact") if all(isinstance(item, dict) and one in item for item in items)), ""
        )
        if items and key:
            return {str(item[key]): item for item in items if isinstance(item, dict)}
        return tuple(items)
    return value


def _numbers(old: object, new: object, path: tuple[str, ...]) -> Iterator[Weakening]:
    if old == new:
        return
    where = ".".join(("trust", *path))
    if path and path[0] in _PLACES:
        yield _changed("WEAKENS_TRUST", where, old, new)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*map(str, old), *map(str, new)}):
            yield from _numbers(_member(old, name), _member(new, name), (*path, name))
    elif _is_number(old) and _is_number(new):
        falls = path[0] in _LOWER_IS_STRICTER or path[-1].endswith(_WEIGHTS) or _is_weight(path)
        if (new < old) if falls else (new > old):  # type: ignore[operator]
            yield _changed("WEAKENS_TRUST", where, old, new)
    elif not (path[0] in _LOWER_IS_STRICTER and old is None):
        yield _changed("WEAKENS_TRUST", where, old, new)


def _is_weight(path: tuple[str, ...]) -> bool:
    """A factor of subject or context is its weight; what its values are worth stands apart."""
    return (
        path[0] in ("subject", "context") and len(path) == 2 and path[1] not in ("proofing_other", "inside", "outside")
    )


def _member(mapping: Mapping[object, object], name: str) -> object:
    return next((value for key, value in mapping.items() if str(key) == name), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _data(old: object, new: object, path: tuple[str, ...]) -> Iterator[Weakening]:
    where, name = ".".join(("data", *path)), path[-1] if path else ""
    if _same_kind(old, new, Mapping):
        known, now = _mapping(old), _mapping(new)
        if not known and not now and old != new:
            yield _changed("WEAKENS_ATTRIBUTE", where, old, new)
        for key in sorted(known.keys() | now.keys()):
            yield from _data(known.get(key), now.get(key), (*path, key))
    elif any("threshold" in part for part in path) and not isinstance(old or new, list):
        if not (_same(old, new) or (_is_figure(old) and _is_figure(new) and float(str(new)) >= float(str(old)))):
            yield _changed("WEAKENS_THRESHOLD", where, old, new)
    elif name in _REQUIRED and _same_kind(old, new, list):
        if _entries(old) - _entries(new):
            yield _changed("WEAKENS_REQUIREMENT", where, old, new)
    elif name in _EXCEPTED and _same_kind(old, new, list):
        if _entries(new) - _entries(old):
            yield _changed("WEAKENS_EXCEPTION", where, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        for place, (one, other) in enumerate(zip_longest(old, new)):
            yield from _data(one, other, (*path, str(place)))
    elif not _tightens(name, old, new):
        yield _changed("WEAKENS_ATTRIBUTE", where, old, new)


def _same_kind(old: object, new: object, kind: type) -> bool:
    """Whether both are of a kind, or the one is and the other is not there."""
    present = [value for value in (old, new) if value is not None]
    return bool(present) and all(isinstance(value, kind) for value in present)


def _same(old: object, new: object) -> bool:
    return type(old) is type(new) and old == new


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _tightens(name: str, old: object, new: object) -> bool:
    """Whether a value is as it was, or plainly asks for more."""
    if _same(old, new):
        return True
    if name in _LOWERED:
        return _is_figure(old) and _is_figure(new) and float(str(new)) <= float(str(old))
    return name == "byod" and old is True and new is False


def _entries(value: object) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list | tuple) else set()


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _changed(code: str, where: str, before: object, after: object) -> Weakening:
    return Weakening(code=code, where=where, before=_said(before), after=_said(after))


def _said(value: object) -> str:
    """A value as a person reads it, cut where nobody would read on."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
    return text if len(text) <= 400 else f"{text[:399]}…"
