"""From a folder of sources to a signed bundle, through every step that may stop it.

In order: `opa check --strict --schema`, our lint, catalogue and trust model as the engine reads them, `opa test`, every
scenario on both engines, the build. Sources are input: `opa` runs without network and environment and within limits,
scenarios within the budget of each decision. What was tested is what is signed, or SOURCES_CHANGED.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.authoring.build import bundle_files
from zt_engine.authoring.pack import read_pack
from zt_engine.bootstrap.workbench import Built, Workbench
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, WASM
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import ConfigError, Problem

_MADE: Final = frozenset({MANIFEST, SIGNATURES, WASM})
MAX_FILES: Final = 5_000
MAX_BYTES: Final = 64 << 20


def gate(bench: Workbench, folder: Path, key: BundleSigningKey, *, language: str = "en") -> Built:
    """Return the bundle of a pack that passes everything; ConfigError carries all that stopped it, with places."""
    _bounded(folder)
    sources = bundle_files(read_pack(folder))
    tested = bench.test(folder, language=language)
    if tested.problems:
        raise ConfigError(tested.problems)
    built = bench.build(folder, key=key)
    packed = {name: raw for name, raw in bundle_archive.read(built.raw).items() if name not in _MADE}
    if packed != sources:
        message, hint = "the sources changed while they were tested", "publish again when nobody writes there"
        raise ConfigError((Problem(code="SOURCES_CHANGED", message=message, where=str(folder), hint=hint),))
    return built


def _bounded(folder: Path) -> None:
    size = 0
    for count, path in enumerate(folder.rglob("*"), 1):
        size += path.lstat().st_size if path.is_file() else 0
        if count > MAX_FILES or size > MAX_BYTES:
            message = f"more than {MAX_FILES} files or {MAX_BYTES} bytes"
            raise ConfigError((Problem(code="SOURCES_TOO_LARGE", message=message, where=str(folder)),))
