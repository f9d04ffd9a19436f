"""Protection that counts has a unit, a process in it and a package; integrity, confinement and management."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Session
from tests.device_trees import BOOT, NOW, Tree, plain_debian, rhel, ubuntu_luks

WDAVDAEMON = "/opt/microsoft/mdatp/sbin/wdavdaemon"
HEALTHY = {
    "healthy": True,
    "licensed": True,
    "real_time_protection_enabled": True,
    "definitions_status": "up_to_date",
    "definitions_updated_minutes_ago": 135,
    "engine_load_status": "Engine load succeeded",
}


def values(tree: Tree, *names: str, scope: str = "user") -> tuple[object, ...]:
    found = collect(tree.machine(), scope=scope)
    return tuple(found[name].value for name in names)


def status(tree: Tree, name: str, scope: str = "user") -> str:
    return collect(tree.machine(), scope=scope)[name].status


def defender(root: Path, health: object) -> Tree:
    tree = plain_debian(root)
    tree.file(WDAVDAEMON)
    tree.file("/var/lib/dpkg/info/mdatp.list", f"/.\n{WDAVDAEMON}\n")
    tree.process(800, "wdavdaemon", "mdatp")
    tree.says("mdatp", health if isinstance(health, str) else json.dumps(health))
    return tree


def clamav(root: Path, *, watching: bool) -> Tree:
    tree = plain_debian(root)
    tree.file("/usr/sbin/clamonacc")
    tree.file("/var/lib/dpkg/info/clamav-daemon.list", "/usr/sbin/clamd\n/usr/sbin/clamonacc\n")
    tree.file("/var/lib/clamav/daily.cvd", at=NOW - 7 * 3600 - 5)
    if watching:
        tree.process(900, "clamonacc", "clamav-clamonacc")
    return tree


def test_a_product_in_its_unit_and_package_runs(tmp_path: Path) -> None:
    assert values(ubuntu_luks(tmp_path), "edr.running", "edr.vendor") == (True, "Wazuh")


@pytest.mark.parametrize(
    ("weaken", "expected"),
    [
        (lambda tree: tree.file("/proc/700/comm", "sleep\n"), (False, "Wazuh")),
        (lambda tree: tree.remove("/proc/700/comm"), (False, "Wazuh")),
        (lambda tree: tree.remove("/sys/fs/cgroup/system.slice/wazuh-agent.service/cgroup.procs"), (False, "Wazuh")),
        (lambda tree: tree.file("/var/lib/dpkg/info/wazuh-agent.list", "/etc/x\n"), (None, None)),
        (lambda tree: tree.remove("/var/lib/dpkg/info/wazuh-agent.list"), (None, None)),
        (lambda tree: tree.remove("/var/ossec/bin/wazuh-agentd"), (None, None)),
    ],
)
def test_a_name_alone_proves_nothing(
    weaken: Callable[[Tree], object], expected: tuple[object, ...], tmp_path: Path
) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.file("/proc/4242/comm", "wazuh-agentd\n")  # anybody's process of that name
    weaken(tree)

    assert values(tree, "edr.running", "edr.vendor") == expected


def test_without_a_known_product_protection_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)

    for name in ("edr.running", "edr.vendor", "edr.healthy", "av.realtime", "av.signature_age_h"):
        assert status(tree, name) == "not_collected"


def test_rpm_says_who_owns_a_program(tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.file("/opt/CrowdStrike/falcon-sensor")
    tree.process(701, "falcon-sensor", "falcon-sensor")
    assert values(tree, "edr.running") == (None,)

    tree.says("rpm-owners", "falcon-sensor\nfile /usr/sbin/clamd is not owned by any package\n", 1)
    assert values(tree, "edr.running", "edr.vendor") == (True, "CrowdStrike Falcon")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (True, True, 2)),
        ({"real_time_protection_enabled": False}, (False, False, 2)),
        ({"definitions_status": "update_failed"}, (False, True, 2)),
        ({"licensed": False}, (False, True, 2)),
        ({"engine_load_status": "Engine not loaded"}, (False, True, 2)),
        ({"licensed": None}, (None, True, 2)),
        ({"real_time_protection_enabled": None}, (None, None, 2)),
        ({"definitions_updated_minutes_ago": "-1"}, (True, True, None)),
        ({"healthy": False}, (True, True, 2)),
        ({"real_time_protection_enabled": {"value": True, "$type": "x"}}, (True, True, 2)),
    ],
)
def test_the_word_healthy_is_not_believed(
    change: dict[str, object], expected: tuple[object, ...], tmp_path: Path
) -> None:
    tree = defender(tmp_path, HEALTHY | change)

    assert values(tree, "edr.healthy", "av.realtime", "av.signature_age_h") == expected


def test_newer_spellings_of_the_fields_are_read(tmp_path: Path) -> None:
    tree = defender(
        tmp_path,
        {"licensed": True, "realTimeProtectionEnabled": True, "definitionsStatus": {"$type": "upToDate"},
         "engineLoadStatus": "Engine load succeeded"},
    )  # fmt: skip

    assert values(tree, "edr.healthy") == (True,)


@pytest.mark.parametrize("health", ["", "[]", "null", "{", '"x"'])
def test_an_answer_of_mdatp_that_makes_no_sense_is_an_error(health: str, tmp_path: Path) -> None:
    assert status(defender(tmp_path, health), "edr.healthy") == "error"


def test_a_product_that_does_not_run_is_not_healthy(tmp_path: Path) -> None:
    tree = defender(tmp_path, HEALTHY)
    tree.file("/proc/800/comm", "x\n")

    assert values(tree, "edr.running", "edr.healthy") == (False, False)
    assert "mdatp" not in tree.asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'aid="{"a" * 32}", rfm-state=false.\n', True),
        (f'aid="{"a" * 32}", rfm-state=true.\n', False),
        ("aid is not set, rfm-state=false.\n", False),
        ("ERROR: must run as root\n", None),
    ],
)
def test_falcon_tells_its_health_to_root(text: str, expected: bool | None, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/opt/CrowdStrike/falcon-sensor")
    tree.file("/var/lib/dpkg/info/falcon-sensor.list", "/opt/CrowdStrike/falcon-sensor\n")
    tree.process(701, "falcon-sensor-b", "falcon-sensor")
    tree.says("falconctl", text)

    assert values(tree, "edr.healthy", scope="root") == (expected,)


@pytest.mark.parametrize("watching", [True, False])
def test_a_scanner_that_only_scans_on_demand_does_not_watch(watching: bool, tmp_path: Path) -> None:
    assert values(clamav(tmp_path, watching=watching), "av.realtime", "av.signature_age_h") == (watching, 7)


def test_the_newest_definitions_count_and_none_from_the_future(tmp_path: Path) -> None:
    tree = clamav(tmp_path, watching=False)
    tree.file("/var/lib/clamav/daily.cld", at=NOW - 3600)
    assert values(tree, "av.signature_age_h") == (1,)

    tree.file("/var/lib/clamav/daily.cld", at=NOW + 10 * 86_400)
    assert status(tree, "av.signature_age_h") == "error"


# Integrity


@pytest.mark.parametrize(
    ("arrange", "rooted"),
    [
        (lambda tree: None, False),
        (lambda tree: tree.file("/etc/passwd", "root:x:0:0:::\ntoor:x:0:0:::\n"), True),
        (lambda tree: tree.file("/etc/passwd", "root:x:0:0:::\ntoor:x:000:0:::\n"), True),
        (lambda tree: tree.file("/proc/sys/kernel/tainted", "2\n"), True),
        (lambda tree: tree.file("/proc/sys/kernel/tainted", "12288\n"), False),  # foreign and unsigned modules
        (lambda tree: tree.file("/etc/ld.so.preload", "/lib/x.so\n"), True),
        (
            lambda tree: (
                tree.file("/etc/ld.so.preload", "# x\n/usr/lib/x.so\n"),
                tree.file("/var/lib/dpkg/info/x.list", "/lib/x.so\n"),
            ),
            False,
        ),
        (lambda tree: tree.remove("/proc/sys/kernel/tainted"), None),
        (lambda tree: tree.file("/etc/passwd", ""), None),
    ],
)
def test_signs_of_a_system_that_was_opened(
    arrange: Callable[[Tree], object], rooted: bool | None, tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    arrange(tree)

    assert values(tree, "integrity.rooted") == (rooted,)


def test_a_library_for_every_program_is_seen_in_the_file_and_in_the_session(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    assert values(tree, "ld_preload", "kernel.taint", "debugger") == (False, 0, False)

    tree.file("/etc/ld.so.preload", "\n# nothing\n")
    assert values(tree, "ld_preload") == (False,)
    tree.session = Session(preload="/tmp/x.so")
    assert values(tree, "ld_preload") == (True,)
    tree.session = Session()
    tree.file("/etc/ld.so.preload", "/a.so:/b.so")
    assert values(tree, "ld_preload") == (True,)


def test_a_program_that_traces_the_collector_is_seen(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/proc/self/status", "Name:\tx\nTracerPid:\t4242\n")
    assert values(tree, "debugger") == (True,)

    tree.file("/proc/self/status", "Name:\tx\n")
    assert status(tree, "debugger") == "error"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/sys/fs/selinux/enforce": "1"}, True),
        ({"/sys/fs/selinux/enforce": "0"}, False),
        ({"/sys/module/apparmor/parameters/enabled": "Y\n"}, True),
        ({"/sys/module/apparmor/parameters/enabled": "Y\n", "/sys/kernel/security/lsm": "capability,yama"}, False),
        ({"/sys/module/apparmor/parameters/enabled": "N\n"}, None),
        ({"/sys/module/apparmor/parameters/enabled": "N\n", "/sys/kernel/security/lsm": "capability"}, False),
        ({"/sys/kernel/security/lsm": "capability,tomoyo"}, True),
        ({"/sys/module/apparmor/parameters/enabled": "Y", "/sys/kernel/security/apparmor/profiles": ""}, False),
        ({"/sys/module/apparmor/parameters/enabled": "Y",
          "/sys/kernel/security/apparmor/profiles": "x (complain)\ny (enforce)\n"}, True),
        ({}, None),
    ],
)  # fmt: skip
def test_confinement_that_only_records_is_none(files: dict[str, str], expected: bool | None, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    for path, content in files.items():
        tree.file(path, content)

    assert values(tree, "mac.enforcing") == (expected,)


# Management


def managed(tree: Tree, package: str, program: str) -> Tree:
    tree.file(program)
    tree.file(f"/var/lib/dpkg/info/{package}.list", f"{program}\n")
    return tree


def test_a_client_that_is_installed_manages_nothing_yet(tmp_path: Path) -> None:
    tree = managed(plain_debian(tmp_path), "intune-portal", "/opt/microsoft/intune/bin/intune-portal")
    assert values(tree, "mdm.vendor", "mdm.enrolled") == ("Microsoft Intune", False)

    tree.file("/home/tanaka/.config/intune/registration.toml", "x")
    assert values(tree, "mdm.vendor", "mdm.enrolled") == ("Microsoft Intune", True)
    # Root has not enrolled, and that says nothing of those who have.
    assert values(tree, "mdm.vendor", "mdm.enrolled", scope="root") == ("Microsoft Intune", None)


def test_fleet_is_enrolled_when_it_has_its_key_and_runs(tmp_path: Path) -> None:
    tree = managed(plain_debian(tmp_path), "fleet-osquery", "/opt/orbit/bin/orbit/orbit")
    tree.file("/opt/orbit/secret-orbit-node-key.txt", "x")
    assert values(tree, "mdm.vendor", "mdm.enrolled") == ("Fleet", False)

    tree.active("orbit.service")
    assert values(tree, "mdm.vendor", "mdm.enrolled") == ("Fleet", True)


@pytest.mark.parametrize(("content", "enrolled"), [("[client]\naccount_name = x\n", True), ("[client]\n", False)])
def test_landscape_is_enrolled_when_it_has_an_account_and_runs(content: str, enrolled: bool, tmp_path: Path) -> None:
    tree = managed(plain_debian(tmp_path), "landscape-client", "/usr/bin/landscape-client")
    tree.file("/etc/landscape/client.conf", content)
    assert values(tree, "mdm.enrolled") == (False,)

    tree.active("landscape-client.service")
    assert values(tree, "mdm.vendor", "mdm.enrolled") == ("Landscape", enrolled)


def test_no_client_that_is_known_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/opt/orbit/secret-orbit-node-key.txt", "x", at=BOOT)

    assert status(tree, "mdm.enrolled") == status(tree, "mdm.vendor") == "not_collected"
