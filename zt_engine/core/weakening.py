"""What a new policy gives up that the old one held: two catalogues, two trust models, two data documents compared.

Whatever has no direction that can be read off (an attribute that rules look at, a network that moved) counts as given
up: two people look at it rather than none. Decisions themselves are compared by `bootstrap.weakening`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from zt_engine.core.bundle_hash import Json
from zt_engine.core.catalogue import Catalogue, Resource
from zt_engine.core.classification import Label, Scheme, join
from zt_engine.core.errors import InputError
from zt_engine.core.route_matcher import Shape, Wild, crossings, meet
from zt_engine.core.trust_model import TrustModel

MAX_CROSSINGS: Final = 10_000
PROBE: Final = "zt-probe"
"""Stands for whatever a parameter or wildcard matches: no catalogue writes such a segment down."""
_LOWER_IS_STRICTER: Final = frozenset({"penalties", "penalty_cap"})
_PLACES: Final = frozenset({"networks", "windows"})
_WEIGHTS: Final = ("weight",)
_REQUIRED: Final = frozenset({"reads", "writes", "obligations", "unmanaged"})
"""Lists of data whose every entry asks for something."""
_EXCEPTED: Final = frozenset({"waivable", "exceptions", "exempt", "open_to"})
"""Lists of data whose every entry lets something through."""


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
    """Yield thresholds that fell, requirements that left a list, exceptions that joined one."""
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
    paths = dict.fromkeys(_path(shape) for shape in _shapes(rule.template.shape for rule in rules))
    for catalogue in (before, after):
        for item in catalogue.objects:
            if host in catalogue.services[item.service].hosts:
                paths[item.path] = None
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


def _shapes(written: Iterable[Shape]) -> set[Shape]:
    """Every shape that is written, and where two of them meet: there one may have given way to the other."""
    shapes = set(written)
    met = (meet(a, b) for a, b in islice(crossings(shapes), MAX_CROSSINGS))
    return shapes | {shape for shape in met if shape is not None}


def _path(shape: Shape) -> str:
    spelled = {Wild.PARAM: PROBE, Wild.REST: f"{PROBE}/{PROBE}"}
    return "/" + "/".join(spelled[part] if isinstance(part, Wild) else quote(part, safe="") for part in shape)


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
    if old == new:
        return
    where, name = ".".join(("data", *path)), path[-1] if path else ""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _data(old.get(key), new.get(key), (*path, key))
    elif "threshold" in name:
        if not (_is_figure(old) and _is_figure(new)) or float(str(new)) < float(str(old)):
            yield _changed("WEAKENS_THRESHOLD", where, old, new)
    elif name in _REQUIRED:
        if _entries(old) - _entries(new):
            yield _changed("WEAKENS_REQUIREMENT", where, old, new)
    elif name in _EXCEPTED:
        if _entries(new) - _entries(old):
            yield _changed("WEAKENS_EXCEPTION", where, old, new)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _data(one, other, (*path, str(place)))


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
