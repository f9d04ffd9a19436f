"""Whether a disk is encrypted is seen by walking down what a mount stands on, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Collected
from device_inventory.collectors.mounts import mounts
from tests.device_trees import (
    TREES,
    Tree,
    btrfs_on_luks,
    lvm_on_luks,
    micro_vm,
    plain_debian,
    ubuntu_luks,
    zfs_native,
)


def fact(tree: Tree, name: str = "disk.encrypted") -> Collected:
    return collect(tree.machine())[name]


@pytest.mark.parametrize(
    ("name", "encrypted"),
    [
        ("plain_debian", False),
        ("ubuntu_luks", True),
        ("lvm_on_luks", True),
        ("btrfs_on_luks", True),
        ("zfs_native", True),
        ("rhel", False),
        ("micro_vm", False),
    ],
)
def test_each_stack_is_walked_to_its_end(name: str, encrypted: bool, tmp_path: Path) -> None:
    assert fact(TREES[name](tmp_path)).value is encrypted


def test_one_mount_in_the_clear_is_enough_and_is_named(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("sdb1", "8:17")
    tree.mount("8:17", "/mnt/my\\040data", "ext4", "/dev/sdb1")

    assert fact(tree) == Collected("observed", False, "not encrypted: /mnt/my data")


def test_one_half_of_a_mirror_in_the_clear_is_enough(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("sdb1", "8:17")
    tree.block("md0", "9:0", on=("dm-0", "sdb1"))
    tree.mount("9:0", "/srv", "ext4", "/dev/md0")

    assert fact(tree).value is False


def test_one_disk_of_btrfs_in_the_clear_is_enough(tmp_path: Path) -> None:
    tree = btrfs_on_luks(tmp_path)
    tree.block("sdd", "8:48")
    tree.link("/sys/fs/btrfs/0000-1111/devices/sdd", "/sys/devices/virtual/block/sdd")

    assert fact(tree).value is False


@pytest.mark.parametrize(
    "uuid", ["CRYPT-VERITY-0123-root", "CRYPT-INTEGRITY-0123-x", "LVM-CRYPT-x", "mpath-CRYPT-", ""]
)
def test_what_only_checks_or_is_only_called_so_does_not_encrypt(uuid: str, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.block("dm-0", "253:0", uuid=uuid, dm="x", on=("sda2",))
    tree.mount("253:0", "/srv", "ext4", "/dev/mapper/x")

    assert fact(tree).value is False


@pytest.mark.parametrize("uuid", ["CRYPT-LUKS1-0123-x", "CRYPT-PLAIN-x", "CRYPT-BITLK-0123-x"])
def test_every_kind_that_encrypts_counts(uuid: str, tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("sdb1", "8:17")
    tree.block("dm-7", "253:7", uuid=uuid, dm="x", on=("sdb1",))
    tree.mount("253:7", "/srv", "ext4", "/dev/mapper/x")

    assert fact(tree).value is True


def test_what_starts_the_machine_and_what_nobody_writes_does_not_count(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("sr0", "11:0")
    tree.block("nvme0n1p9", "259:9")
    tree.mount("11:0", "/media/cd", "iso9660", "/dev/sr0", options="ro")
    tree.mount("259:9", "/boot/firmware", "vfat", "/dev/nvme0n1p9")
    tree.mount("0:50", "/mnt/share", "nfs4", "server:/x")

    assert fact(tree).value is True


def test_a_read_only_view_hides_no_disk(tmp_path: Path) -> None:
    """A confined agent sees everything read-only: if that took mounts away, none would be left to be in the clear."""
    tree = ubuntu_luks(tmp_path)
    tree.block("sdb1", "8:17")
    tree.mount("8:17", "/srv", "ext4", "/dev/sdb1", view="ro", options="rw")

    assert fact(tree).value is False


def test_a_file_used_as_a_disk_is_as_safe_as_the_disk_it_lies_on(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("loop3", "7:3")
    tree.file("/sys/devices/virtual/block/loop3/loop/backing_file", "/var/lib/image\n")
    tree.mount("7:3", "/srv", "ext4", "/dev/loop3")

    assert fact(tree).value is True
    tree.block("sdb1", "8:17")
    tree.mount("8:17", "/var/lib", "ext4", "/dev/sdb1")
    assert "/srv" in fact(tree).detail


def test_memory_is_no_disk(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("zram1", "252:1")
    tree.mount("252:1", "/tmp", "ext4", "/dev/zram1")

    assert fact(tree).value is True


@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "nfs4"])
def test_a_root_that_is_no_disk_here_is_not_collected(kind: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.mount("0:40", "/", kind, kind)

    assert fact(tree).status == "not_collected"


def test_nothing_mounted_is_not_collected(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/proc/self/mountinfo", "no line of it\n")

    assert fact(tree).status == "not_collected"


def test_a_device_that_is_not_shown_is_not_collected(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.mount("99:1", "/srv", "ext4", "/dev/x")

    assert fact(tree).status == "not_collected"


def test_what_is_known_to_be_in_the_clear_outweighs_what_is_not_known(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.mount("99:1", "/srv", "ext4", "/dev/x")

    assert fact(tree).value is False


@pytest.mark.parametrize(("name", "encrypted"), [("dm-0", True), ("sda2", False)])
def test_a_source_by_another_name_is_followed(name: str, encrypted: bool, tmp_path: Path) -> None:
    tree = btrfs_on_luks(tmp_path)
    tree.mounted.clear()
    tree.link("/dev/disk/by-uuid/0123", f"/dev/{name}")
    tree.mount("0:30", "/", "btrfs", "/dev/disk/by-uuid/0123")

    assert fact(tree).value is encrypted


def test_bcachefs_names_all_its_devices(tmp_path: Path) -> None:
    tree = btrfs_on_luks(tmp_path)
    tree.mounted.clear()
    tree.mount("0:30", "/", "bcachefs", "/dev/dm-0:/dev/dm-1")
    assert fact(tree).value is True

    tree.mount("0:31", "/srv", "bcachefs", "/dev/dm-0:/dev/sda2")
    assert fact(tree).value is False


def test_a_file_system_on_something_unknown_is_not_collected(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.mount("0:30", "/", "btrfs", "none")

    assert fact(tree).status == "not_collected"


def test_a_stack_without_an_end_is_not_collected(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.block("dm-0", "253:0", uuid="LVM-x", dm="x", on=("dm-0",))
    tree.mount("253:0", "/", "ext4", "/dev/mapper/x")

    assert fact(tree).status == "not_collected"


@pytest.mark.parametrize(
    ("arrange", "status", "value"),
    [
        (lambda tree: tree.says("zfs", "rpool/ROOT/debian\toff\n"), "not_collected", None),
        (lambda tree: tree.says("zfs", "other\taes-256-gcm\n"), "not_collected", None),
        (lambda tree: tree.answers.pop("zfs"), "not_collected", None),
        (lambda tree: (tree.says("zfs", "rpool/ROOT/debian\toff\n"), tree.says("zpool", POOL)), "observed", False),
        (
            lambda tree: (
                tree.says("zfs", "rpool/ROOT/debian\toff\n"),
                tree.says("zpool", POOL.replace("/dev/sda2", "/dev/dm-0")),
            ),
            "observed",
            True,
        ),
    ],
)
def test_zfs_that_does_not_encrypt_is_as_safe_as_its_devices(
    arrange: Callable[[Tree], object], status: str, value: bool | None, tmp_path: Path
) -> None:
    tree = zfs_native(tmp_path)
    tree.block("dm-0", "253:0", uuid="CRYPT-LUKS2-x", dm="pool", on=("sda2",))
    arrange(tree)

    assert (fact(tree).status, fact(tree).value) == (status, value)


POOL = "other\t1G\n\t/dev/sdz\t1G\nrpool\t1G\t-\n\t/dev/sda2\t1G\t-\n"


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        ("", True),
        ("/dev/zram0 partition 1 0 100\n", True),
        ("/dev/sda2 partition 1 0 -2\n", False),
        ("/dev/dm-0 partition 1 0 -2\n", True),
        ("/swapfile file 1 0 -2\n", True),
        ("/srv/swap\\040file file 1 0 -2\n", False),
        ("/dev/zram0 partition 1 0 100\n/dev/sda2 partition 1 0 -2\n", False),
    ],
)
def test_swap_is_as_safe_as_what_it_lies_on(rows: str, value: bool, tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.block("sda2", "8:2")
    tree.block("zram0", "252:0")
    tree.mount("8:2", "/srv", "ext4", "/dev/sda2")
    tree.file("/proc/swaps", f"Filename Type Size Used Priority\n{rows}")

    assert fact(tree, "swap.encrypted").value is value


@pytest.mark.parametrize("content", [None, "", "nonsense\n"])
def test_a_missing_table_of_swap_is_not_collected(content: str | None, tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.remove("/proc/swaps")
    if content is not None:
        tree.file("/proc/swaps", content)

    assert fact(tree, "swap.encrypted").status == "not_collected"


@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({"/etc/modprobe.d/usb.conf": "install usb-storage /bin/false\n"}, False),
        ({"/etc/modprobe.d/usb.conf": "install usb_storage /usr/bin/true\n"}, False),
        ({"/etc/modprobe.d/usb.conf": "blacklist usb-storage\n"}, True),
        ({"/etc/modprobe.d/usb.conf": "blacklist usb-storage\nblacklist uas\n"}, False),
        ({"/etc/modprobe.d/usb.conf": "# install usb-storage /bin/false\n"}, True),
        ({"/etc/modprobe.d/usb.conf.bak": "install usb-storage /bin/false\n"}, True),
        ({"/usr/lib/modprobe.d/u.conf": "install usb-storage /bin/false\n", "/etc/modprobe.d/u.conf": ""}, True),
        ({"/etc/modprobe.d/u.conf": "install usb-storage /bin/false\n", "/sys/module/usb_storage/refcnt": "0"}, True),
    ],
)
def test_usb_storage_is_allowed_unless_its_driver_is_never_loaded(
    files: dict[str, str], value: bool, tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/lib/modules/6.1.0-25-amd64/modules.dep", "kernel/drivers/usb/storage/usb-storage.ko: x.ko\n")
    tree.file("/lib/modules/6.1.0-25-amd64/modules.builtin", "")
    for path, content in files.items():
        tree.file(path, content)

    assert fact(tree, "usb_storage.allowed").value is value


def test_a_kernel_whose_drivers_are_elsewhere_is_not_collected(tmp_path: Path) -> None:
    assert fact(micro_vm(tmp_path), "usb_storage.allowed").status == "not_collected"


def test_a_line_of_the_mounts_that_makes_no_sense_is_passed_over(tmp_path: Path) -> None:
    tree = lvm_on_luks(tmp_path)
    tree.mounted.append("1 2 3\n")
    tree.mount("0:1", "/proc", "proc", "proc")

    assert [mount.point for mount in mounts(tree.machine())] == ["/", "/proc"]
