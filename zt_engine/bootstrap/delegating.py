"""Releases of whoever answers for one service: nothing differs from what is in force but what is theirs.

The module that decides is made again from the sources beside it: an owner has a bundle key, and could otherwise sign
a module that is another than its sources say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.build import MAIN, build
from zt_engine.authoring.layers import check_layers
from zt_engine.authoring.pack import Pack
from zt_engine.authoring.rego_ast import parse_modules
from zt_engine.authoring.yaml_text import YamlText, read_yaml
from zt_engine.bootstrap.workbench import opa_executable
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, MANIFEST, REASONS, UNLISTED, WASM, Bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.delegation import FOREIGN, check_catalogues, check_files
from zt_engine.core.errors import BundleError, ConfigError, UnavailableError

_DERIVED: Final = frozenset({MANIFEST, SIGNATURES, WASM, MAIN})


def check_delegated(raw: bytes, candidate: Bundle, active_raw: bytes, active: Bundle, *, service: str) -> None:
    """Whether a candidate is what an owner of this service may release; slow. Raises ZtError.

    BundleError OWNER_FOREIGN, OWNER_CEILING; UnavailableError OWNER_UNVERIFIED where no `opa` can make it again.
    """
    files, before = bundle_archive.read(raw), bundle_archive.read(active_raw)
    check_files(before, files, service=service, derived=_DERIVED)
    catalogues = [_catalogue(one) for one in (before, files)]
    check_catalogues(catalogues[0], catalogues[1], service=service)
    made = _made_again(files, candidate, active, services=tuple(sorted(catalogues[0].get("services", ()))))
    names = made.keys() | files.keys() - {SIGNATURES}
    for name in sorted(names, key=lambda name: (name == MANIFEST, name)):  # which lists all others
        if made.get(name) != files.get(name):
            raise BundleError(FOREIGN, "not what its sources make", where=name)


def _made_again(
    files: Mapping[str, bytes], candidate: Bundle, active: Bundle, *, services: tuple[str, ...]
) -> dict[str, bytes]:
    """The bundle that the candidate's sources make under the name, version and layers of what is in force."""
    sources = {name: raw for name, raw in files.items() if name.endswith(".rego") and name != MAIN}
    data = {name: raw for name, raw in files.items() if name.endswith("/data.json")}
    nothing = YamlText(where="", value={}, lines={})
    pack = Pack(
        name=active.manifest.pack,
        version=active.manifest.version,
        input_version=active.manifest.input_version,
        layers=active.layers[UNLISTED],
        services=services,
        sources=sources,
        tests={},
        data=data,
        documents={
            name: raw for name, raw in files.items() if name not in {*sources, *data, *_DERIVED, REASONS}
        },
        where={name: name for name in (*sources, *data)},
        reasons=candidate.reasons,
        reasons_at={},
        schema=b"",
        catalogue=nothing,
        trust=nothing,
        folder=Path("candidate"),
    )  # fmt: skip
    try:
        opa = OpaBinary(opa_executable(None))
    except ConfigError as error:
        raise UnavailableError("OWNER_UNVERIFIED", error.message, hint=error.hint) from None
    modules = parse_modules(sources, opa, where=pack.where)
    for problem in check_layers(pack, modules):  # such as a package of another layer in a file of this one
        raise BundleError(FOREIGN, f"{problem.code}: {problem.message}", where=problem.where)
    return bundle_archive.read(build(pack, opa, modules=modules))


def _catalogue(files: Mapping[str, bytes]) -> Mapping[str, Any]:
    raw = files.get(CATALOGUE)
    if raw is None:
        raise BundleError("BUNDLE_FILE_MISSING", "a release holds its own", where=CATALOGUE)
    value = read_yaml(raw.decode("utf-8", "replace"), where=CATALOGUE, code="SOURCES_UNREADABLE").value
    if not isinstance(value, Mapping):
        raise BundleError("BUNDLE_MALFORMED", "not a mapping", where=CATALOGUE)
    return value
