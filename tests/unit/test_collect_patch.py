"""Updates: an absent sign is no good sign, and an old list shows nothing."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from device_inventory.collectors.commands import Output
from device_inventory.collectors.helper_facts import HelperFacts
from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Collected
from tests.device_trees import BOOT, DAY, NOW, Tree, micro_vm, plain_debian, rhel

SECURITY = "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease"
LISTED = 1_799_906_400  # the Date of that list
HISTORY = "/var/log/apt/history.log"
ENTRY = (
    "Start-Date: 2027-01-10  09:00:00\nCommandline: /usr/bin/unattended-upgrade\n"
    "Upgrade: libc6:amd64 (2.36-9, 2.36-10)\nEnd-Date: 2027-01-10  09:00:30\n"
)
INSTALL = ENTRY.replace("Upgrade:", "Install:").replace("-10 ", "-12 ")
_ZONE = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 9 * 3600, 0, 0) + b"JST\0"
TOKYO = _ZONE + _ZONE + b"\nJST-9\n"
"""A zone file (RFC 8536) without a single transition."""
APT = """\
NOTE: This is only a simulation!
Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64]) []
Inst bash [5.2-1] (5.2-2 Debian:12.7/stable [amd64])
Inst linux-image-6.1.0-26-amd64 (6.1.112-1 Debian-Security:12/stable-security [amd64])
Inst linux-image-amd64 [6.1.106-3] (6.1.112-1 Debian-Security:12/stable-security [amd64])
Inst systemd [255.4-1] (255.4-2 Ubuntu:24.04/noble-updates, Ubuntu:24.04/noble-security [amd64])
Conf libc6 (2.36-10 Debian-Security:12/stable-security [amd64])
"""


def fact(tree: Tree, name: str, *, slow: bool = False, memory: Path | None = None, now: int = NOW) -> Collected:
    return collect(tree.machine(memory=memory, now=now), slow=slow)[name]


def pair(tree: Tree, **more: object) -> tuple[object, object]:
    found = collect(tree.machine(**more), slow=True)
    return found["patch.pending_security"].value, found["patch.oldest_pending_days"].value


# Restarting


def test_a_restart_that_was_asked_for_is_needed(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/run/reboot-required", "*** System restart required ***\n")

    assert fact(tree, "patch.reboot_required").value is True


def test_a_newer_kernel_needs_a_restart_whatever_was_asked_for(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/boot/vmlinuz-6.1.0-26-amd64")

    assert fact(tree, "patch.reboot_required").value is True


@pytest.mark.parametrize(("at", "needed"), [(BOOT - 1, False), (BOOT, False), (BOOT + 1, True)])
def test_a_core_package_unpacked_since_the_boot_needs_a_restart(at: int, needed: bool, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/var/lib/dpkg/info/libc6:amd64.list", "/.\n", at=at)

    assert fact(tree, "patch.reboot_required").value is needed


def test_a_system_that_tells_nothing_is_not_collected(tmp_path: Path) -> None:
    """The file that asks for a restart is written by packages that not every system has."""
    assert fact(micro_vm(tmp_path), "patch.reboot_required").status == "not_collected"


@pytest.mark.parametrize(
    ("changed", "answer", "expected"),
    [
        (BOOT - 1, None, ("observed", False)),
        (BOOT + 9, f"kernel-core {BOOT - 9}\nglibc {BOOT - 9}\n", ("observed", False)),
        (BOOT + 9, f"kernel-core {BOOT - 9}\nglibc {BOOT + 9}\npackage x is not installed\n", ("observed", True)),
        (BOOT + 9, "", ("not_collected", None)),
        (BOOT + 9, None, ("not_collected", None)),
    ],
)
def test_rpm_is_asked_only_when_something_was_installed_since(
    changed: int, answer: str | None, expected: tuple[str, object], tmp_path: Path
) -> None:
    tree = rhel(tmp_path)
    tree.file("/var/lib/rpm/rpmdb.sqlite", at=changed)
    if answer is not None:
        tree.says("rpm-core", answer)
    found = fact(tree, "patch.reboot_required")

    assert (found.status, found.value) == expected


# The list of updates


def test_the_age_of_the_list_is_the_security_lists(tmp_path: Path) -> None:
    """A base suite is made for each point release: its age says nothing about how lately anybody asked."""
    assert fact(plain_debian(tmp_path), "patch.metadata_age").value == (NOW - LISTED) // DAY
    assert fact(plain_debian(tmp_path / "b"), "patch.metadata_age", now=NOW + 30 * DAY).value == 31


def test_a_list_from_the_future_is_an_error(tmp_path: Path) -> None:
    assert fact(plain_debian(tmp_path), "patch.metadata_age", now=LISTED - 2 * DAY).status == "error"


def test_no_list_is_not_collected(tmp_path: Path) -> None:
    assert fact(micro_vm(tmp_path), "patch.metadata_age").status == "not_collected"


def test_dnf_names_the_revision_of_its_lists(tmp_path: Path) -> None:
    assert fact(rhel(tmp_path), "patch.metadata_age").value == 2


# The last success


def test_the_last_upgrade_that_ended_counts(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(HISTORY, f"\n{ENTRY}\n{INSTALL}\n{ENTRY.replace('-10 ', '-13 ')}Error: Sub-process failed\n")

    assert fact(tree, "patch.last_success_at").value == 1_799_571_630  # 2027-01-10T09:00:30Z


def test_the_log_is_in_local_time(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(HISTORY, ENTRY)
    tree.file("/etc/localtime", TOKYO)

    assert fact(tree, "patch.last_success_at").value == 1_799_571_630 - 9 * 3600


def test_a_rotated_log_is_read_as_well(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(HISTORY, INSTALL)
    tree.file(f"{HISTORY}.1.gz", gzip.compress(ENTRY.encode()))

    assert fact(tree, "patch.last_success_at").value == 1_799_571_630


def test_a_run_that_found_nothing_to_do_succeeded(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(HISTORY, ENTRY)
    tree.file("/var/lib/apt/periodic/unattended-upgrades-stamp", at=NOW - 60)

    assert fact(tree, "patch.last_success_at").value == NOW - 60


@pytest.mark.parametrize("text", ["", "End-Date: 2027-13-45  99:00:00\nUpgrade: x\n", ENTRY.replace("2027", "2037")])
def test_no_success_or_an_impossible_one_is_no_value(text: str, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(HISTORY, text)

    assert fact(tree, "patch.last_success_at").value is None


def test_dnf_keeps_its_history_in_a_database(tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.file("/var/lib/dnf/history.sqlite")
    path = tree.place("/var/lib/dnf/history.sqlite")
    with sqlite3.connect(path) as history:
        history.execute("CREATE TABLE trans (id INTEGER, dt_end INTEGER, state INTEGER)")
        history.execute("CREATE TABLE trans_item (trans_id INTEGER, action INTEGER)")
        history.executemany(
            "INSERT INTO trans VALUES (?, ?, ?)", [(1, NOW - 90, 1), (2, NOW - 60, 2), (3, NOW - 30, 1)]
        )
        history.executemany("INSERT INTO trans_item VALUES (?, ?)", [(1, 6), (2, 6), (3, 1)])
    history.close()

    assert fact(tree, "patch.last_success_at").value == NOW - 90
    path.write_bytes(b"no database" * 100)
    assert fact(tree, "patch.last_success_at").status == "error"


# What is pending


def test_security_updates_that_replace_something_are_counted(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("apt-pending", APT)

    assert fact(tree, "patch.pending_security", slow=True).value == 3


def test_without_a_memory_an_update_has_waited_as_long_as_what_it_replaces(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("apt-pending", "Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])\n")
    tree.file("/var/lib/dpkg/info/libc6:amd64.list", "/.\n", at=NOW - 40 * DAY)

    assert pair(tree) == (1, 40)


def test_with_a_memory_it_has_waited_since_the_list_that_did_not_have_it(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path / "machine")
    memory = tmp_path / "pending.json"
    tree.file("/var/lib/dpkg/info/libc6:amd64.list", "/.\n", at=NOW - 40 * DAY)
    tree.says("apt-pending", "")

    assert pair(tree, memory=memory) == (0, 0)
    tree.says("apt-pending", "Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])\n")
    assert pair(tree, memory=memory, now=LISTED + 5 * DAY) == (1, 5)
    # It goes on waiting from then on, and installing it mends it at once.
    assert pair(tree, memory=memory, now=LISTED + 20 * DAY) == (1, 20)
    tree.says("apt-pending", "")
    assert pair(tree, memory=memory, now=LISTED + DAY) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"listed": "x", "since": {}}',
        b'{"listed": 1, "since": {"a": true}}',
        b'{"listed": 1, "since": {}, "answer": {"at": true, "stamp": "", "pending": {}}}',
    ],
)
def test_a_memory_that_makes_no_sense_is_none(content: bytes, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path / "machine")
    memory = tmp_path / "pending.json"
    memory.write_bytes(content)
    tree.file("/var/lib/dpkg/info/libc6:amd64.list", "/.\n", at=NOW - 40 * DAY)
    tree.says("apt-pending", "Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])\n")

    assert pair(tree, memory=memory) == (1, 40)
    assert json.loads(memory.read_text())["listed"] == LISTED


def test_an_old_list_shows_what_waits_and_not_that_nothing_does(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("apt-pending", "")
    later = NOW + 30 * DAY

    assert fact(tree, "patch.pending_security", slow=True, now=later).status == "not_collected"
    tree.says("apt-pending", APT)
    assert fact(tree, "patch.pending_security", slow=True, now=later).value == 3


def test_without_a_list_of_security_updates_nothing_pending_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.remove(SECURITY)
    tree.says("apt-pending", "")

    assert fact(tree, "patch.pending_security", slow=True).status == "not_collected"


def test_apt_that_fails_is_an_error(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("apt-pending", "", 100)

    assert fact(tree, "patch.pending_security", slow=True).status == "error"


def test_dnf_dates_its_advisories(tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.says(
        "dnf-pending",
        "===\n  Important: kernel security update\n===\n  Update ID: RHSA-2026:1\n       Type: security\n"
        "    Updated: 2026-12-16 00:00:00\n       CVEs: CVE-2026-1\n\n  Update ID: RHSA-2027:2\n"
        "    Updated: 2027-01-14 00:00:00\n",
    )

    assert pair(tree) == (2, 30)


@pytest.mark.parametrize(
    ("text", "status", "expected"), [("", 0, "observed"), ("", 1, "not_collected"), ("what?", 0, "error")]
)
def test_dnf_without_its_lists_shows_nothing(text: str, status: int, expected: str, tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.says("dnf-pending", text, status)

    assert fact(tree, "patch.pending_security", slow=True).status == expected


# What apt answered before


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
