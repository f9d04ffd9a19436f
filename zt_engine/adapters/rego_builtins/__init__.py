"""The host built-ins of compiled policies: `REGISTRY` is all there are; whatever is not in it is refused at load."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from zt_engine.adapters.rego_builtins import (
    crypto_hash,
    durations,
    encoding,
    glob,
    globs_match,
    graph,
    json_patch,
    json_text,
    net,
    numbers,
    objects,
    regex,
    semver,
    sprintf,
    strings,
    times,
    units,
    uri,
    uuid,
)
from zt_engine.adapters.rego_builtins.operands import FUNCTIONS, BuiltinError, Function, invoke

__all__ = ["REGISTRY", "BuiltinError", "Function", "invoke"]

_FAMILIES: Final = (
    crypto_hash,
    durations,
    encoding,
    glob,
    globs_match,
    graph,
    json_patch,
    json_text,
    net,
    numbers,
    objects,
    regex,
    semver,
    sprintf,
    strings,
    times,
    units,
    uri,
    uuid,
)

REGISTRY: Final[Mapping[str, Function]] = MappingProxyType(dict(sorted(FUNCTIONS.items())))
