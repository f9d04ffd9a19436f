"""Isolation of layers: nobody may add to, lean on, or speak for another layer.

A foreign rule added to a partial set would be a permission, so placement is checked on the parsed tree before a bundle
is built. What is allowed: a layer's own packages, `zt.lib`, and the published table `data.zt.assurance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.authoring.pack import Pack
from zt_engine.authoring.rego_ast import Module, Ref
from zt_engine.core.errors import Problem

RESULT = "result"
"""The rule by which a layer answers: `data.zt.layer.<layer>.result`."""

LIBRARY = ("zt", "lib")
PUBLISHED = ("zt", "assurance")


def home(name: str) -> tuple[str, ...]:
    """The package path below which a bundle file must lie, from where it was found."""
    parts = name.split("/")
    if parts[0] == "lib":
        return LIBRARY
    if parts[0] == "service":
        return ("zt", "layer", "service", parts[1])
    return ("zt", "layer", parts[0])


def check_layers(pack: Pack, modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield every file out of place and every import or reference that crosses a layer."""
    for module in modules:
        root = home(module.name)
        if module.package[: len(root)] != root:
            yield Problem(
                code="LAYER_PACKAGE",
                message=f"package `{'.'.join(module.package)}` lies outside its folder's layer",
                where=module.where,
                hint=f"use `package {'.'.join(root)}` or one below it",
            )
        allowed = (root, LIBRARY, PUBLISHED)
        for item in module.imports:
            if item.path.head not in ("data", "input", "rego", "future") or _crosses(item.path, allowed):
                yield _problem("LAYER_IMPORT", "imports", item.path, root)
        for ref in module.refs():
            if _crosses(ref, allowed):
                yield _problem("LAYER_REFERENCE", "refers to", ref, root)
    yield from _silent_layers(pack, modules)


def _crosses(ref: Ref, allowed: tuple[tuple[str, ...], ...]) -> bool:
    """Whether a reference into `data` could reach outside; one that turns dynamic too early could."""
    return ref.head == "data" and not any(ref.constant[: len(root)] == root for root in allowed)


def _problem(code: str, verb: str, ref: Ref, root: tuple[str, ...]) -> Problem:
    target = ".".join([ref.head, *map(str, ref.constant)]) + ("" if ref.whole else "[...]")
    own = ".".join(root)
    return Problem(
        code=code,
        message=f"{verb} `{target}`",
        where=ref.where,
        hint=f"only `data.{own}`, `data.zt.lib` and `data.zt.assurance` are in reach",
    )


def _silent_layers(pack: Pack, modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield every layer that has no rule `result` in its own package: it could never answer."""
    answering = {module.package for module in modules if any(rule.name == RESULT for rule in module.rules())}
    homes = {home(module.name): module for module in modules if module.name.split("/")[0] != "lib"}
    for root, module in sorted(homes.items()):
        if root not in answering:
            yield Problem(
                code="LAYER_RESULT_MISSING",
                message=f"`{'.'.join(root)}` has no rule `{RESULT}`",
                where=module.where,
                hint="a layer answers with {allow, unmet, obligations, threshold}",
            )
