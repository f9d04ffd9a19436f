"""The tree of a git reference, read by the `git` program and never checked out.

A repository is input: no configuration of a user or machine is read, no hook, filter, pager or credential helper runs,
nothing is fetched (missing objects of a partial clone are missing), no replacement or graft changes what a commit is,
and time, memory and output are limited. Signatures are SSH signatures against an allowed-signers file given here.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from zt_engine.core.errors import BundleError, UnavailableError

SECONDS: Final = 60.0
MEMORY: Final = 1 << 30
OUTPUT: Final = 64 << 20
MAX_FILES: Final = 5_000
PRINCIPAL: Final = "owner"
_ENVIRONMENT: Final = (
    *("GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_NO_REPLACE_OBJECTS=1", "GIT_GRAFT_FILE=/dev/null"),
    *("GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C"),
)


class GitTree:
    """One repository, bare or with a working tree, whose committed content alone counts."""

    def __init__(self, repository: Path, *, seconds: float = SECONDS) -> None:
        git = shutil.which("git")
        if git is None:
            raise UnavailableError("GIT_FAILED", "the program git is not on PATH")
        self._git = git
        self.repository = repository
        self._seconds = seconds

    def tip(self, ref: str) -> str:
        """Return the commit a reference is at."""
        return self._run("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()

    def descends(self, commit: str, ancestor: str) -> bool:
        """Whether a commit has another one among its ancestors, or is it; one that is gone is nobody's."""
        try:
            self._run("merge-base", "--is-ancestor", ancestor, commit)
        except UnavailableError:
            return False
        return True

    def export(self, commit: str, folder: str, into: Path) -> None:
        """Write the plain files of a folder of a commit's tree, with `lib` and `schemas` beside it; nothing else.

        Read object by object: an archive would obey attributes of the tree and filters of a configuration.
        """
        parent = folder.rpartition("/")[0]
        within = tuple(f"{parent}/{name}/".lstrip("/") for name in ("lib", "schemas"))
        wanted: dict[str, str] = {}
        for entry in filter(None, self._run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")):
            about, _, raw = entry.partition(b"\t")
            mode, _, blob = about.decode().split()[:3]
            name = raw.decode("utf-8", "replace")
            if folder and not name.startswith((f"{folder}/", *within)):
                continue
            if mode not in ("100644", "100755") or ".." in Path(name).parts:
                raise BundleError("SOURCES_UNREADABLE", "no plain file", where=f"{commit[:12]}:{name}")
            wanted[name] = blob
        if len(wanted) > MAX_FILES:
            raise BundleError("SOURCES_TOO_LARGE", f"more than {MAX_FILES} files", where=commit)
        found = io.BytesIO(self._run("cat-file", "--batch", given="".join(f"{one}\n" for one in wanted.values())))
        for name in wanted:
            size = int(found.readline().split()[2])
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(found.read(size))
            found.read(1)

    def commits(self, since: str, until: str) -> list[str]:
        """Return the commits that came after one, oldest first; all of them when there is none before."""
        span = f"{since}..{until}" if since else until
        return self._run("rev-list", "--reverse", "--topo-order", "--max-count=10001", span).decode().split()

    def touched(self, commit: str) -> list[str]:
        """Return the paths a commit changes against each of its parents."""
        raw = self._run(
            "diff-tree", "--root", "-r", "-m", "-z", "--no-renames", "--no-commit-id", "--name-only", commit
        )
        return sorted({name.decode("utf-8", "replace") for name in raw.split(b"\0") if name})

    def content(self, commit: str, path: str) -> bytes | None:
        """Return a file of a commit; None where it has none."""
        if path not in self._names(commit):
            return None
        return self._run("cat-file", "blob", f"{commit}:{path}")

    def parents(self, commit: str) -> list[str]:
        """Return the parents of a commit."""
        return self._run("rev-list", "--parents", "--max-count=1", commit).decode().split()[1:]

    def signed_by(self, commit: str, keys: Mapping[str, bytes]) -> bool:
        """Whether one of these SSH public keys (by any name) made the commit's signature."""
        lines = [
            f'{PRINCIPAL} namespaces="git" {" ".join(raw.decode("ascii", "replace").split()[:2])}\n'
            for raw in keys.values()
        ]
        with tempfile.TemporaryDirectory(prefix="zt-git-") as folder:
            allowed = Path(folder) / "allowed"
            allowed.write_text("".join(lines), encoding="ascii", errors="replace")
            options = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}")
            try:
                self._run("verify-commit", commit, options=options)
            except UnavailableError:
                return False
        return True

    def _names(self, commit: str) -> frozenset[str]:
        raw = self._run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
        return frozenset(name.decode("utf-8", "replace") for name in raw.split(b"\0") if name)

    def _run(self, *arguments: str, options: tuple[str, ...] = (), given: str = "") -> bytes:
        fixed = (
            *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null"),
            *("-c", "gpg.program=/bin/false", "-c", "gpg.x509.program=/bin/false", "-c", "gpg.ssh.program=ssh-keygen"),
            *("-c", "gpg.ssh.revocationFile=", "-c", "protocol.allow=never"),
        )
        with (
            tempfile.TemporaryDirectory(prefix="zt-git-") as home,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as told,
        ):
            told.write(given.encode())
            told.seek(0)
            environment = dict(one.split("=", 1) for one in (*_ENVIRONMENT, f"HOME={home}"))
            environment["PATH"] = os.environ.get("PATH", "/usr/bin:/bin")
            command = (
                self._git, "--no-pager", "-c", "safe.directory=*", *fixed, *options,
                "-C", str(self.repository), *arguments,
            )  # fmt: skip
            process = subprocess.Popen(  # noqa: S603 - a fixed program, and no shell
                command, env=environment, stdin=told, stdout=out, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            try:
                for limit, value in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_FSIZE, OUTPUT)):
                    with suppress(ProcessLookupError):
                        resource.prlimit(process.pid, limit, (value, value))
                status = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                raise UnavailableError("GIT_FAILED", f"`git {arguments[0]}` took too long") from None
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if status != 0:
                raise UnavailableError(
                    "GIT_FAILED", f"`git {arguments[0]}` ended with {status}", where=str(self.repository)
                )
            out.seek(0)
            return out.read()
