"""The part of `catalogue.yaml` that says which labels there are, and every place that gives something a label."""

from __future__ import annotations

import re

from zt_engine.adapters.yaml_fields import Faults, Fields
from zt_engine.adapters.yaml_strict import YamlMap, YamlNode, YamlScalar
from zt_engine.core.classification import RANK_UNKNOWN, Declassify, Label, Level, Scheme

WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
SCHEME = re.compile(r"[a-z][a-z0-9-]{0,63}")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
COMPARTMENT = re.compile(r"[a-z][a-z0-9_]*:(?:[^\s{}]|\{[a-z][a-z0-9_]*\}){1,200}")
RECIPIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:/_.-]{0,99}")
AUDIENCE = re.compile(r"(?:org|group|subject):[^\s{}]{1,200}")
MAX_RANK = 1000

_LABEL = frozenset(
    {
        "code", "integrity", "availability", "caveats", "compartments", "rel_to", "audience", "purpose",
        "declassify", "review_at", "max_until"
    }
)  # fmt: skip


def read_scheme(top: Fields, faults: Faults) -> Scheme:
    """Read `scheme`, `labels`, `caveats` and `maps`; ranks are unique, since a rank is how labels are compared."""
    name = top.text("scheme", SCHEME, "a name such as `jp-gov`") or ""
    levels: dict[str, Level] = {}
    for code, node in _entries(top, "labels"):
        level = _level(code, node, top.line_of("labels"), faults)
        if level is None:
            continue
        same = next((other.code for other in levels.values() if other.rank == level.rank), None)
        if same is not None:
            faults.add("_LABELS", f"`{code}` and `{same}` have the same rank {level.rank}", node.line, "ranks differ")
        levels[code] = level
    maps: dict[str, str] = {}
    for foreign, node in _entries(top, "maps"):
        code = node.text if isinstance(node, YamlScalar) else ""
        if code not in levels:
            faults.add("LABEL_UNMAPPED", f"`{foreign}` maps to `{code}`, which is no label here", node.line)
        maps[foreign] = code
    caveats = top.texts("caveats", WORD, "a name such as `no_copy`")
    return Scheme(id=name, levels=levels, caveats=frozenset(caveats), maps=maps)


def _entries(top: Fields, key: str) -> list[tuple[str, YamlNode]]:
    node = top.mapping(key)
    return list(node.items.items()) if node is not None else []


def _level(code: str, node: YamlNode, line: int, faults: Faults) -> Level | None:
    if CODE.fullmatch(code) is None or not isinstance(node, YamlMap):
        hint = "for example `C2: {rank: 200, ja: 機密性2, en: Level 2}`"
        faults.add("_LABELS", f"`labels.{code[:40]}` is not a code with a mapping", node.line or line, hint)
        return None
    fields = Fields(node, f"labels.{code}", ("rank", "ja", "en"), faults)
    for key in ("rank", "ja", "en"):
        fields.require(key, "a label has a rank and a name in both languages")
    rank, ja, en = fields.integer("rank", 0, MAX_RANK), fields.text("ja"), fields.text("en")
    return None if rank is None or ja is None or en is None else Level(code=code, rank=rank, ja=ja, en=en)


def read_label(node: YamlNode, name: str, scheme: Scheme, faults: Faults) -> tuple[Label, tuple[str, ...]] | None:
    """Read a label, a bare code or a mapping, and the compartments it names (captured ones among them).

    `None` when it cannot be read. A foreign code (`corp.confidential`) stands for what `maps` says.
    """
    if isinstance(node, YamlScalar):
        label = read_code(node, name, scheme, faults)
        return (label, ()) if label is not None else None
    if not isinstance(node, YamlMap):
        faults.add("_VALUE", f"`{name}` is neither a code nor a mapping", node.line)
        return None
    fields = Fields(node, name, _LABEL, faults)
    code = fields.node("code")
    plain = read_code(code, f"{name}.code", scheme, faults) if code is not None else None
    if code is None:
        faults.add("CATALOGUE_LABEL_MISSING", f"`{name}` has no `code`", fields.line, "say which label it is")
    review_at, max_until = fields.instant("review_at", dates=True), fields.instant("max_until", dates=True)
    integrity = fields.integer("integrity", 1, 2) if fields.has("integrity") else 1
    availability = fields.integer("availability", 1, 2) if fields.has("availability") else 1
    declassify = _declassify(fields, plain, scheme, faults)
    caveats = fields.choices("caveats", sorted(scheme.caveats))
    purpose = fields.texts("purpose", WORD, "a name such as `investigation`")
    rel_to = fields.texts("rel_to", RECIPIENT, "a country or an organisation")
    audience = fields.texts("audience", AUDIENCE, "`org:NAME`, `group:NAME` or `subject:NAME`")
    compartments = fields.texts("compartments", COMPARTMENT, "a name such as `case:{case_id}`")
    if plain is None or integrity is None or availability is None:
        return None
    label = Label(
        scheme=scheme.id,
        code=plain.code,
        rank=plain.rank,
        integrity=integrity,
        availability=availability,
        caveats=tuple(sorted(caveats)),
        purpose=tuple(sorted(purpose)),
        rel_to=tuple(sorted(rel_to)) or None,
        audience=tuple(sorted(audience)) or None,
        declassify=declassify,
        review_at=review_at,
        max_until=max_until,
    )
    return label, compartments


def read_code(node: YamlNode, name: str, scheme: Scheme, faults: Faults) -> Label | None:
    """Read a bare label code; one that is not in the scheme is a fault here, and never a guess."""
    text = node.text if isinstance(node, YamlScalar) else ""
    label = scheme.label(text)
    if label.rank == RANK_UNKNOWN and "." in text:
        foreign, _, code = text.rpartition(".")
        label = scheme.label(code, scheme=foreign)
    if label.rank != RANK_UNKNOWN:
        return label
    known = ", ".join(scheme.levels)
    hint = f"known are {known}" if "." not in text else "say in `maps` which label it stands for"
    faults.add("LABEL_UNMAPPED", f"`{name}` is `{text[:60]}`, which is no label of `{scheme.id}`", node.line, hint)
    return None


def _declassify(fields: Fields, label: Label | None, scheme: Scheme, faults: Faults) -> Declassify | None:
    node = fields.mapping("declassify")
    if node is None:
        return None
    inner = Fields(node, f"{fields.name}.declassify", ("at", "to"), faults)
    for key in ("at", "to"):
        inner.require(key, "a label falls at an instant, to another label")
    at = inner.instant("at")
    to = inner.node("to")
    lower = read_code(to, f"{inner.name}.to", scheme, faults) if to is not None else None
    if at is None or lower is None or label is None:
        return None
    if lower.rank >= label.rank:
        text = f"`{inner.name}.to` is {lower.code}, which is not below {label.code}"
        faults.add("_VALUE", text, inner.line_of("to"), "only a label that falls has a declassification")
    return Declassify(at=at, code=lower.code, rank=lower.rank)
