"""The screen lock, who sits at the machine, and what that person may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Session
from tests.device_trees import BOOT, Tree, enforce_gnome, lvm_on_luks, micro_vm, plain_debian, ubuntu_luks

LOCK = ("screenlock.enabled", "screenlock.idle_seconds", "screenlock.enforced")
KDE = "/home/tanaka/.config/kscreenlockerrc"
SYSTEM_KDE = "/etc/xdg/kscreenlockerrc"


def values(tree: Tree, *names: str, scope: str = "user") -> tuple[object, ...]:
    found = collect(tree.machine(), scope=scope)
    return tuple(found[name].value for name in names)


def status(tree: Tree, name: str, scope: str = "user") -> str:
    return collect(tree.machine(), scope=scope)[name].status


# GNOME


def test_a_locked_down_gnome_locks_after_its_idle_time(tmp_path: Path) -> None:
    assert values(ubuntu_luks(tmp_path), *LOCK) == (True, 300, True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"delay": 30}, (True, 330, True)),
        ({"idle": 0}, (False, None, True)),
        ({"lock": "false"}, (False, None, True)),
    ],
)
def test_gnome_that_never_grows_idle_or_never_locks_has_no_lock(
    settings: dict[str, object], expected: tuple[object, ...], tmp_path: Path
) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.gsettings(**settings)

    assert values(tree, *LOCK) == expected


def test_a_lock_that_is_forbidden_is_none(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.says("gnome-lockdown", "org.gnome.desktop.lockdown disable-lock-screen true\n")

    assert values(tree, *LOCK) == (False, None, True)


@pytest.mark.parametrize(
    "weaken",
    [
        lambda tree: tree.remove("/etc/dconf/db/local"),
        lambda tree: tree.file("/etc/dconf/db/local", "GVariant", at=BOOT - 1),
        lambda tree: tree.remove("/etc/dconf/profile/user"),
        lambda tree: tree.file("/etc/dconf/profile/user", "user-db:user\nsystem-db:other\n"),
        lambda tree: tree.file("/etc/dconf/profile/user", "system-db:../db/local\n"),
        lambda tree: tree.file(
            "/etc/dconf/db/local.d/locks/session", "/org/gnome/desktop/screensaver/lock-enabled\n", at=BOOT
        ),
    ],
)
def test_locks_that_are_not_compiled_not_used_or_not_all_enforce_nothing(
    weaken: Callable[[Tree], object], tmp_path: Path
) -> None:
    tree = ubuntu_luks(tmp_path)
    weaken(tree)

    assert values(tree, *LOCK) == (True, 300, False)


@pytest.mark.parametrize(
    "break_",
    [
        lambda tree: tree.answers.pop("gnome-session"),
        lambda tree: tree.says("gnome-session", "", 1),
        lambda tree: tree.says("gnome-screensaver", "No such schema\n"),
        lambda tree: tree.gsettings(idle=-1),
        lambda tree: tree.gsettings(lock="maybe"),
    ],
)
def test_settings_that_cannot_be_read_are_no_value(break_: Callable[[Tree], object], tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    break_(tree)

    assert values(tree, *LOCK) == (None, None, None)


def test_cinnamon_has_the_same_settings_under_its_own_name(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.session = Session(home="/home/tanaka", desktop="X-Cinnamon")
    tree.gsettings("cinnamon", idle=600)

    assert values(tree, *LOCK) == (True, 600, False)


# KDE


def test_kde_locks_as_it_is_delivered(tmp_path: Path) -> None:
    assert values(lvm_on_luks(tmp_path), *LOCK) == (True, 305, False)


@pytest.mark.parametrize(
    ("user", "system", "expected"),
    [
        ("[Daemon]\nAutolock=false\n", "", (False, None, False)),
        ("[Daemon]\nTimeout=0\n", "", (False, None, False)),
        ("[Daemon]\nTimeout=10\nLockGrace=0\n", "", (True, 600, False)),
        ("[Greeter]\nTimeout=99\n[Daemon]\n", "", (True, 305, False)),
        ("[Daemon]\nAutolock=false\n", "[Daemon][$i]\nAutolock=true\nTimeout=3\nLockGrace=0\n", (True, 180, True)),
        ("[Daemon]\nTimeout=60\n", "[Daemon]\nAutolock[$i]=true\nTimeout[$i]=3\nLockGrace=0\n", (True, 180, True)),
        ("[Daemon]\nTimeout=60\nLockGrace=0\n", "[Daemon]\nAutolock[$i]=true\nTimeout=3\n", (True, 3600, False)),
        ("[Daemon]\nAutolock=false\n", "[$i]\n[Daemon]\nTimeout=3\nAutolock=true\nLockGrace=0\n", (True, 180, True)),
        ("[Daemon]\nTimeout=soon\n", "", (None, None, None)),
        ("[Daemon]\nLockGrace=-1\n", "", (None, None, None)),
        ("[Daemon]\nAutolock=maybe\n", "", (None, None, None)),
    ],
)
def test_kde_is_what_the_user_set_unless_the_system_fixed_it(
    user: str, system: str, expected: tuple[object, ...], tmp_path: Path
) -> None:
    tree = lvm_on_luks(tmp_path)
    tree.file(KDE, user)
    tree.file(SYSTEM_KDE, system)

    assert values(tree, *LOCK) == expected


# Which session


def test_no_graphical_session_or_an_unknown_one_is_not_collected(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    for desktop in ("", "sway", "GNO"):
        tree.session = Session(home="/home/tanaka", desktop=desktop)
        assert status(tree, "screenlock.enabled") == "not_collected"


def test_without_a_variable_the_login_service_names_the_desktop(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.session = Session(home="/home/tanaka")
    tree.file("/run/systemd/sessions/2", "UID=1000\nSTATE=active\nTYPE=wayland\nCLASS=user\nDESKTOP=ubuntu\nREMOTE=0\n")

    assert values(tree, *LOCK) == (True, 300, True)
    tree.uid = 1001
    assert status(tree, "screenlock.enabled") == "not_collected"


@pytest.mark.parametrize(
    ("session", "remote"),
    [
        ("UID=1000\nSTATE=active\nREMOTE=0\nTYPE=wayland\nCLASS=user\n", False),
        ("UID=1000\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nREMOTE_HOST=192.0.2.1\n", True),
        ("UID=1000\nSTATE=closing\nREMOTE=1\nCLASS=user\n", False),
        ("UID=1000\nSTATE=online\nREMOTE=0\nSERVICE=xrdp-sesman\nTYPE=x11\nCLASS=user\n", True),
        ("UID=120\nSTATE=online\nREMOTE=1\nCLASS=greeter\n", False),
        ("nonsense", False),
    ],
)
def test_somebody_at_work_from_afar_is_seen(session: str, remote: bool, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/run/systemd/sessions/7", session)

    assert values(tree, "remote_session_active") == (remote,)


def test_without_a_login_service_nobody_knows_who_is_there(tmp_path: Path) -> None:
    assert status(micro_vm(tmp_path), "remote_session_active") == "not_collected"


def test_a_session_is_no_business_of_roots(tmp_path: Path) -> None:
    found = collect(ubuntu_luks(tmp_path).machine(), scope="root", slow=True)

    assert found.keys().isdisjoint({*LOCK, "remote_session_active", "user.is_admin", "root_equiv_groups", "debugger"})


# What the user may do


def groups(tree: Tree, *lines: str, kernel: str = "1000") -> tuple[object, ...]:
    tree.file("/etc/group", "".join(f"{line}\n" for line in lines))
    tree.file("/proc/self/status", f"TracerPid:\t0\nUid:\t{tree.uid}\t0\nGroups:\t{kernel} \n")
    return values(tree, "user.is_admin", "root_equiv_groups")


@pytest.mark.parametrize(
    ("lines", "kernel", "expected"),
    [
        (["sudo:x:27:sato", "docker:x:998:"], "1000", (False, ())),
        (["sudo:x:27:sato,tanaka"], "1000", (True, ())),
        (["wheel:x:10:tanaka2,xtanaka"], "1000", (False, ())),
        (["admin:x:1000:"], "1000", (True, ())),
        (["sudo:x:27:"], "1000 27", (True, ())),
        (["docker:x:998:tanaka", "lxd:x:997:tanaka", "audio:x:29:tanaka"], "1000", (False, ("docker", "lxd"))),
        (["malformed", "sudo:x"], "1000", (False, ())),
    ],
)
def test_the_groups_that_matter_are_those_of_the_files_and_of_the_kernel(
    lines: list[str], kernel: str, expected: tuple[object, ...], tmp_path: Path
) -> None:
    assert groups(plain_debian(tmp_path), *lines, kernel=kernel) == expected


def test_groups_of_a_directory_are_asked_by_name(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.uid = 70_001  # not in the file of accounts
    tree.says("groups", "sudo:*:7027:yamada\ndocker:*:7028:\n")
    assert groups(tree, "sudo:x:27:", kernel="70001 7027") == (False, ())

    tree.file("/etc/nsswitch.conf", "passwd: files sss\ngroup: files sss\n")
    assert groups(tree, "sudo:x:27:", kernel="70001 7027") == (True, ())


def test_root_is_an_administrator(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.uid = 0

    assert values(tree, "user.is_admin") == (True,)


def test_a_user_nobody_knows_is_not_collected(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.uid = 4242
    tree.file("/proc/self/status", "TracerPid:\t0\nUid:\t1\t1\nGroups:\t27 \n")

    assert status(tree, "user.is_admin") == "not_collected"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/etc/sudoers": "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n"}, False),
        ({"/etc/sudoers": "%sudo ALL=(ALL) NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "%sudo ALL=(ALL) NOPASSWD:/usr/bin/less\n"}, True),
        ({"/etc/sudoers": "# %sudo ALL=(ALL) NOPASSWD: ALL\n"}, False),
        ({"/etc/sudoers": "#1000 ALL=(ALL) NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "tanaka ALL=(ALL) \\\n  NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "nagios ALL=(root) NOPASSWD: /usr/lib/check\n"}, False),
        ({"/etc/sudoers": "Defaults:tanaka !authenticate\n"}, True),
        ({"/etc/sudoers": "Defaults env_reset, !authenticate\n"}, True),
        ({"/etc/sudoers": "@includedir /etc/sudoers.d\n", "/etc/sudoers.d/x": "%sudo ALL=NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "#includedir /etc/sudoers.d\n", "/etc/sudoers.d/x": "%sudo ALL=NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "@includedir /etc/sudoers.d\n", "/etc/sudoers.d/x.bak": "%sudo ALL=NOPASSWD: ALL\n"}, False),
        ({"/etc/sudoers": "@include more\n", "/etc/more": "%sudo ALL=NOPASSWD: ALL\n"}, True),
        ({"/etc/sudoers": "@include /etc/sudoers\n"}, None),
        ({"/etc/doas.conf": "permit nopass :wheel\n"}, True),
        ({"/etc/doas.conf": "permit persist :wheel\npermit nopass nagios\n"}, False),
        ({"/etc/sudoers": "", "/etc/nsswitch.conf": "sudoers: files sss\n"}, None),
        ({}, False),
    ],
)
def test_a_rule_without_a_password_is_found_wherever_it_stands(
    files: dict[str, str], expected: bool | None, tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nnagios:x:110:110::/:/bin/sh\ntanaka:x:1000:1000::/:/bin/sh\n")
    for path, content in files.items():
        tree.file(path, content)

    assert values(tree, "sudo.nopasswd", scope="root") == (expected,)


def test_enforcement_is_compiled_by_a_helper_of_these_tests(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    enforce_gnome(tree, compiled=False)

    assert not tree.place("/etc/dconf/db/local").exists()
