"""The `pillars` of a trust file: factors, their weights, and what each value is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from device_inventory.facts import CATALOGUE, METHODS, FactKind, FreshnessRange, suggestion
from zt_engine.adapters.trust_yaml_reader import TrustReader
from zt_engine.adapters.yaml_strict import YamlMap, YamlNode
from zt_engine.core.trust_model import (
    ADDRESS_LIMIT,
    FULL,
    UNLISTED,
    ContextFactors,
    DeviceFactor,
    Part,
    SubjectFactors,
)

MAX_X: Final = 1_000_000
SUBJECT_FACTORS: Final = ("authenticator", "authentication_age", "standing", "binding", "proofing")
CONTEXT_FACTORS: Final = ("behaviour", "location", "path", "hours")
BINDINGS: Final = ("mtls", "dpop", "session", "none")
PATHS: Final = ("mtls", "socket", "key")
"""How the proxy itself is known: mutual TLS, a Unix socket with peer credentials, a shared key."""

_Values = Mapping[bool | str, int]


def scores(reader: TrustReader, node: YamlNode, name: str, *, most: int = FULL) -> Mapping[str, int]:
    """A table of words to whole numbers."""
    found: dict[str, int] = {}
    for key, value in reader.table(node, name).items.items():
        found[key] = reader.integer(value, f"{name}.{key}", least=0, most=most)
    return MappingProxyType(found)


def read_range(reader: TrustReader, node: YamlNode, name: str) -> FreshnessRange:
    """`{full_until: 15m, void_from: 4h}`."""
    members = reader.members(node, name, required=("full_until", "void_from"))
    if len(members) < 2:
        return FreshnessRange(0, 1)
    return _range(reader, members, name)


def _range(reader: TrustReader, members: Mapping[str, YamlNode], name: str) -> FreshnessRange:
    full_until = reader.seconds(members["full_until"], f"{name}.full_until")
    void_from = reader.seconds(members["void_from"], f"{name}.void_from")
    if void_from <= full_until:
        reader.report("TRUST_RANGE", members["void_from"].line, f"`{name}.void_from` must be later than `full_until`")
        return FreshnessRange(0, 1)
    return FreshnessRange(full_until, void_from)


def _pillar(reader: TrustReader, node: YamlNode, name: str) -> tuple[int, YamlMap | None, int]:
    """A pillar's weight, its factors, and the line on which these begin."""
    members = reader.members(node, f"pillars.{name}", required=("weight", "factors"))
    weight = reader.integer(members["weight"], f"{name}.weight", least=1, most=98) if "weight" in members else 0
    if "factors" not in members or not isinstance(node, YamlMap):
        return weight, None, node.line
    return weight, reader.table(members["factors"], f"{name}.factors"), node.lines["factors"]


def _weight(reader: TrustReader, members: Mapping[str, YamlNode], name: str) -> int:
    return reader.integer(members["weight"], f"{name}.weight", least=0, most=100) if "weight" in members else 0


def _hundred(reader: TrustReader, line: int, pillar: str, weights: Sequence[int], *, before: int) -> None:
    # A weight that could not be read has been reported already; a wrong sum would only repeat it.
    if sum(weights) != 100 and len(reader.problems) == before:
        hint = "raise or lower the weights until they add up to 100"
        reader.report("TRUST_WEIGHTS", line, f"the weights of `{pillar}` add up to {sum(weights)}, not 100", hint=hint)


def read_device(reader: TrustReader, node: YamlNode) -> tuple[int, tuple[DeviceFactor, ...]]:
    """The device pillar: free factors, each reading one fact, or the worst (`all`) or best (`any`) of several."""
    weight, table, line = _pillar(reader, node, "device")
    if table is None:
        return weight, ()
    before = len(reader.problems)
    factors: list[DeviceFactor] = []
    seen: dict[str, str] = {}
    for name, body in table.items.items():
        factor = _device_factor(reader, name, body)
        for part in factor.parts:
            if seen.setdefault(part.fact, factor.name) != factor.name:
                # A fact that counted twice would make a nonsense of the weights.
                reader.report(
                    "TRUST_DUPLICATE", table.lines[name], f"`{part.fact}` counts in factor `{seen[part.fact]}` already"
                )
        factors.append(factor)
    _hundred(reader, line, "device", [factor.weight for factor in factors], before=before)
    return weight, tuple(factors)


def _device_factor(reader: TrustReader, name: str, node: YamlNode) -> DeviceFactor:
    path = f"device.{name}"
    shape = [key for key in ("all", "any") if isinstance(node, YamlMap) and key in node.items]
    if not shape:
        members = reader.members(node, path, required=("weight", "fact"), optional=("values", "ramp"))
        part = _part(reader, node, path, members)
        return DeviceFactor(name=name, weight=_weight(reader, members, path), parts=(part,) if part else ())
    members = reader.members(node, path, required=("weight", shape[0]))
    parts: list[Part] = []
    nodes = reader.items(members[shape[0]], f"{path}.{shape[0]}") if shape[0] in members else ()
    if not nodes:
        reader.report("TRUST_VALUE", node.line, f"`{path}.{shape[0]}` must name at least one fact")
    for item in nodes:
        fields = reader.members(item, path, required=("fact",), optional=("values", "ramp"))
        part = _part(reader, item, path, fields)
        if part is not None:
            parts.append(part)
    return DeviceFactor(
        name=name, weight=_weight(reader, members, path), parts=tuple(parts), any_part=shape[0] == "any"
    )


