"""`trust.yaml` -> `TrustModel`: every fault at once, each with its file and line, and nothing that a typo could soften.

Beyond types and ranges the reader holds a pack to the promises that the score is built on: weights add up to 100; a
stronger method, a better value and a better sign-in never score less; an address alone moves little; and facts that
only one method vouches for never reach the score that the ladder says they do not reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from device_inventory.facts import METHODS, FreshnessClass, FreshnessRange, Method
from zt_engine.adapters.trust_yaml_factors import read_context, read_device, read_range, read_subject, scores
from zt_engine.adapters.trust_yaml_places import read_locations, read_windows
from zt_engine.adapters.trust_yaml_reader import TrustReader
from zt_engine.adapters.yaml_strict import YamlNode, read_yaml
from zt_engine.core.trust import reach
from zt_engine.core.trust_model import POINT, TrustModel

CLASSES: Final[tuple[FreshnessClass, ...]] = ("key", "live", "hourly", "daily", "boot", "feed")
MAX_LEVEL: Final = 9
_PARTS: Final = (
    "trust", "slack", "methods", "ladder", "freshness", "assurance", "authenticators", "pillars", "locations",
    "hours", "penalties",
)  # fmt: skip


def load_trust(text: str, *, where: str) -> TrustModel:
    """Return the model that `text` describes; ConfigError (TRUST_*) carries every fault with `where:line`."""
    reader = TrustReader(where)
    root = read_yaml(text, where=where)
    parts = reader.members(root, "trust.yaml", required=_PARTS)
    if len(parts) < len(_PARTS):
        reader.finish()
    reader.integer(parts["trust"], "trust", least=1, most=1)
    locations, networks = read_locations(reader, parts["locations"])
    pillars = reader.members(parts["pillars"], "pillars", required=("device", "subject", "context"))
    if len(pillars) < 3:
        reader.finish()
    device_weight, device = read_device(reader, pillars["device"])
    subject_weight, subject = read_subject(reader, pillars["subject"])
    context_weight, context = read_context(reader, pillars["context"], locations)
    if device_weight + subject_weight + context_weight != 100 and not reader.problems:
        total = device_weight + subject_weight + context_weight
        reader.report("TRUST_WEIGHTS", root.lines["pillars"], f"the weights of the pillars add up to {total}, not 100")
    cap, penalties = _penalties(reader, parts["penalties"])
    assurance = _levels(reader, parts["assurance"])
    authenticators = scores(reader, parts["authenticators"], "authenticators")
    _same_names(reader, parts, assurance, authenticators)
    ladder = _ladder(reader, parts["ladder"])
    methods = _methods(reader, parts["methods"])
    freshness = _freshness(reader, parts["freshness"])
    slack = reader.integer(parts["slack"], "slack", least=0, most=100)
    windows = read_windows(reader, parts["hours"])
    reader.finish()
    model = TrustModel(
        device_weight=device_weight,
        subject_weight=subject_weight,
        context_weight=context_weight,
        slack=slack,
        methods=methods,
        freshness=freshness,
        device=device,
        subject=subject,
        context=context,
        authenticators=authenticators,
        assurance=assurance,
        networks=networks,
        windows=windows,
        penalties=penalties,
        penalty_cap=cap,
        ladder=ladder,
    )
    _hold_ladder(reader, parts["ladder"], model)
    reader.finish()
    return model


def _methods(reader: TrustReader, node: YamlNode) -> Mapping[Method, int]:
    before = len(reader.problems)
    members = reader.members(node, "methods", required=METHODS)
    found = {
        method: reader.integer(members[method], f"methods.{method}", least=0, most=1000)
        for method in METHODS
        if method in members
    }
    for stronger, weaker in pairwise(METHODS):
        if len(reader.problems) == before and found[stronger] < found[weaker]:
            reader.report(
                "TRUST_ORDER",
                members[weaker].line,
                f"`{weaker}` is weaker than `{stronger}` and must not count for more",
            )
    return MappingProxyType(found)


def _freshness(reader: TrustReader, node: YamlNode) -> Mapping[FreshnessClass, FreshnessRange]:
    members = reader.members(node, "freshness", required=CLASSES)
    return MappingProxyType(
        {name: read_range(reader, members[name], f"freshness.{name}") for name in CLASSES if name in members}
    )


def _levels(reader: TrustReader, node: YamlNode) -> Mapping[str, int]:
    found = reader.table(node, "assurance").items.items()
    return MappingProxyType(
        {name: reader.integer(value, f"assurance.{name}", least=1, most=MAX_LEVEL) for name, value in found}
    )


def _same_names(
    reader: TrustReader, parts: Mapping[str, YamlNode], levels: Mapping[str, int], worth: Mapping[str, int]
) -> None:
    # A sign-in that one table knows and the other does not is a typing mistake in either.
    for name in sorted(levels.keys() - worth.keys()):
        reader.report(
            "TRUST_ASSURANCE", parts["authenticators"].line, f"`authenticators` lacks `{name}`, which `assurance` has"
        )
    for name in sorted(worth.keys() - levels.keys()):
        reader.report(
            "TRUST_ASSURANCE", parts["assurance"].line, f"`assurance` lacks `{name}`, which `authenticators` has"
        )
    for name in sorted(levels.keys() & worth.keys()):
        higher = [other for other in levels.keys() & worth.keys() if levels[other] > levels[name]]
        if any(worth[other] < worth[name] for other in higher):
            reader.report(
                "TRUST_ORDER",
                parts["authenticators"].line,
                f"`{name}` counts for more than a sign-in of a higher level",
            )


def _ladder(reader: TrustReader, node: YamlNode) -> Mapping[Method, int]:
    members = reader.members(node, "ladder", required=(), optional=METHODS)
    return MappingProxyType(
        {
            method: reader.integer(members[method], f"ladder.{method}", least=0, most=101)
            for method in METHODS
            if method in members
        }
    )


def _hold_ladder(reader: TrustReader, node: YamlNode, model: TrustModel) -> None:
    members = reader.members(node, "ladder", required=(), optional=METHODS)
    for method, limit in model.ladder.items():
        reached = reach(model, method)
        if reached >= limit * POINT:
            reader.report(
                "TRUST_LADDER",
                members[method].line,
                f"facts by `{method}` alone reach {reached / POINT:.1f}, but the ladder promises less than {limit}",
                hint="lower the method's multiplier, the slack, or the promise",
            )


def _penalties(reader: TrustReader, node: YamlNode) -> tuple[int, Mapping[str, Mapping[str, int]]]:
    members = reader.members(node, "penalties", required=("cap", "families"))
    if len(members) < 2:
        return 0, MappingProxyType({})
    cap = reader.integer(members["cap"], "penalties.cap", least=0, most=100)
    families: dict[str, Mapping[str, int]] = {}
    for family, levels in reader.table(members["families"], "penalties.families").items.items():
        families[family] = scores(reader, levels, f"penalties.families.{family}", most=cap)
        if not families[family]:
            reader.report("TRUST_VALUE", levels.line, f"risk family `{family}` needs at least one level")
    return cap, MappingProxyType(families)
