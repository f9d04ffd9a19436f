"""macOS and Windows from recordings of their commands; the samples are written after the commands' documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.collectors import macos, windows
from device_inventory.facts import CATALOGUE, badness
from device_inventory.notice import allowed
from device_inventory.serial import serial_hash
from tests.device_trees import NOW

SAMPLES = Path(__file__).parents[1] / "fixtures" / "devices"


def sample(name: str) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((SAMPLES / name).iterdir())}


def mac(**changed: str) -> dict[str, object]:
    return {name: fact.value for name, fact in macos.collect(sample("macos") | changed, now=NOW).items()}


def mac_status(name: str, **changed: str) -> str:
    return macos.collect(sample("macos") | changed, now=NOW)[name].status


def win(**changed: object) -> dict[str, object]:
    return {name: fact.value for name, fact in windows.collect(recorded(changed), now=NOW).items()}


def win_status(name: str, **changed: object) -> str:
    return windows.collect(recorded(changed), now=NOW)[name].status


def recorded(changed: dict[str, object]) -> dict[str, str]:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}
    return sample("windows") | texts


def test_a_recorded_mac() -> None:
    assert mac() == {
        "os.family": "macos",
        "os.id": "macos",
        "os.version": "15.6",
        "os.build": "24G84",
        "kernel.release": "24.6.0",
        "device.model": "Mac14,2",
        "device.serial_hash": serial_hash("C02ZZ0AAQ05D"),
        "vm": False,
        "disk.encrypted": True,
        "firewall.enabled": True,
        "firewall.default_inbound": None,
        "mac.enforcing": True,
        "boot.secure_boot": True,
        "integrity.rooted": False,
        "screenlock.enabled": True,
        "screenlock.idle_seconds": 300,
        "mdm.enrolled": True,
        "mdm.vendor": "Jamf",
        "user.is_admin": False,
    }


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("FileVault is Off.", False),
        ("FileVault is Off, but will be enabled after the next restart.", False),
        ("FileVault is On.\nEncryption in progress: Percent completed = 45", False),
        ("FileVault is On.\nDecryption in progress: Percent completed = 45", False),
        ("Error: FileVault cannot be determined", None),
        ("", None),
    ],
)
def test_filevault_counts_when_it_is_on_and_done(text: str, encrypted: bool | None) -> None:
    assert mac(fdesetup=text)["disk.encrypted"] is encrypted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Firewall is disabled. (State = 0)", (False, "allow")),
        ("Firewall is blocking all non-essential incoming connections. (State = 2)", (True, "drop")),
        ("Firewall is (State = 7)", (None, None)),
    ],
)
def test_the_firewall_of_a_mac_has_three_states(text: str, expected: tuple[object, ...]) -> None:
    found = mac(firewall=text)

    assert (found["firewall.enabled"], found["firewall.default_inbound"]) == expected


@pytest.mark.parametrize(
    ("changed", "rooted"),
    [
        ({"csrutil": "System Integrity Protection status: disabled."}, True),
        ({"csrutil": "System Integrity Protection status: unknown (Custom Configuration)."}, True),
        ({"spctl": "assessments disabled"}, True),
        ({"bputil": "Security Mode:               Permissive  (smb1): true"}, True),
        ({"bputil": "bputil must be run as root"}, None),
        ({"bputil": "", "spctl": "assessments disabled"}, True),
    ],
)
def test_any_protection_that_is_off_is_a_sign_and_none_takes_them_all(
    changed: dict[str, str], rooted: bool | None
) -> None:
    assert mac(**changed)["integrity.rooted"] is rooted


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"screenlock": "sysadminctl[1:2] screenLock is off"}, (False, None)),
        ({"screenlock": "sysadminctl[1:2] screenLock delay is 60 seconds"}, (True, 360)),
        ({"idle": "0"}, (False, None)),
        ({"idle": ""}, (True, None)),
        ({"idle": "soon"}, (None, None)),
        ({"screenlock": "sysadminctl[1:2] not logged in"}, (None, None)),
    ],
)
def test_a_mac_locks_after_its_screen_saver_and_its_delay(
    changed: dict[str, str], expected: tuple[object, ...]
) -> None:
    found = mac(**changed)

    assert (found["screenlock.enabled"], found["screenlock.idle_seconds"]) == expected


def test_a_mac_that_is_not_enrolled_and_an_administrator() -> None:
    found = mac(
        profiles="Enrolled via DEP: No\nMDM enrollment: No", admin="yes tanaka is a member of admin", hypervisor="1"
    )

    assert (found["mdm.enrolled"], found["mdm.vendor"], found["user.is_admin"], found["vm"]) == (
        False,
        None,
        True,
        True,
    )
    assert mac_status("user.is_admin", admin="yes tanaka is NOT a member of admin") == "error"
    assert mac_status("mdm.enrolled", profiles="MDM enrollment: Perhaps") == "error"
    assert mac(profiles="MDM enrollment: Yes\nMDM server: https://mdm.example/x")["mdm.vendor"] is None


def test_a_recorded_windows_machine() -> None:
    assert win() == {
        "os.family": "windows",
        "os.id": "windows-11",
        "os.version": "24H2",
        "os.build": "26100.4061",
        "kernel.release": "10.0.26100",
        "device.model": "Dell Inc. Latitude 5450",
        "vm": False,
        "device.serial_hash": serial_hash("7XK2Q44"),
        "disk.encrypted": True,
        "firewall.enabled": True,
        "firewall.default_inbound": "drop",
        "av.realtime": True,
        "av.signature_age_h": 5,
        "tpm.present": True,
        "tpm.version": "2.0",
        "boot.secure_boot": True,
        "patch.last_success_at": NOW - 5 * 86_400,
        "screenlock.enabled": True,
        "screenlock.idle_seconds": 600,
        "screenlock.enforced": True,
        "user.is_admin": False,
        "mdm.enrolled": True,
        "mdm.vendor": "Microsoft Intune",
    }


VOLUME = {"MountPoint": "C:", "ProtectionStatus": 1, "VolumeStatus": 1, "EncryptionPercentage": 100}


@pytest.mark.parametrize(
    ("volumes", "encrypted"),
    [
        (VOLUME, True),
        ([VOLUME, VOLUME | {"MountPoint": "D:", "ProtectionStatus": 0}], False),
        (VOLUME | {"ProtectionStatus": "On", "VolumeStatus": "FullyEncrypted"}, True),
        (VOLUME | {"ProtectionStatus": "Off"}, False),
        (VOLUME | {"VolumeStatus": 2, "EncryptionPercentage": 70}, False),
        (VOLUME | {"EncryptionPercentage": 99}, False),
        (VOLUME | {"ProtectionStatus": 2}, None),
        ([VOLUME | {"ProtectionStatus": 2}, VOLUME | {"ProtectionStatus": 0}], False),
        (VOLUME | {"ProtectionStatus": None}, None),
        ([], None),
        ("Access denied", None),
    ],
)
def test_bitlocker_counts_when_every_volume_is_protected_to_its_end(volumes: object, encrypted: bool | None) -> None:
    assert win(bitlocker=volumes)["disk.encrypted"] is encrypted


def profiles(**changed: object) -> list[dict[str, object]]:
    return [
        {"Name": name, "Enabled": 1, "DefaultInboundAction": 4} | changed for name in ("Domain", "Private", "Public")
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (profiles(Enabled="True", DefaultInboundAction="Block"), (True, "drop")),
        (profiles(Enabled=True), (True, "drop")),
        ([*profiles()[:2], profiles(Enabled=0)[2]], (False, "allow")),
        ([*profiles()[:2], profiles(DefaultInboundAction=2)[2]], (True, "allow")),
        (profiles(DefaultInboundAction=0), (True, None)),
        (profiles(Enabled=2), (None, None)),
        (profiles()[:2], (None, None)),
    ],
)
def test_the_firewall_counts_in_all_three_profiles(rows: object, expected: tuple[object, ...]) -> None:
    found = win(firewall=rows)

    assert (found["firewall.enabled"], found["firewall.default_inbound"]) == expected


@pytest.mark.parametrize("word", ["Snoozed", "Not Monitored", "Error", "", None])
def test_words_of_the_security_center_that_say_nothing_are_not_collected(word: object) -> None:
    center = {"antivirus": word, "firewall": word}

    assert win_status("firewall.enabled", firewall="", security_center=center) == "not_collected"
    off = {"AntivirusEnabled": False, "RealTimeProtectionEnabled": False}
    assert win_status("av.realtime", defender=off, security_center=center) == "not_collected"


@pytest.mark.parametrize(("word", "expected"), [("Good", True), ("Poor", False)])
def test_words_of_the_security_center_that_say_something(word: str, expected: bool) -> None:
    center = {"antivirus": word, "firewall": word}
    off = {"AntivirusEnabled": False, "RealTimeProtectionEnabled": False}

    assert win(firewall="", security_center=center)["firewall.enabled"] is expected
    assert win(defender=off, security_center=center)["av.realtime"] is expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"RealTimeProtectionEnabled": False}, (False, 5)),
        ({"AntivirusSignatureLastUpdated": None, "AntivirusSignatureAge": 2}, (True, 48)),
        ({"AntivirusSignatureLastUpdated": None, "AntivirusSignatureAge": 65_535}, (True, None)),
        ({"AntivirusEnabled": None}, (None, None)),
    ],
)
def test_defender_is_judged_by_its_fields(changed: dict[str, object], expected: tuple[object, ...]) -> None:
    found = win(defender=json.loads(sample("windows")["defender"]) | changed)

    assert (found["av.realtime"], found["av.signature_age_h"]) == expected


@pytest.mark.parametrize(
    ("text", "status", "value"),
    [
        ("False", "observed", False),
        ("Confirm-SecureBootUEFI : Cmdlet not supported on this platform: 0xC0000002", "not_supported", None),
        ("Confirm-SecureBootUEFI : Unable to set proper privileges. Access was denied.", "not_collected", None),
    ],
)
def test_secure_boot_of_windows(text: str, status: str, value: bool | None) -> None:
    assert (win_status("boot.secure_boot", secure_boot=text), win(secure_boot=text)["boot.secure_boot"]) == (
        status,
        value,
    )


def saver(active: str = "1", secure: str = "1", timeout: object = "300") -> dict[str, object]:
    return {"ScreenSaveActive": active, "ScreenSaverIsSecure": secure, "ScreenSaveTimeOut": timeout}


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        ({"machine": {}, "policy": {}, "user": saver()}, (True, 300, False)),
        ({"user": saver(secure="0")}, (False, None, False)),
        ({"user": saver(active="0")}, (False, None, False)),
        ({"user": saver(timeout="0")}, (False, None, False)),
        ({"policy": saver(timeout=60), "user": {"ScreenSaveActive": "0"}}, (True, 60, True)),
        ({"machine": {"InactivityTimeoutSecs": 0}, "user": {"ScreenSaveActive": "1"}}, (None, None, None)),
        ({"machine": None}, (None, None, None)),
    ],
)
def test_windows_locks_by_its_policy_before_the_users_settings(lock: object, expected: tuple[object, ...]) -> None:
    found = win(lock=lock)

    assert tuple(found[f"screenlock.{name}"] for name in ("enabled", "idle_seconds", "enforced")) == expected


def test_an_administrator_is_known_by_the_number_of_the_group_in_any_language() -> None:
    groups = '"BUILTIN\\管理者","エイリアス","S-1-5-32-544","拒否のみに使用するグループ"\n'

    assert win(groups=groups)["user.is_admin"] is True
    assert win_status("user.is_admin", groups="access denied") == "error"


JOINED, ALONE = (
    "AzureAdJoined : YES\nDomainJoined : NO",
    " AzureAdJoined : NO\n DomainJoined : NO\n WorkplaceJoined : NO",
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"enrollments": [{"EnrollmentState": 0, "ProviderID": "MS DM Server"}, {"UPN": "x"}]}, (False, None)),
        ({"enrollments": {"EnrollmentState": 1, "ProviderID": "Other"}}, (True, "Other")),
        ({"enrollments": "", "dsregcmd": JOINED}, (None, None)),
        ({"enrollments": "", "dsregcmd": ALONE}, (False, None)),
        ({"enrollments": "", "dsregcmd": ""}, (None, None)),
        ({"enrollments": "{", "dsregcmd": ALONE}, (None, None)),
    ],
)
def test_to_be_joined_is_not_to_be_managed(changed: dict[str, object], expected: tuple[object, ...]) -> None:
    found = win(**changed)

    assert (found["mdm.enrolled"], found["mdm.vendor"]) == expected


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({"release": {"CurrentBuildNumber": "19045", "DisplayVersion": "22H2"}}, "os.id", "windows-10"),
        ({"release": {"CurrentBuildNumber": "20348", "InstallationType": "Server"}}, "os.id", "windows-server"),
        ({"release": {"CurrentBuildNumber": "x"}}, "os.id", None),
        ({"system": {"Manufacturer": "Microsoft Corporation", "Model": "Virtual Machine"}}, "vm", True),
        ({"system": {"Manufacturer": "To be filled by O.E.M.", "Model": "0"}}, "device.model", None),
        ({"tpm": {"TpmPresent": False}}, "tpm.present", False),
        ({"tpm": {"TpmPresent": True, "ManufacturerVersionFull20": "Not Supported"}}, "tpm.version", None),
        ({"tpm": [1]}, "tpm.present", None),
        ({"hotfix": [{"InstalledOn": None}]}, "patch.last_success_at", None),
        ({"hotfix": [{"InstalledOn": "/Date(99999999999999)/"}]}, "patch.last_success_at", None),
        ({"bios": {"SerialNumber": "Default string"}}, "device.serial_hash", None),
    ],
)
def test_other_answers_of_windows(changed: dict[str, object], name: str, value: object) -> None:
    assert win(**changed)[name] == value


@pytest.mark.parametrize("module", [macos, windows])
def test_nothing_recorded_is_nothing_known(module: Any) -> None:
    found = module.collect({}, now=NOW)

    assert {fact.status for fact in found.values()} == {"not_collected"}
    assert found.keys() <= allowed("corp")


@pytest.mark.parametrize(("name", "module"), [("macos", macos), ("windows", windows)])
def test_every_command_is_listed_and_has_a_sample(name: str, module: Any) -> None:
    assert module.COMMANDS.keys() == sample(name).keys()


@given(st.data())
def test_damage_to_a_recording_makes_nothing_up(data: st.DataObject) -> None:
    """What was cut off, or written by somebody else, is of the catalogue's types and is never an exception."""
    name, module = data.draw(st.sampled_from([("macos", macos), ("windows", windows)]))
    texts = sample(name)
    damaged = data.draw(st.sampled_from(sorted(texts)))
    texts[damaged] = data.draw(st.text(max_size=40) | st.just(texts[damaged][: data.draw(st.integers(0, 400))]))
    found = module.collect(texts, now=NOW)

    assert all((fact.value is None) is (fact.status != "observed") for fact in found.values())
    assert all(badness(fact, answer.value) is not None or CATALOGUE[fact].order == "none" or answer.value is None
               for fact, answer in found.items())  # fmt: skip
    assert not any("failed with" in answer.detail for answer in found.values())
