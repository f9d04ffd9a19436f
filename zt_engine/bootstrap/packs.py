"""The packs that come with the package: their sources, and their bundles compiled ahead (unsigned)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from zt_engine.authoring.build import bundle_files
from zt_engine.authoring.pack import read_pack
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, WASM
from zt_engine.core.errors import ConfigError, Problem, ZtError

COMPILED = "compiled"
NOT_PACKS = frozenset({"lib", "schemas", COMPILED})


def policies_folder() -> Path:
    """Return the folder of the packs: in the package when it was installed, beside it in a checkout."""
    installed = Path(str(resources.files("zt_engine"))) / "policies"
    return installed if installed.is_dir() else installed.parent.parent / "policies"


def checkout() -> Path | None:
    """Return the checkout that this program runs from, or None when it was installed."""
    folder = policies_folder()
    return folder.parent if folder.parent != Path(str(resources.files("zt_engine"))) else None


def pack_names() -> tuple[str, ...]:
    """Return the names of the packs."""
    return tuple(
        sorted(path.name for path in policies_folder().iterdir() if path.is_dir() and path.name not in NOT_PACKS)
    )


def pack_folder(name: str) -> Path:
    """Return the sources of a pack; raises ConfigError PACK_UNKNOWN."""
    if name not in pack_names():
        hint = f"one of {', '.join(pack_names())}"
        raise ConfigError((Problem(code="PACK_UNKNOWN", message=f"there is no pack `{name}`", hint=hint),))
    return policies_folder() / name


def compiled_bundle(name: str) -> bytes:
    """Return the unsigned bundle of a pack; raises ConfigError PACK_UNKNOWN."""
    pack_folder(name)
    path = policies_folder() / COMPILED / f"{name}.tar.gz"
    try:
        return path.read_bytes()
    except OSError as error:
        problem = Problem(code="PACK_UNKNOWN", message=f"the pack is not compiled: {error.strerror}", where=str(path))
        raise ConfigError((problem,)) from None


def edited_since_compiled(name: str) -> bool:
    """Whether a pack of this checkout was edited after `make packs`; of an installed package it cannot be.

    Compared are the sources themselves, as a bundle holds them, not times of files. Raises ConfigError PACK_UNKNOWN.
    """
    raw = compiled_bundle(name)
    if checkout() is None:
        return False
    try:
        compiled = bundle_archive.read(raw)
        sources = bundle_files(read_pack(pack_folder(name)))
    except ZtError:
        return True
    return {file: raw for file, raw in compiled.items() if file not in (MANIFEST, WASM)} != sources