def _part(reader: TrustReader, node: YamlNode, path: str, members: Mapping[str, YamlNode]) -> Part | None:
    if "fact" not in members:
        return None
    fact = reader.text(members["fact"], f"{path}.fact")
    kind = CATALOGUE.get(fact)
    if kind is None:
        near = suggestion(fact)
        reader.report(
            "TRUST_FACT",
            members["fact"].line,
            f"there is no fact `{fact}`",
            hint=f"did you mean `{near}`?" if near else "",
        )
        return None
    wanted = {"boolean": "values", "choice": "values", "count": "ramp", "number": "ramp", "list": "ramp"}.get(kind.type)
    if wanted is None:
        reader.report(
            "TRUST_FACT", members["fact"].line, f"`{fact}` is {kind.type}, which has no better and worse to score"
        )
        return None
    if wanted not in members or len(members.keys() & {"values", "ramp"}) != 1:
        reader.report(
            "TRUST_VALUE", node.line, f"`{path}` reads `{fact}`, a {kind.type}, and needs `{wanted}` and no other table"
        )
        return None
    if wanted == "values":
        return Part(fact=fact, values=_values(reader, members["values"], f"{path}.values", kind))
    return Part(fact=fact, ramp=_ramp(reader, members["ramp"], f"{path}.ramp", kind))


def _values(reader: TrustReader, node: YamlNode, name: str, kind: FactKind) -> _Values:
    known: dict[str, bool | str] = {word: word for word in kind.choices} or {"true": True, "false": False}
    found: dict[bool | str, int] = {}
    before = len(reader.problems)
    table = reader.table(node, name)
    for key, node_of in table.items.items():
        if key in known:
            found[known[key]] = reader.integer(node_of, f"{name}.{key}", least=0, most=FULL)
        else:
            hint = f"known are {', '.join(known)}"
            reader.report("TRUST_VALUE", table.lines[key], f"`{kind.name}` is never `{key[:80]}`", hint=hint)
    orders: dict[str, tuple[bool | str, ...]] = {"true": (True, False), "false": (False, True), "choices": kind.choices}
    worth = [found.get(value, 0) for value in orders.get(kind.order, ())]
    if worth != sorted(worth, reverse=True) and len(reader.problems) == before:
        reader.report("TRUST_ORDER", node.line, f"`{name}` gives a worse value of `{kind.name}` more than a better one")
    return MappingProxyType(found)


def _ramp(reader: TrustReader, node: YamlNode, name: str, kind: FactKind) -> tuple[tuple[int, int], ...]:
    points: list[tuple[int, int]] = []
    before = len(reader.problems)
    for item in reader.items(node, name):
        pair = reader.items(item, name)
        if len(pair) != 2:
            reader.report("TRUST_VALUE", item.line, f"a point of `{name}` is [value, goodness]")
            continue
        x = reader.integer(pair[0], name, least=0, most=MAX_X)
        y = reader.integer(pair[1], name, least=0, most=FULL)
        if points and x <= points[-1][0]:
            reader.report("TRUST_ORDER", item.line, f"the points of `{name}` must stand in growing order")
            continue
        points.append((x, y))
    heights = [height for _, height in points]
    if heights != sorted(heights, reverse=kind.order != "high") and len(reader.problems) == before:
        reader.report("TRUST_ORDER", node.line, f"`{name}` gives a worse value of `{kind.name}` more than a better one")
    if not points:
        reader.report("TRUST_VALUE", node.line, f"`{name}` needs at least one point")
        return ((0, 0),)
    return tuple(points)


def _factors(
    reader: TrustReader, table: YamlNode, pillar: str, names: Sequence[str], fields: Mapping[str, tuple[str, ...]]
) -> dict[str, Mapping[str, YamlNode]] | None:
    """The members of a pillar's fixed factors; None when one of them is incomplete (which is reported)."""
    found = reader.members(table, f"{pillar}.factors", required=names)
    bodies: dict[str, Mapping[str, YamlNode]] = {}
    complete = len(found) == len(names)
    for name, body in found.items():
        bodies[name] = reader.members(body, f"{pillar}.{name}", required=("weight", *fields[name]))
        complete = complete and len(bodies[name]) == len(fields[name]) + 1
    return bodies if complete else None


