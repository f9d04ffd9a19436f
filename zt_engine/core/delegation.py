"""What of a policy is one service's: its layer, and its part of the catalogue below a ceiling that others set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from zt_engine.core.bundle import CATALOGUE
from zt_engine.core.errors import BundleError

FOREIGN = "OWNER_FOREIGN"


def check_files(
    before: Mapping[str, bytes], after: Mapping[str, bytes], *, service: str, derived: Collection[str]
) -> None:
    """Whether two bundles differ in nothing but a service's files; OWNER_FOREIGN names the first that is not theirs.

    The catalogue is judged by its parts, and what is `derived` by making it again.
    """
    for name in sorted(before.keys() | after.keys()):
        if name == CATALOGUE or name in derived or _is_own(name, service):
            continue
        if before.get(name) != after.get(name):
            raise BundleError(FOREIGN, f"the owner of `{service}` changes `{name}`", where=name)


def check_catalogues(before: Mapping[str, Any], after: Mapping[str, Any], *, service: str) -> None:
    """Whether two catalogues differ in a service's part alone, and not in its ceiling; OWNER_FOREIGN, OWNER_CEILING."""
    old, new = (_parts(one, service) for one in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise BundleError(FOREIGN, f"the owner of `{service}` changes `{name}`", where=f"{CATALOGUE}: {name}")
    ceilings = [_mapping(_mapping(one.get("services")).get(service)).get("ceiling") for one in (before, after)]
    if None in ceilings or ceilings[0] != ceilings[1]:
        where = f"{CATALOGUE}: services.{service}.ceiling"
        raise BundleError("OWNER_CEILING", f"the owner of `{service}` changes its ceiling", where=where)


def _is_own(name: str, service: str) -> bool:
    """Rules and data where a pack's folder `service/<id>/` puts them in a bundle, and nothing else there."""
    return (name.startswith(f"service/{service}/") and name.endswith(".rego")) or (
        name.startswith(f"zt/layer/service/{service}/") and name.endswith("/data.json")
    )


def _parts(catalogue: Mapping[str, Any], service: str) -> dict[str, str]:
    """Everything that is not the service's, by names a person knows, as texts: to Python, `true` is `1`."""
    services = _mapping(catalogue.get("services"))
    objects = catalogue.get("objects")
    listed = objects if isinstance(objects, list) else []
    return {
        **{str(name): repr(value) for name, value in catalogue.items() if name not in ("services", "objects")},
        **{f"services.{name}": repr(value) for name, value in services.items() if name != service},
        "services": repr((type(catalogue.get("services")).__name__, list(services))),
        "objects": repr([one for one in listed if _mapping(one).get("service") != service])
        + ("" if isinstance(objects, list) or objects is None else repr(objects)),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
