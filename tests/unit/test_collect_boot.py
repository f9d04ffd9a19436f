"""Release, Secure Boot, TPM, kernel, and what the machine is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device_inventory.collectors.kernels import flavour, version_order
from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Collected
from device_inventory.serial import serial_hash
from tests.device_trees import FIRMWARE, NOW, TREES, Tree, micro_vm, plain_debian, release, rhel, ubuntu_luks

SHIM = "/sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
SECURE_BOOT = f"/sys/firmware/efi/efivars/SecureBoot-{FIRMWARE}"


def facts(tree: Tree, *names: str, scope: str = "user", now: int = NOW) -> list[tuple[str, object]]:
    found = collect(tree.machine(now=now), scope=scope)
    return [(found[name].status, found[name].value) for name in names]


def fact(tree: Tree, name: str, scope: str = "user") -> Collected:
    return collect(tree.machine(), scope=scope)[name]


@pytest.mark.parametrize(
    ("secure_boot", "setup_mode", "expected"),
    [
        (1, 0, [("observed", True), ("observed", False)]),
        (0, 0, [("observed", False), ("observed", False)]),
        (0, 1, [("observed", False), ("observed", True)]),
        (None, None, [("not_supported", None), ("not_supported", None)]),
        (7, 0, [("error", None), ("observed", False)]),
    ],
)
def test_secure_boot_is_the_byte_after_four_of_attributes(
    secure_boot: int | None, setup_mode: int | None, expected: list[object], tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.efi(secure_boot=secure_boot, setup_mode=setup_mode)

    assert facts(tree, "boot.secure_boot", "boot.setup_mode") == expected


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x06\0\0\0", b"\x06\0\0\0\x01\x01", b"\x01" * 64])
def test_a_variable_of_another_shape_is_an_error(content: bytes, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.efi()
    tree.file(SECURE_BOOT, content)

    assert fact(tree, "boot.secure_boot").status == "error"


def test_secure_boot_that_shim_does_not_carry_on_is_off(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.file(SHIM, b"\x06\0\0\0\x01")

    assert fact(tree, "boot.secure_boot").value is False
    tree.file(SHIM, b"\x06\0\0\0\x00")
    assert fact(tree, "boot.secure_boot").value is True


def test_variables_that_are_not_mounted_are_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.folder("/sys/firmware/efi/efivars")

    assert fact(tree, "boot.secure_boot").status == "not_collected"


def test_a_tpm_has_a_version_and_a_measured_start(tmp_path: Path) -> None:
    names = ("tpm.present", "tpm.version", "boot.measured")

    assert facts(ubuntu_luks(tmp_path), *names) == [("observed", True), ("observed", "2.0"), ("observed", True)]


@pytest.mark.parametrize(
    ("major", "register", "expected"),
    [
        ("1", "0" * 64, [("observed", "1.2"), ("observed", False)]),
        ("3", "F" * 64, [("not_collected", None), ("observed", False)]),
        ("", "nonsense", [("not_collected", None), ("error", None)]),
    ],
)
def test_a_register_that_was_never_extended_measured_nothing(
    major: str, register: str, expected: list[object], tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.tpm(major=major, register=register)

    assert facts(tree, "tpm.version", "boot.measured") == expected


def test_no_tpm_is_seen_only_where_the_kernel_looks_for_one(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)

    assert fact(tree, "tpm.present").status == "not_collected"
    tree.folder("/sys/class/tpm")
    assert facts(tree, "tpm.present", "tpm.version") == [("observed", False), ("not_collected", None)]


def test_the_log_of_the_firmware_is_as_good_as_a_register(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.folder("/sys/class/tpm/tpm0")

    assert fact(tree, "boot.measured").status == "not_collected"
    tree.file("/sys/kernel/security/tpm0/binary_bios_measurements", b"x" * 500_000)
    assert fact(tree, "boot.measured", "root").value is True


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("none [integrity] confidentiality\n", ("observed", "integrity")),
        ("[none] integrity confidentiality\n", ("observed", "none")),
        ("none integrity\n", ("error", None)),
        ("[new]\n", ("error", None)),
    ],
)
def test_the_level_of_lockdown_is_the_one_in_brackets(
    content: str, expected: tuple[str, object], tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/sys/kernel/security/lockdown", content)

    assert facts(tree, "kernel.lockdown") == [expected]


def test_the_release_is_what_the_system_calls_itself(tmp_path: Path) -> None:
    names = ("os.family", "os.id", "os.version", "os.build", "kernel.release")

    assert [value for _, value in facts(plain_debian(tmp_path), *names)] == [
        "linux", "debian", "12", "12.7", "6.1.0-25-amd64",
    ]  # fmt: skip


def test_a_quoted_release_is_read_as_a_shell_would(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/os-release", '# x\nID=\'my-os\'\nVERSION_ID="1\\"2"\nBUILD_ID=2027-01\nevil=$(id)\n\n')

    assert facts(tree, "os.id", "os.version", "os.build") == [
        ("observed", "my-os"), ("observed", '1"2'), ("observed", "2027-01"),
    ]  # fmt: skip


def test_a_rolling_release_has_no_version_and_no_end(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/os-release", "ID=arch\n")

    assert facts(tree, "os.version", "os.build", "os.supported") == [("not_collected", None)] * 3


def test_a_system_without_etc_keeps_its_release_in_usr(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.remove("/etc/os-release")
    tree.file("/usr/lib/os-release", "ID=fedora\nVERSION_ID=41\nSUPPORT_END=2026-12-31\n")

    assert facts(tree, "os.id", "os.eol_date", "os.supported") == [
        ("observed", "fedora"), ("observed", "2026-12-31"), ("observed", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "version", "date"),
    [
        ("debian", "12", "2028-06-30"),
        ("ubuntu", "22.04", "2027-05-31"),
        ("rhel", "9.4", "2032-05-31"),
        ("rocky", "8.10", "2029-05-31"),
        ("almalinux", "9.9", "2032-05-31"),
    ],
)
def test_the_end_of_support_is_known_for_the_usual_systems(
    identity: str, version: str, date: str, tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/os-release", release(identity, version))

    assert facts(tree, "os.eol_date", "os.supported") == [("observed", date), ("observed", True)]


def test_the_machines_own_table_comes_before_ours(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file(
        "/usr/share/distro-info/debian.csv",
        "version,codename,series,created,release,eol,eol-lts,eol-elts\n"
        "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-06-10,2026-12-31,2033-06-30\n",
    )

    assert facts(tree, "os.eol_date", "os.supported") == [("observed", "2026-12-31"), ("observed", False)]
    tree.file("/etc/os-release", release("ubuntu", "24.04"))
    tree.file("/usr/share/distro-info/ubuntu.csv", "version,codename,eol\n24.04 LTS,Noble,2029-05-31\n")
    assert facts(tree, "os.eol_date") == [("observed", "2029-05-31")]


def test_the_last_day_of_support_is_still_supported(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/os-release", release("x", "1", "SUPPORT_END=2027-01-15\n"))

    assert facts(tree, "os.supported") == [("observed", True)]
    assert facts(tree, "os.supported", now=NOW + 86_400) == [("observed", False)]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0-9-amd64", "6.1.0-10-amd64"),
        ("6.12~rc1-1", "6.12-1"),
        ("6.12.0-rc3-amd64", "6.12.0-amd64"),
        ("5.14.0-427.9.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
        ("6.8.0-45-generic", "6.11.0-9-generic"),
    ],
)
def test_versions_are_ordered_by_their_numbers(older: str, newer: str) -> None:
    assert version_order(older) < version_order(newer)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("6.1.0-25-amd64", "amd64"),
        ("6.1.0-25-cloud-amd64", "cloud-amd64"),
        ("6.12.43+deb13-amd64", "amd64"),
        ("6.8.0-45-generic", "generic"),
        ("6.12.0-rc3-amd64", "amd64"),
        ("6.6.1-arch1-1", ""),
        ("5.14.0-427.13.1.el9_4.x86_64", ""),
    ],
)
def test_a_kernel_has_a_kind(kernel: str, kind: str) -> None:
    assert flavour(kernel) == kind


@pytest.mark.parametrize(
    ("also", "expected"),
    [
        (None, True),
        ("/boot/vmlinuz-6.1.0-26-amd64", False),
        ("/boot/vmlinuz-6.1.0-3-amd64", True),
        ("/boot/vmlinuz-6.9.0-1-cloud-amd64", True),
        ("/boot/initrd.img-6.9.0-1-amd64", True),
        ("/lib/modules/6.9.0-1-amd64/modules.dep", True),
        ("/usr/lib/modules/6.9.0-1-amd64/vmlinuz", False),
    ],
)
def test_the_running_kernel_is_held_against_the_newest_of_its_kind(
    also: str | None, expected: bool, tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    if also:
        tree.file(also)

    assert facts(tree, "kernel.running_is_latest") == [("observed", expected)]


def test_a_rescue_image_is_no_newer_kernel(tmp_path: Path) -> None:
    assert facts(rhel(tmp_path), "kernel.running_is_latest") == [("observed", True)]


def test_a_kernel_from_outside_is_held_against_nothing(tmp_path: Path) -> None:
    tree = micro_vm(tmp_path)
    tree.file("/boot/vmlinuz-6.1.0-25-amd64")

    assert facts(tree, "kernel.running_is_latest") == [("not_collected", None)]


def test_the_serial_number_leaves_as_a_hash_and_for_root_only_where_the_kernel_says_so(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)

    assert fact(tree, "device.serial_hash", "root").value == serial_hash("pf-12345")
    assert fact(tree, "device.model").value == "LENOVO 21CB"


@pytest.mark.parametrize(
    "serial", ["", "To be filled by O.E.M.", "Default string", "0", "None", "System Serial Number"]
)
def test_a_serial_number_that_many_machines_share_is_none(serial: str, tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.file("/sys/class/dmi/id/product_serial", f"{serial}\n")

    assert fact(tree, "device.serial_hash", "root").status == "not_collected"


@pytest.mark.parametrize("name", ["To Be Filled By O.E.M.", "System Product Name", "", "Default string"])
def test_a_model_that_says_nothing_is_none(name: str, tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.file("/sys/class/dmi/id/sys_vendor", f"{name}\n")
    tree.file("/sys/class/dmi/id/product_name", f"{name}\n")

    assert fact(tree, "device.model").status == "not_collected"


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (lambda tree: tree.file("/proc/cpuinfo", "flags\t: fpu hypervisor\n"), ("observed", True)),
        (lambda tree: tree.file("/proc/cpuinfo", "flags\t: fpu nohypervisor\n"), ("observed", False)),
        (lambda tree: tree.file("/proc/sys/kernel/osrelease", "5.15.0-microsoft-standard-WSL2\n"), ("observed", True)),
        (lambda tree: arm(tree, "/sys/class/dmi/id/sys_vendor", "QEMU\n"), ("observed", True)),
        (lambda tree: arm(tree, "/proc/device-tree/model", "Raspberry Pi 5\0"), ("observed", False)),
        (lambda tree: arm(tree, "/proc/device-tree/hypervisor/compatible", "x"), ("observed", True)),
        (lambda tree: arm(tree, "/x", ""), ("not_collected", None)),
        (lambda tree: tree.file("/sys/hypervisor/type", "xen\n"), ("observed", True)),
        (lambda tree: (tree.file("/sys/hypervisor/type", "xen\n"), tree.file("/proc/xen/capabilities", "control_d\n")),
         ("observed", False)),
    ],
)  # fmt: skip
def test_a_virtual_machine_is_a_fact(
    arrange: Callable[[Tree], object], expected: tuple[str, object], tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    arrange(tree)

    assert facts(tree, "vm") == [expected]


def arm(tree: Tree, path: str, content: str) -> None:
    tree.file("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n")
    tree.file(path, content)


@pytest.mark.parametrize("name", TREES)
def test_the_clock_is_the_kernels_word(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path)

    assert facts(tree, "clock.synchronised", "clock.skew_s") == [("observed", True), ("observed", 1)]


def test_a_clock_that_nobody_keeps_has_no_known_error(tmp_path: Path) -> None:
    from device_inventory.collectors.clock import KernelClock

    tree = plain_debian(tmp_path)
    tree.clock = KernelClock(synchronised=False, error_us=16_000_000)

    assert facts(tree, "clock.synchronised", "clock.skew_s") == [("observed", False), ("not_collected", None)]