def read_subject(reader: TrustReader, node: YamlNode) -> tuple[int, SubjectFactors]:
    """The subject pillar: five fixed factors."""
    weight, table, line = _pillar(reader, node, "subject")
    fields = {
        "authenticator": ("workload",),
        "authentication_age": ("full_until", "void_from"),
        "standing": ("method", "values"),
        "binding": ("values",),
        "proofing": ("values", "other"),
    }
    before = len(reader.problems)
    found = None if table is None else _factors(reader, table, "subject", SUBJECT_FACTORS, fields)
    if table is None or found is None:
        return weight, _NO_SUBJECT
    weights = [_weight(reader, found[name], f"subject.{name}") for name in SUBJECT_FACTORS]
    factors = SubjectFactors(
        authenticator=weights[0],
        workload=_bindings(reader, found["authenticator"]["workload"], "subject.authenticator.workload"),
        age=weights[1],
        age_range=_range(reader, found["authentication_age"], "subject.authentication_age"),
        standing=weights[2],
        standing_method=reader.word(found["standing"]["method"], "subject.standing.method", METHODS),
        standing_values=scores(reader, found["standing"]["values"], "subject.standing.values"),
        binding=weights[3],
        binding_values=_bindings(reader, found["binding"]["values"], "subject.binding.values"),
        proofing=weights[4],
        proofing_values=scores(reader, found["proofing"]["values"], "subject.proofing.values"),
        proofing_other=reader.integer(found["proofing"]["other"], "subject.proofing.other", least=0, most=FULL),
    )
    _hundred(reader, line, "subject", weights, before=before)
    return weight, factors


def _bindings(reader: TrustReader, node: YamlNode, name: str) -> Mapping[str, int]:
    members = reader.members(node, name, required=(), optional=BINDINGS)
    return MappingProxyType(
        {key: reader.integer(value, f"{name}.{key}", least=0, most=FULL) for key, value in members.items()}
    )


def read_context(reader: TrustReader, node: YamlNode, locations: Mapping[str, int]) -> tuple[int, ContextFactors]:
    """The context pillar: four fixed factors."""
    weight, table, line = _pillar(reader, node, "context")
    fields = {"behaviour": ("values",), "location": ("unlisted",), "path": ("values",), "hours": ("inside", "outside")}
    before = len(reader.problems)
    found = None if table is None else _factors(reader, table, "context", CONTEXT_FACTORS, fields)
    if table is None or found is None:
        return weight, _NO_CONTEXT
    weights = [_weight(reader, found[name], f"context.{name}") for name in CONTEXT_FACTORS]
    unlisted = reader.integer(found["location"]["unlisted"], "context.location.unlisted", least=0, most=FULL)
    paths = reader.members(found["path"]["values"], "context.path.values", required=(), optional=PATHS)
    factors = ContextFactors(
        behaviour=weights[0],
        behaviour_values=scores(reader, found["behaviour"]["values"], "context.behaviour.values"),
        location=weights[1],
        location_values=MappingProxyType({**locations, UNLISTED: unlisted}),
        path=weights[2],
        path_values=MappingProxyType(
            {key: reader.integer(value, f"context.path.{key}", least=0, most=FULL) for key, value in paths.items()}
        ),
        hours=weights[3],
        inside=reader.integer(found["hours"]["inside"], "context.hours.inside", least=0, most=FULL),
        outside=reader.integer(found["hours"]["outside"], "context.hours.outside", least=0, most=FULL),
    )
    _hundred(reader, line, "context", weights, before=before)
    _limit_address(reader, line, weight * factors.location, factors.location_values)
    if "normal" not in factors.behaviour_values:
        reader.report(
            "TRUST_MISSING_KEY", found["behaviour"]["values"].line, "`context.behaviour.values` needs `normal`"
        )
    return weight, factors


def _limit_address(reader: TrustReader, line: int, share: int, values: Mapping[str, int]) -> None:
    spread = share * (max(values.values()) - min(values.values()))
    if spread > ADDRESS_LIMIT * 100 * FULL:
        reader.report(
            "TRUST_ADDRESS",
            line,
            f"an address alone would move the score by {spread / (100 * FULL):.1f} points, at most {ADDRESS_LIMIT}",
            hint="lower the weight of `location` or of the context pillar",
        )


_EMPTY: Final[Mapping[str, int]] = MappingProxyType({})
# What stands in for a pillar that could not be read, until every fault of the file is known; nobody ever sees it.
_NO_SUBJECT: Final = SubjectFactors(
    authenticator=0, workload=_EMPTY, age=0, age_range=FreshnessRange(0, 1), standing=0, standing_method="declared",
    standing_values=_EMPTY, binding=0, binding_values=_EMPTY, proofing=0, proofing_values=_EMPTY, proofing_other=0,
)  # fmt: skip
_NO_CONTEXT: Final = ContextFactors(
    behaviour=0, behaviour_values=_EMPTY, location=0, location_values=_EMPTY, path=0, path_values=_EMPTY, hours=0,
    inside=0, outside=0,
)  # fmt: skip
