"""`zt policy new`: a pack of one's own from one that is shipped, and a service in a pack, both whole and passing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.authoring.scenarios import FIXTURES
from zt_engine.authoring.service_layer import service_files, with_service
from zt_engine.authoring.yaml_text import read_yaml
from zt_engine.bootstrap.packs import NOT_PACKS, pack_folder, policies_folder
from zt_engine.core.bundle_archive import is_safe_name
from zt_engine.core.errors import ConfigError, Problem

SHARED: Final = ("lib", "schemas")
_LOWEST: Final = 100
"""The rank of what everybody in the house may see."""


def new_pack(folder: Path, *, like: str) -> None:
    """Write a pack that begins as a shipped one and needs nothing beside it; ConfigError NEW_EXISTS, PACK_*."""
    if folder.exists():
        raise _fault("NEW_EXISTS", "give a folder that does not exist yet", folder)
    if not is_safe_name(folder.name) or folder.name in NOT_PACKS:
        raise _fault("PACK_MALFORMED", "the folder's name is the pack's, a short name such as `acme`", folder)
    source = pack_folder(like)
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    for name in SHARED:
        shutil.copytree(policies_folder() / name, folder / name, copy_function=shutil.copyfile)
    header = folder / "pack.yaml"
    text = re.sub(r"^schema:.*\n", "", header.read_text(encoding="utf-8"), flags=re.MULTILINE)
    header.write_text(re.sub(r"^pack:.*$", f"pack: {folder.name}", text, flags=re.MULTILINE), encoding="utf-8")


def new_service(folder: Path, service: str, *, host: str) -> tuple[Path, ...]:
    """Add a service to a pack and return what was written; ConfigError NEW_EXISTS, NEW_*, catalogue codes."""
    catalogue = folder / "catalogue.yaml"
    try:
        raw = catalogue.read_bytes()
    except OSError as error:
        raise _fault("PACK_MALFORMED", str(error.strerror), catalogue) from None
    known = load_catalogue(raw, where=str(catalogue))
    files = service_files(service, host=host, staff=_staff(folder))
    if service in known.services:
        raise _fault("NEW_EXISTS", f"the catalogue has a service `{service}`", catalogue)
    labels = [code for code, rank in sorted(known.scheme.ranks().items(), key=_rank) if rank >= _LOWEST]
    text = with_service(raw.decode(), service, host=host, label=labels[0])
    load_catalogue(text.encode(), where=str(catalogue))
    for name in files:
        if (folder / name).exists():
            raise _fault("NEW_EXISTS", "it would be written over", folder / name)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    catalogue.write_text(text, encoding="utf-8")
    return (catalogue, *(folder / name for name in files))


def _staff(folder: Path) -> str:
    """What the first person of the pack's scenarios is: its own staff."""
    fixtures = folder / "scenarios" / FIXTURES
    if not fixtures.is_file():
        return "employee"
    value = read_yaml(fixtures.read_text(encoding="utf-8"), where=str(fixtures), code="SCENARIO_MALFORMED").value
    subjects = value.get("subjects") if isinstance(value, Mapping) else None
    people = subjects.values() if isinstance(subjects, Mapping) else ()
    found = (one.get("employment") for one in people if isinstance(one, Mapping))
    return next((name for name in found if isinstance(name, str) and name), "employee")


def _rank(label: tuple[str, int]) -> int:
    return label[1]


def _fault(code: str, message: str, where: Path) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=str(where)),))
