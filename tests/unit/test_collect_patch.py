"""Updates: an absent sign is no good sign, and an old list shows nothing."""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
from pathlib import Path

import pytest

from tests.device_trees import BOOT, DAY, NOW, micro_vm, plain_debian, rhel
from tests.patch_support import SECURITY, fact, pair

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
