"""What a collector reads is bounded, whatever lies in its way."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from device_inventory.collectors import commands
from device_inventory.collectors.commands import COMMANDS, Command, run_command
from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import LARGE, MAX_NAMES, SMALL, Machine, shown
from device_inventory.collectors.unseen import NotObserved
from tests.device_trees import Tree, plain_debian


def test_every_path_lies_under_the_root(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/etc/x", "of the tree")

    assert tree.machine().text("/etc/x") == "of the tree"
    assert Machine(now=0).at("/etc/x") == "/etc/x"


def test_a_file_past_its_limit_is_an_error_and_its_beginning_can_be_had(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/x", b"a" * (SMALL + 1))

    with pytest.raises(NotObserved) as caught:
        tree.machine().text("/x")
    assert caught.value.status == "error"
    assert len(tree.machine().text("/x", head=True)) == SMALL


def test_an_endless_file_is_read_to_its_limit(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/x")
    os.truncate(tree.place("/x"), 1 << 40)

    with pytest.raises(NotObserved):
        tree.machine().data("/x")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_plain_file_is_an_error_at_once(kind: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    if kind == "pipe":
        os.mkfifo(tree.place("/x"))
    elif kind == "folder":
        tree.folder("/x")
    else:
        tree.place("/x").symlink_to("/dev/zero")

    with pytest.raises(NotObserved) as caught:
        tree.machine().text("/x")
    assert caught.value.status == "error"


def test_a_loop_of_links_is_an_error_of_its_facts(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.remove("/etc/os-release")
    tree.place("/etc/os-release").symlink_to("os-release")
    found = collect(tree.machine())

    assert found["os.id"].status == "error"
    assert found["kernel.release"].status == "observed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.place("/etc/os-release").chmod(0)

    assert collect(tree.machine())["os.id"].status == "not_collected"


def test_a_refusal_of_the_kernel_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    machine = tree.machine()

    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/x")

    found = collect(replace(machine, clock=refuse))
    assert found["clock.synchronised"].status == "not_collected"
    assert "may not be read" in found["clock.synchronised"].detail


def test_bytes_that_are_no_text_are_no_name(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/proc/sys/kernel/osrelease", b"6.1.0\xff\xfe\n")
    found = collect(tree.machine())

    assert found["kernel.release"].status == "not_collected"


@pytest.mark.parametrize(("text", "value"), [("  a\tb\x1b[31m ", "ab[31m"), ("x" * 300, "x" * 256), ("\0\n", None)])
def test_a_text_is_short_and_printable(text: str, value: str | None) -> None:
    assert shown(text).value == value


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", "١", "9" * 30, "0x10"])
def test_a_number_is_plain_digits(text: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/x", text)

    with pytest.raises(NotObserved):
        tree.machine().number("/x")


def test_a_packed_file_is_unpacked_to_its_limit(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/x.gz", gzip.compress(b"a" * 10_000_000))
    tree.file("/y.gz", b"not packed")

    assert len(tree.machine().unzipped("/x.gz", limit=20_000)) == 20_000
    with pytest.raises(NotObserved):
        tree.machine().unzipped("/y.gz", limit=20_000)


def test_a_folder_that_is_missing_is_empty_only_where_that_is_asked(tmp_path: Path) -> None:
    machine = Tree(tmp_path).machine()

    assert machine.listing("/none") == []
    with pytest.raises(FileNotFoundError):
        machine.names("/none")
    assert MAX_NAMES < LARGE


def test_no_command_has_an_argument_that_comes_from_elsewhere() -> None:
    """The list is closed: what is run is a constant, and no shell reads it."""
    assert all(word.isprintable() for command in COMMANDS.values() for word in command.words)
    assert not {command.words[0] for command in COMMANDS.values()} & {"sh", "bash", "env", "sudo"}
    with pytest.raises(KeyError):
        run_command("systemctl; id")


def test_a_command_gets_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    monkeypatch.setenv("ZT_SECRET", "x")
    monkeypatch.setattr(commands, "COMMANDS", {"x": Command(words=("env",))})
    told = dict(line.split("=", 1) for line in run_command("x").text.splitlines())

    assert told.keys() == {"LC_ALL", "PATH"}
    assert told["LC_ALL"] == "C"


def test_a_slow_command_is_the_last_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMANDS", {"x": Command(words=("nice",), slow=True)})

    assert run_command("x").text == "19\n"


@pytest.mark.skipif(shutil.which("ionice") is None, reason="needs util-linux")
def test_a_slow_command_waits_for_the_disk_and_runs_where_it_cannot_be_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMANDS", {"x": Command(words=("ionice",), slow=True)})
    own = subprocess.run(["ionice", "-c", "3", "ionice"], capture_output=True, text=True, check=False)

    answer = run_command("x")

    assert answer.status == 0
    assert answer.text == own.stdout or own.returncode


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("no-such-program",), "not_collected"),
        (("/no/such/program",), "not_collected"),
        (("sleep", "60"), "error"),
        (("yes",), "error"),
        (("sh", "-c", "sleep 60 & exec cat /dev/zero"), "error"),
    ],
)
def test_a_command_that_is_missing_hangs_or_floods_gives_no_answer(
    words: tuple[str, ...], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "COMMANDS", {"x": Command(words=words, seconds=1)})
    monkeypatch.setattr(commands, "MAX_OUTPUT", 1 << 20)

    with pytest.raises(NotObserved) as caught:
        run_command("x")
    assert caught.value.status == status
