"""Sources that are followed: a folder, a branch of a repository, a branch that services' owners share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.control_support import Control
from tests.publisher_office import KEY, Office, remembered, version
from zt_engine.adapters.git_tree import GitTree
from zt_engine.bootstrap import publishing
from zt_engine.bootstrap.owners import OwnerCheck
from zt_engine.bootstrap.publishing import DAY, Published
from zt_engine.bootstrap.publishing_ground import source_at, source_of
from zt_engine.bootstrap.publishing_sources import FolderSource, GitSource
from zt_engine.bootstrap.watching import Watch
from zt_engine.bootstrap.workbench import Built
from zt_engine.config import load_control
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import BundleError, ConfigError, Problem, ZtError

CATALOGUE = """services:
  payroll: {ceiling: C2, owner: hr}
  wiki: {ceiling: C1, owner: it}
"""


class Repository:
    """A repository with a working tree, and keys to sign with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.keys = folder
        self.git("init", "-q", "-b", "main", str(self.folder), at=folder)
        for name in ("maintainer", "hr", "it"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
            subprocess.run(command, check=True, timeout=30)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.keys), "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }  # fmt: skip
        done = subprocess.run(
            ["git", *arguments], cwd=at or self.folder, env=environment, check=True, capture_output=True, timeout=30
        )
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str], *, by: str = "", amend: bool = False) -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "-A")
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys / by}"] if by else []
        more = ["--amend"] if amend else []
        self.git(*signing, "commit", "-q", "-m", "a change", *more, *(["-S"] if by else []))
        return self.git("rev-parse", "HEAD")

    def public(self, name: str) -> dict[str, bytes]:
        return {name: (self.keys / f"{name}.pub").read_bytes()}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(publishing, "weakenings", remembered)
    with Control() as control:
        yield Office(control)


def built(folder: Path) -> Built:
    """Stands for the gate: the pack's version is the text of a file; `bad` does not pass."""
    name = (folder / "version").read_text().strip()
    if name == "bad":
        raise ConfigError((Problem(code="REGO_ERROR", message="no rule", where="baseline.rego:3"),))
    raw = version(name)
    return Built(raw=raw, bundle=open_bundle(raw, keys={KEY.key_id: KEY.public()}))


def seen(came: Published | ZtError | None) -> object:
    return came.code if isinstance(came, ZtError) else came and (came.seq, came.state)


def test_a_folder_is_published_when_it_changes_and_a_bad_one_waits(office: Office, tmp_path: Path) -> None:
    pack = tmp_path / "policies/pack"
    pack.mkdir(parents=True)
    watch = Watch(FolderSource(pack), office.publisher, built, days=30)
    came = []
    for text in ("1", "1", "bad", "bad", "2"):
        (pack / "version").write_text(text)
        came.append(seen(watch.look()))

    assert came == [(1, "released"), None, "REGO_ERROR", None, (2, "released")]


