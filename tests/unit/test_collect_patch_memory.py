"""What apt answered before is told again for as long as nothing it looks at has changed, with its own time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from device_inventory.collectors.commands import Output
from device_inventory.collectors.helper_facts import HelperFacts
from device_inventory.collectors.linux import collect
from tests.device_trees import DAY, NOW, Tree, plain_debian
from tests.patch_support import SECURITY, fact, pair

WAITS = "Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])\n"


def replaced(tree: Tree, path: str) -> None:
    """Another file in its place with the same content, length and time, as a package manager or `rsync -t` puts it."""
    place = tree.place(path)
    held = place.stat()
    part = place.with_name("part")
    part.write_bytes(place.read_bytes())
    os.utime(part, ns=(held.st_atime_ns, held.st_mtime_ns))
    part.replace(place)


def touched(tree: Tree, path: str) -> None:
    """Written in place, its time put back."""
    held = tree.place(path).stat()
    tree.file(path, tree.place(path).read_bytes())
    os.utime(tree.place(path), ns=(held.st_atime_ns, held.st_mtime_ns))


def remembering(tmp_path: Path) -> tuple[Tree, Path]:
    """A Debian whose apt has answered at NOW, and where that is remembered."""
    tree, memory = plain_debian(tmp_path / "machine"), tmp_path / "pending.json"
    tree.file("/var/lib/dpkg/info/libc6:amd64.list", "/.\n", at=NOW - 40 * DAY)
    tree.file("/etc/apt/sources.list", "deb https://deb.debian.org/debian bookworm main\n")
    tree.says("apt-pending", WAITS)
    assert pair(tree, memory=memory) == (1, 40)
    return tree, memory


def test_as_long_as_nothing_changes_apts_answer_is_told_again_with_its_own_time(tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)
    tree.says("apt-pending", "")  # would be noticed

    later = collect(tree.machine(memory=memory, now=NOW + DAY - 1), slow=True)

    for name, value in (("patch.pending_security", 1), ("patch.oldest_pending_days", 40)):
        assert (later[name].value, later[name].looked_at(NOW + DAY - 1)) == (value, NOW)
    assert tree.asked.count("apt-pending") == 1


@pytest.mark.parametrize("now", [NOW + DAY, NOW - 1])
def test_a_day_later_or_with_the_clock_put_back_apt_is_asked_anew(now: int, tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)

    again = fact(tree, "patch.pending_security", slow=True, memory=memory, now=now)

    assert (tree.asked.count("apt-pending"), again.looked_at(now)) == (2, now)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: replaced(tree, "/var/lib/dpkg/status"),
        lambda tree: touched(tree, SECURITY),
        lambda tree: replaced(tree, "/etc/apt/sources.list"),
        lambda tree: tree.file("/var/lib/apt/lists/other_Packages"),
        lambda tree: tree.file("/var/lib/apt/extended_states"),
        lambda tree: tree.file("/etc/apt/preferences.d/pin", "Package: *\n"),
        lambda tree: tree.file("/etc/apt/apt.conf.d/99mine", 'APT::Default-Release "stable";\n'),
        lambda tree: tree.remove("/etc/apt/sources.list"),
    ],
)
def test_whatever_apt_looks_at_has_changed_apt_is_asked_anew(change: Callable[[Tree], None], tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)
    change(tree)
    tree.says("apt-pending", "")

    again = fact(tree, "patch.pending_security", slow=True, memory=memory, now=NOW + 60)

    assert (again.value, again.looked_at(NOW + 60)) == (0, NOW + 60)


def test_an_answer_is_not_told_again_where_it_cannot_be_seen_that_nothing_has_changed(tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)
    tree.place("/etc/apt/preferences.d").symlink_to("preferences.d")  # leads nowhere, and cannot be looked at

    for _ in range(2):
        fact(tree, "patch.pending_security", slow=True, memory=memory, now=NOW + 60)

    assert tree.asked.count("apt-pending") == 3


def test_what_changed_while_apt_looked_is_looked_at_again(tmp_path: Path) -> None:
    tree, memory = plain_debian(tmp_path / "machine"), tmp_path / "pending.json"

    def run(name: str) -> Output:
        tree.asked.append(name)
        replaced(tree, "/var/lib/dpkg/status")
        return Output(status=0, text=WAITS)

    for _ in range(2):
        collect(structs.replace(tree.machine(memory=memory), run=run), slow=True)

    assert tree.asked.count("apt-pending") == 2


def test_a_restarted_helper_tells_the_answer_with_its_own_time_and_asks_anew_a_day_after_that(tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)
    helper = HelperFacts(lambda now: tree.machine(memory=memory, now=now))

    assert helper.look_slowly(NOW + 600)
    told = helper.at(NOW + 700)["patch.pending_security"]
    assert told == {"status": "observed", "value": 1, "collected_at": NOW}
    assert not helper.look_slowly(NOW + DAY - 1)
    assert helper.look_slowly(NOW + DAY)
    assert helper.at(NOW + DAY)["patch.pending_security"]["collected_at"] == NOW + DAY
    assert tree.asked.count("apt-pending") == 2


def test_a_helper_whose_clock_was_put_back_asks_anew_instead_of_waiting_for_the_day_it_looked(tmp_path: Path) -> None:
    tree, memory = remembering(tmp_path)
    helper = HelperFacts(lambda now: tree.machine(memory=memory, now=now))
    helper.look_slowly(NOW + 300 * DAY)

    assert helper.look_slowly(NOW)
    assert helper.at(NOW)["patch.pending_security"]["collected_at"] == NOW
