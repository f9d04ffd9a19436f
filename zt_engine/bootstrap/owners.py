"""Delegated administration: whose commits may change what of the sources.

Who owns a service signs with a key of theirs and changes its layer (`service/<id>/`) and its part of the catalogue,
below its ceiling, and nothing else. All other commits, and every merge, are a maintainer's: a merge can undo what it
merges. A commit that breaks this is refused, and with it everything that comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zt_engine.adapters.git_tree import GitTree
from zt_engine.authoring.yaml_text import read_yaml
from zt_engine.core.errors import BundleError, ZtError

CATALOGUE = "catalogue.yaml"
Keys = Mapping[str, Mapping[str, bytes]]
"""Service -> its owners' SSH public keys, by any name."""


class OwnerCheck:
    """Judges commits one by one, each against its parent."""

    def __init__(self, tree: GitTree, pack: str, keys: Keys, maintainers: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._pack = f"{pack.strip('/')}/" if pack else ""
        self._keys = keys
        self._maintainers = maintainers

    def check(self, since: str, until: str) -> None:
        """Judge every commit after one; BundleError OWNER_SIGNATURE, OWNER_FOREIGN, OWNER_CEILING."""
        for commit in self._tree.commits(since, until):
            self._commit(commit)

    def _commit(self, commit: str) -> None:
        paths = self._tree.touched(commit)
        parts = self._catalogue(commit) if f"{self._pack}{CATALOGUE}" in paths else frozenset()
        touched = {name for name in self._keys if name in parts or any(self._of(name, path) for path in paths)}
        if len(self._tree.parents(commit)) > 1 or not touched:
            if not self._tree.signed_by(commit, self._maintainers):
                raise BundleError("OWNER_SIGNATURE", f"`{commit[:12]}` is no maintainer's", where=commit)
            return
        for service in sorted(touched):
            self._within(commit, service, paths, parts)
            if not self._tree.signed_by(commit, self._keys[service]):
                raise BundleError("OWNER_SIGNATURE", f"`{commit[:12]}` changes the service `{service}`", where=commit)

    def _within(self, commit: str, service: str, paths: list[str], parts: frozenset[str]) -> None:
        for path in paths:
            if not self._of(service, path) and path != f"{self._pack}{CATALOGUE}":
                raise BundleError("OWNER_FOREIGN", f"the owner of `{service}` changes `{path}`", where=commit)
        if parts - {service}:
            names = ", ".join(sorted(parts - {service}))
            raise BundleError("OWNER_FOREIGN", f"the owner of `{service}` changes `{names}`", where=commit)
        before, after = (self._service(one, service) for one in (self._parent(commit), commit))
        if before.get("ceiling") != after.get("ceiling"):
            raise BundleError("OWNER_CEILING", f"the owner of `{service}` changes its ceiling", where=commit)

    def _of(self, service: str, path: str) -> bool:
        return path.startswith(f"{self._pack}service/{service}/")

    def _catalogue(self, commit: str) -> frozenset[str]:
        """Which services' parts a commit changes; `*` for whatever belongs to none."""
        old, new = self._read(self._parent(commit)), self._read(commit)
        before, after = _mapping(old.get("services")), _mapping(new.get("services"))
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        changed |= _objects(old, new)
        rest = {name for name in old.keys() | new.keys() if name not in ("services", "objects")}
        return frozenset(changed | ({"*"} if any(old.get(name) != new.get(name) for name in rest) else set()))

    def _service(self, commit: str, service: str) -> Mapping[str, Any]:
        return _mapping(_mapping(self._read(commit).get("services")).get(service))

    def _parent(self, commit: str) -> str:
        return next(iter(self._tree.parents(commit)), "")

    def _read(self, commit: str) -> Mapping[str, Any]:
        """The catalogue of a commit; one that cannot be read is nobody's part."""
        raw = self._tree.content(commit, f"{self._pack}{CATALOGUE}") if commit else None
        if raw is None:
            return {}
        try:
            text = raw.decode("utf-8", "replace")
            return _mapping(read_yaml(text, where=f"{commit[:12]}:{CATALOGUE}", code="SOURCES_UNREADABLE").value)
        except ZtError as error:
            return {"*": str(error)}


def _objects(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    lists = [item if isinstance(item, list) else [] for item in (old.get("objects"), new.get("objects"))]
    moved = [one for one in lists[0] if one not in lists[1]] + [one for one in lists[1] if one not in lists[0]]
    return {str(_mapping(one).get("service", "*")) for one in moved}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
