"""`zt policy watch`: what changed in the sources is published by itself, and what is in force never just ends.

A tree that fails is told once and waits for the next change. What fails for want of a control plane is tried again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from zt_engine.adapters.git_tree import GitTree
from zt_engine.bootstrap.owners import OwnerCheck
from zt_engine.bootstrap.publishing import CONFLICT, DAY, Published, Publisher
from zt_engine.bootstrap.workbench import Built
from zt_engine.core.errors import BundleError, UnavailableError, ZtError

log = structlog.get_logger()
STATE: Final = "published.json"
Gate = Callable[[Path], Built]


class _State(msgspec.Struct, frozen=True):
    commit: str = ""


class FolderSource:
    """A pack's folder; its state is the digest of every file below it, with `lib` and `schemas` beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self) -> str:
        """Name what is there now."""
        digest = hashlib.sha256()
        for root in (self.folder, self.folder.parent / "lib", self.folder.parent / "schemas"):
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    digest.update(str(path.relative_to(root.parent)).encode() + b"\0")
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def build(self, gate: Gate, _state: str) -> Built:
        """Return the bundle of the folder."""
        return gate(self.folder)

    def published(self, state: str) -> None:
        """A folder remembers nothing."""


class GitSource:
    """A reference of a repository. Its tip descends from what was published last, or a person says that it may not."""

    def __init__(
        self, tree: GitTree, ref: str, pack: str, *, state: Path, owners: OwnerCheck | None = None,
        accept_rewrite: bool = False,
    ) -> None:  # fmt: skip
        self._tree = tree
        self._ref = ref
        self._pack = pack
        self._file = state / STATE
        self._owners = owners
        self._accept = accept_rewrite

    def state(self) -> str:
        """Name what is there now: the commit."""
        return self._tree.tip(self._ref)

    def build(self, gate: Gate, state: str) -> Built:
        """Return the bundle of a commit; BundleError SOURCES_REWRITTEN, or what the owners of services may not."""
        last = self._last()
        if last and not self._tree.descends(state, last):
            if not self._accept:
                raise BundleError(
                    "SOURCES_REWRITTEN", f"`{state[:12]}` does not descend from `{last[:12]}`", where=self._ref
                )
            last = ""
        if self._owners is not None:
            self._owners.check(last, state)
        with tempfile.TemporaryDirectory(prefix="zt-sources-") as folder:
            self._tree.export(state, self._pack, Path(folder))
            return gate(Path(folder) / self._pack if self._pack else Path(folder))

    def published(self, state: str) -> None:
        """Remember what was published, for good and in one step."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(_State(state)))
        draft.replace(self._file)

    def _last(self) -> str:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_State).commit
        except FileNotFoundError:
            return ""
        except msgspec.DecodeError as error:
            raise BundleError("SOURCES_UNREADABLE", str(error), where=str(self._file)) from None


class Watch:
    """Looks at the sources whenever it is told to; keeps in mind what it has judged."""

    def __init__(self, source: FolderSource | GitSource, publisher: Publisher, gate: Gate, *, days: int) -> None:
        self._source = source
        self._publisher = publisher
        self._gate = gate
        self._within = days * DAY / 3
        self._judged = ""

    def look(self) -> Published | ZtError | None:
        """Publish what changed, renew what ends; return what came of it, None when there was nothing to do."""
        try:
            state = self._source.state()
        except (ZtError, OSError) as error:
            return self._told(
                error if isinstance(error, ZtError) else UnavailableError("SOURCES_UNREADABLE", str(error))
            )
        try:
            if state == self._judged:
                renewed = self._publisher.renewal(within=self._within)
                if renewed is not None:
                    log.info("release.renewed", seq=renewed.seq)
                return renewed
            published = self._publisher.publish(self._source.build(self._gate, state).raw)
        except UnavailableError as error:
            return self._told(error)  # may be gone at the next look
        except ZtError as error:
            if error.code != CONFLICT and not error.code.startswith("AUTH_"):
                self._judged = state
            return self._told(error)
        self._judged = state
        self._source.published(state)
        log.info("release.published", seq=published.seq, state=published.state, revision=published.revision)
        return published

    def _told(self, error: ZtError) -> ZtError:
        log.warning("release.failed", code=error.code, where=error.where, problem=error.message)
        return error
