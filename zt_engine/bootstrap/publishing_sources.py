"""Where policy comes from: a folder, or a branch of a repository; what is said about it names it as people do."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zt_engine.adapters.git_tree import GitTree
from zt_engine.bootstrap.lineage import Lineage, LineageFile
from zt_engine.bootstrap.owners import OwnerCheck
from zt_engine.bootstrap.publishing import Published
from zt_engine.bootstrap.workbench import Built
from zt_engine.core.errors import BundleError, ConfigError, Problem, ZtError

Gate = Callable[[Path], Built]


class FolderSource:
    """A pack's folder; its state is the digest of every file below it, with `lib` and `schemas` beside it."""

    def __init__(self, folder: Path, *, state: Path | None = None) -> None:
        """`state` is where what was published from it is remembered; None: nowhere."""
        self.folder = folder
        self._file = None if state is None else LineageFile(state, str(folder.resolve()))

    def state(self) -> str:
        """Name what is there now."""
        digest = hashlib.sha256()
        for root in (self.folder, self.folder.parent / "lib", self.folder.parent / "schemas"):
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    digest.update(str(path.relative_to(root.parent)).encode() + b"\0")
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def name(self, _state: str = "") -> str:
        """Return what people call it."""
        return str(self.folder)

    def build(self, gate: Gate, _state: str) -> Built:
        """Return the bundle of the folder."""
        return gate(self.folder)

    def lineage(self) -> Lineage:
        """Return what was published from here."""
        return Lineage() if self._file is None else self._file.read()

    def published(self, state: str, published: Published) -> None:
        """Remember what was published."""
        _remember(self._file, state, published)


class GitSource:
    """A reference of a repository. Its tip descends from what was published last, or a person says that it may not."""

    def __init__(
        self, tree: GitTree, ref: str, pack: str, *, state: Path, owners: OwnerCheck | None = None,
        accept_rewrite: bool = False,
    ) -> None:  # fmt: skip
        self._tree = tree
        self._ref = ref
        self._pack = pack
        self._file = LineageFile(state, str(tree.repository.resolve()))
        self._owners = owners
        self._accept = accept_rewrite

    def state(self) -> str:
        """Name what is there now: the commit."""
        return self._tree.tip(self._ref)

    def name(self, state: str = "") -> str:
        """Return what people call it, at a commit."""
        branch = self._ref.removeprefix("refs/heads/")
        return f"{self._tree.repository} {branch}{f'@{state[:12]}' if state else ''}"

    def build(self, gate: Gate, state: str) -> Built:
        """Return the bundle of a commit; BundleError SOURCES_REWRITTEN, or what the owners of services may not."""
        last = self._file.read().state
        if last and not self._tree.descends(state, last):
            if not self._accept:
                message = f"`{state[:12]}` does not descend from `{last[:12]}`"
                raise BundleError("SOURCES_REWRITTEN", message, where=self.name())
            last = ""
        if self._owners is not None:
            self._owners.check(last, state)
        with tempfile.TemporaryDirectory(prefix="zt-sources-") as folder, _placed(Path(folder), self.name(state)):
            self._tree.export(state, self._pack, Path(folder))
            return gate(Path(folder) / self._pack if self._pack else Path(folder))

    def lineage(self) -> Lineage:
        """Return what was published from here."""
        return self._file.read()

    def published(self, state: str, published: Published) -> None:
        """Remember what was published."""
        _remember(self._file, state, published)


Source = FolderSource | GitSource


def _remember(file: LineageFile | None, state: str, published: Published) -> None:
    if file is not None:
        file.write(file.read().with_release(state, published.seq, published.content_digest))


@contextmanager
def _placed(folder: Path, name: str) -> Iterator[None]:
    """Errors name files of a commit, and not of the folder it was written to for a moment."""

    def told(text: str) -> str:
        for root in (str(folder.resolve()), str(folder)):
            text = text.replace(f"{root}/", f"{name}:").replace(root, name)
        return text

    def problem(one: Problem) -> Problem:
        return Problem(code=one.code, message=told(one.message), where=told(one.where), hint=told(one.hint))

    try:
        yield
    except ConfigError as error:
        raise ConfigError(tuple(map(problem, error.problems))) from None
    except ZtError as error:
        raise type(error)(error.code, told(error.message), where=told(error.where), hint=told(error.hint)) from None
