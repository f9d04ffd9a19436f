"""The shipped packs for tests: staged as OPA reads them, and compiled as the engine runs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

POLICIES = Path(__file__).parents[2] / "policies"
PACKS = ("jp-gov", "corp")
LAYERS = ("baseline", "ministry", "organisation", "service")


@cache
def document(pack: str, name: str) -> Any:
    """A YAML file of a pack."""
    return yaml.safe_load((POLICIES / pack / name).read_text(encoding="utf-8"))


def rego_files(pack: str, *, tests: bool) -> Iterator[Path]:
    """The Rego of a pack and of the library; with or without the tests."""
    for root in (POLICIES / "lib", POLICIES / pack):
        for path in sorted(root.rglob("*.rego")):
            if tests or not path.name.endswith("_test.rego"):
                yield path


def data_files(pack: str) -> Iterator[Path]:
    """The data that Rego sees."""
    for layer in LAYERS:
        yield from sorted((POLICIES / pack / layer).rglob("data.yaml"))


def services(pack: str) -> set[str]:
    return set(document(pack, "catalogue.yaml")["services"])


def stage(pack: str, folder: Path) -> Path:
    """Lay a pack out by package path, so that plain `opa` finds rules and data where the bundle has them."""
    shutil.copytree(POLICIES / "lib/zt", folder / "zt/lib")
    for layer in LAYERS:
        if (POLICIES / pack / layer).is_dir():
            shutil.copytree(POLICIES / pack / layer, folder / "zt/layer" / layer)
    assurance = {"assurance": document(pack, "trust.yaml")["assurance"]}
    (folder / "zt/data.yaml").write_text(yaml.safe_dump(assurance), encoding="utf-8")
    return folder