def test_a_watched_release_never_just_ends(office: Office, tmp_path: Path) -> None:
    pack = tmp_path / "policies/pack"
    pack.mkdir(parents=True)
    (pack / "version").write_text("1")
    watch = Watch(FolderSource(pack), office.publisher, built, days=30)
    watch.look()
    office.control.clock.advance(19 * DAY)
    early = watch.look()
    office.control.clock.advance(2 * DAY)

    assert early is None
    assert seen(watch.look()) == (2, "released")


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A folder whose version is a text."""
    pack = tmp_path / "policies/pack"
    pack.mkdir(parents=True)
    (pack / "version").write_text("1")
    return pack


def test_a_watch_that_starts_leaves_a_release_in_force_that_did_not_come_from_its_folder(
    office: Office, pack: Path, tmp_path: Path
) -> None:
    def started(*, adopt: bool = False) -> Watch:
        source = FolderSource(pack, state=tmp_path / "state")
        return Watch(source, office.publisher, built, days=30, adopt=adopt)

    office.publisher.publish(version("approved"))
    watch = started()
    first = watch.look()
    again = watch.look()
    (pack / "version").write_text("2")
    changed = seen(watch.look())
    (pack / "version").write_text("3")
    own = [seen(started().look()), seen(started().look())]
    office.publisher.rollback()
    rolled_back = seen(started().look())
    (pack / "version").write_text("4")
    still = seen(started().look())

    assert isinstance(first, ZtError)
    assert (first.code, first.where) == ("SOURCES_NOT_IN_FORCE", str(pack))
    assert (again, changed) == (None, (2, "released"))
    assert own == [(3, "released"), None]
    assert (rolled_back, still) == ("SOURCES_NOT_IN_FORCE", "SOURCES_NOT_IN_FORCE")
    assert seen(started(adopt=True).look()) == (5, "released")


def test_a_watch_that_starts_takes_its_own_content_as_its_own_whoever_released_it(
    office: Office, pack: Path, tmp_path: Path
) -> None:
    office.publisher.publish(version("1"))
    source = FolderSource(pack, state=tmp_path / "state")
    came = seen(Watch(source, office.publisher, built, days=30).look())
    (pack / "version").write_text("2")

    assert came == (1, "unchanged")
    assert seen(Watch(source, office.publisher, built, days=30).look()) == (2, "released")


def test_what_is_published_by_hand_from_the_watched_folder_is_the_watch_s_own_and_from_another_is_not(
    office: Office, pack: Path, tmp_path: Path
) -> None:
    config = tmp_path / "zt.toml"
    config.write_text('[publishing]\nfolder = "policies/pack"\n')
    settings = load_control(config)
    by_hand = source_at(settings, pack)
    by_hand.published(by_hand.state(), office.publisher.publish(version("1")))
    (pack / "version").write_text("2")
    own = seen(Watch(source_of(settings), office.publisher, built, days=30).look())
    elsewhere = source_at(settings, tmp_path)
    elsewhere.published(elsewhere.state(), office.publisher.publish(version("3")))
    (pack / "version").write_text("4")

    assert own == (2, "released")
    assert seen(Watch(source_of(settings), office.publisher, built, days=30).look()) == "SOURCES_NOT_IN_FORCE"


def test_faults_of_a_commit_name_the_repository_and_the_commit_and_no_folder_of_a_moment(
    office: Office, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit({"pack/version": "1"})

    def gate(folder: Path) -> Built:
        problem = Problem(code="REGO_ERROR", message=f"see {folder}", where=f"{folder}/baseline.rego:3")
        raise ConfigError((problem,))

    source = GitSource(GitTree(repository.folder), "refs/heads/main", "pack", state=tmp_path / "state")
    watch = Watch(source, office.publisher, gate, days=30)
    came = watch.look()

    assert watch.at == f"{repository.folder} main@{commit[:12]}"
    assert isinstance(came, ConfigError)
    assert came.where == f"{watch.at}:pack/baseline.rego:3"
    assert came.message == f"see {watch.at}:pack"


def test_only_what_is_committed_on_the_branch_is_published(
    office: Office, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"policies/pack/version": "1", "README.md": "not a pack"})
    source = GitSource(GitTree(repository.folder), "refs/heads/main", "policies/pack", state=tmp_path / "state")
    watch = Watch(source, office.publisher, built, days=30)
    first = watch.look()
    (repository.folder / "policies/pack/version").write_text("uncommitted")
    still = watch.look()
    repository.commit({"policies/pack/version": "2"})

    assert (seen(first), still, seen(watch.look())) == ((1, "released"), None, (2, "released"))


def test_a_rewritten_branch_is_refused_until_a_person_accepts_it(
    office: Office, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"pack/version": "0"})
    repository.commit({"pack/version": "1"})

    def look(*, accept: bool = False) -> object:
        tree = GitTree(repository.folder)
        source = GitSource(tree, "refs/heads/main", "pack", state=tmp_path / "state", accept_rewrite=accept)
        return seen(Watch(source, office.publisher, built, days=30).look())

    first = look()
    repository.commit({"pack/version": "2"}, amend=True)

    assert (first, look(), look(accept=True), look()) == (
        (1, "released"), "SOURCES_REWRITTEN", (2, "released"), None,
    )  # fmt: skip


def test_nothing_of_a_repository_runs_or_is_taken_for_a_file_that_is_none(
    repository: Repository, tmp_path: Path
) -> None:
    """Hooks, filters, export attributes, links."""
    marker = tmp_path / "ran"
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        hook = repository.folder / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
        hook.chmod(0o755)
    commit = repository.commit(
        {"pack/version": "1", "pack/hidden.rego": "$Id$", "pack/.gitattributes": "* filter=evil export-ignore ident\n"}
    )
    marker.unlink(missing_ok=True)
    repository.git("config", "filter.evil.smudge", f"touch {marker}")
    tree = GitTree(repository.folder)
    tree.export(commit, "pack", tmp_path / "out")
    (repository.folder / "pack/link").symlink_to("/etc/passwd")
    linked = repository.commit({})
    marker.unlink(missing_ok=True)
    with pytest.raises(BundleError) as refused:
        tree.export(linked, "pack", tmp_path / "more")

    assert not marker.exists()
    assert (tmp_path / "out/pack/hidden.rego").read_text() == "$Id$"
    assert refused.value.code == "SOURCES_UNREADABLE"


@pytest.fixture
def judged(repository: Repository) -> Callable[[str], str]:
    """Commits to judge come after a first one of a maintainer."""
    start = repository.commit({"catalogue.yaml": CATALOGUE, "baseline/a.rego": "package a"}, by="maintainer")
    tree = GitTree(repository.folder)
    keys = {"payroll": repository.public("hr"), "wiki": repository.public("it")}
    owners = OwnerCheck(tree, "", keys, repository.public("maintainer"))

    def judge(commit: str) -> str:
        try:
            owners.check(start, commit)
        except BundleError as error:
            return error.code
        return "fine"

    return judge


def changed(old: str, new: str) -> dict[str, str]:
    assert old in CATALOGUE
    return {"catalogue.yaml": CATALOGUE.replace(old, new)}


@pytest.mark.parametrize(
    ("files", "by", "wanted"),
    [
        ({"service/payroll/p.rego": "package p"}, "hr", "fine"),
        (changed("owner: hr", "owner: hr2"), "hr", "fine"),
        ({"service/payroll/p.rego": "package p"}, "it", "OWNER_SIGNATURE"),
        ({"service/payroll/p.rego": "package p"}, "", "OWNER_SIGNATURE"),
        ({"service/payroll/p.rego": "package p"}, "maintainer", "OWNER_SIGNATURE"),
        ({"service/payroll/p.rego": "package p", "baseline/a.rego": "package b"}, "hr", "OWNER_FOREIGN"),
        ({"service/payroll/p.rego": "package p", "service/wiki/w.rego": "package w"}, "hr", "OWNER_FOREIGN"),
        ({**changed("owner: it", "owner: hr"), "service/payroll/p.rego": "package p"}, "hr", "OWNER_FOREIGN"),
        (changed("{ceiling: C2, owner: hr}", "{ceiling: C3, owner: hr}"), "hr", "OWNER_CEILING"),
        ({"baseline/a.rego": "package b"}, "hr", "OWNER_SIGNATURE"),
        ({"baseline/a.rego": "package b"}, "", "OWNER_SIGNATURE"),
        ({"baseline/a.rego": "package b"}, "maintainer", "fine"),
    ],
)
def test_whoever_answers_for_a_service_changes_it_and_nothing_else(
    repository: Repository, judged: Callable[[str], str], files: dict[str, str], by: str, wanted: str
) -> None:
    assert judged(repository.commit(files, by=by)) == wanted


def test_a_merge_is_a_maintainers(repository: Repository, judged: Callable[[str], str]) -> None:
    """It can undo what it merges."""
    repository.git("checkout", "-q", "-b", "hr")
    repository.commit({"service/payroll/p.rego": "package p"}, by="hr")
    repository.git("checkout", "-q", "main")
    repository.commit({"baseline/b.rego": "package b"}, by="maintainer")
    sign = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={repository.keys / 'hr'}")
    repository.git(*sign, "merge", "-q", "-s", "ours", "-S", "-m", "merged", "hr")
    by_owner = judged(repository.git("rev-parse", "HEAD"))
    sign = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={repository.keys / 'maintainer'}")
    repository.git(*sign, "commit", "-q", "--amend", "-S", "--no-edit")

    assert (by_owner, judged(repository.git("rev-parse", "HEAD"))) == ("OWNER_SIGNATURE", "fine")
