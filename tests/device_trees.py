"""Folders that play machines: what the collectors would find on them, laid out under a root of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from device_inventory.collectors.clock import KernelClock
from device_inventory.collectors.commands import UNITS, Output
from device_inventory.collectors.machine import Machine, Session
from device_inventory.collectors.unseen import absent

NOW = 1_800_000_000  # 2027-01-15
BOOT = NOW - 86_400
DAY = 86_400
UID = 1000
LISTED_DATE = "Thu, 14 Jan 2027 06:00:00 UTC"
FIRMWARE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


class Tree:
    """One machine in a folder: files, devices and the answers of its commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, Output] = {}
        self.asked: list[str] = []
        self.session = Session(home="/home/tanaka")
        self.uid = UID
        self.clock = KernelClock(synchronised=True, error_us=1_250_000)
        self.mounted: list[str] = []

    def file(self, path: str, content: str | bytes = "", *, at: int | None = None) -> None:
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        if at is not None:
            os.utime(place, (at, at))

    def folder(self, path: str) -> None:
        self.place(path).mkdir(parents=True, exist_ok=True)

    def link(self, path: str, target: str) -> None:
        """A link to another place of the tree, relative as those of the kernel are."""
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.place(target), place.parent))

    def remove(self, path: str) -> None:
        self.place(path).unlink()

    def place(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def says(self, command: str, text: str, status: int = 0) -> None:
        self.answers[command] = Output(status=status, text=text)

    def run(self, command: str) -> Output:
        self.asked.append(command)
        if command not in self.answers:
            raise absent(f"there is no `{command}` here")
        return self.answers[command]

    def machine(self, *, memory: Path | None = None, now: int = NOW) -> Machine:
        return Machine(
            now=now,
            root=self.root,
            run=self.run,
            clock=lambda: self.clock,
            uid=self.uid,
            session=self.session,
            memory=memory,
        )

    def active(self, *units: str) -> None:
        """Systemd runs, and of the units that are asked for these are active."""
        self.folder("/run/systemd/system")
        self.says("units", "".join("active\n" if unit in units else "inactive\n" for unit in UNITS), 3)

    def process(self, number: int, comm: str, unit: str) -> None:
        """A process that the manager runs in a unit."""
        self.file(f"/proc/{number}/comm", f"{comm}\n")
        self.file(f"/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs", f"{number}\n")

    def block(self, name: str, number: str, *, uuid: str = "", dm: str = "", on: tuple[str, ...] = ()) -> None:
        """A block device, on top of others."""
        folder = f"/sys/devices/virtual/block/{name}"
        self.file(f"{folder}/dev", f"{number}\n")
        if uuid or dm:
            self.file(f"{folder}/dm/uuid", f"{uuid}\n")
            self.file(f"{folder}/dm/name", f"{dm}\n")
        for below in on:
            self.link(f"{folder}/slaves/{below}", f"/sys/devices/virtual/block/{below}")
        self.link(f"/sys/dev/block/{number}", folder)
        self.link(f"/sys/class/block/{name}", folder)

    def mount(self, number: str, point: str, kind: str, source: str, *, view: str = "rw", options: str = "rw") -> None:
        row = f"{len(self.mounted) + 20} 1 {number} / {point} {view},relatime shared:1 - {kind} {source} {options}\n"
        self.mounted.append(row)
        self.file("/proc/self/mountinfo", "".join(self.mounted))

    def efi(self, *, secure_boot: int | None = None, setup_mode: int | None = None) -> None:
        self.folder("/sys/firmware/efi/efivars")
        self.file("/sys/firmware/efi/efivars/BootCurrent-" + FIRMWARE, b"\x06\0\0\0\x01\0")
        for name, value in (("SecureBoot", secure_boot), ("SetupMode", setup_mode)):
            if value is not None:
                self.file(f"/sys/firmware/efi/efivars/{name}-{FIRMWARE}", b"\x06\0\0\0" + bytes([value]))

    def tpm(self, *, major: str = "2", register: str = "a" * 64) -> None:
        self.file("/sys/class/tpm/tpm0/tpm_version_major", f"{major}\n")
        self.file("/sys/class/tpm/tpm0/pcr-sha256/0", f"{register}\n")

    def gsettings(self, desktop: str = "gnome", *, lock: str = "true", delay: int = 0, idle: int = 300) -> None:
        base = f"org.{desktop}.desktop"
        self.says(
            f"{desktop}-screensaver",
            f"{base}.screensaver lock-delay uint32 {delay}\n{base}.screensaver lock-enabled {lock}\n",
        )
        self.says(f"{desktop}-session", f"{base}.session idle-delay uint32 {idle}\n{base}.session session-name 'x'\n")
        self.says(f"{desktop}-lockdown", f"{base}.lockdown disable-lock-screen false\n")


def basis(tree: Tree, *, kernel: str = "6.1.0-25-amd64") -> None:
    """What every Linux has."""
    tree.file("/proc/sys/kernel/ostype", "Linux\n")
    tree.file("/proc/sys/kernel/osrelease", f"{kernel}\n")
    tree.file("/proc/sys/kernel/random/boot_id", "6f0f5f0e-0000-4000-8000-000000000001\n")
    tree.file("/proc/sys/kernel/tainted", "0\n")
    tree.file("/proc/uptime", f"{NOW - BOOT}.17 100.00\n")
    tree.file("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    tree.file("/proc/self/status", "Name:\tpython\nTracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\nGroups:\t1000 \n")
    tree.file("/proc/net/tcp", TCP_HEADER)
    tree.file("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse sse2\nmodel name\t: x\n")
    tree.file("/etc/passwd", "root:x:0:0::/root:/bin/bash\ntanaka:x:1000:1000::/home/tanaka:/bin/bash\n")
    tree.file("/etc/group", "root:x:0:\nsudo:x:27:\ndocker:x:998:\ntanaka:x:1000:\n")
    tree.folder("/run/systemd/sessions")


TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def release(identity: str, version: str, more: str = "") -> str:
    return f'NAME="x"\nID={identity}\nVERSION_ID="{version}"\n{more}'


def plain_debian(root: Path) -> Tree:
    """A desk machine as installed, its one disk in the clear."""
    tree = Tree(root)
    basis(tree)
    tree.file("/etc/os-release", release("debian", "12"))
    tree.file("/etc/debian_version", "12.7\n")
    tree.file("/boot/vmlinuz-6.1.0-25-amd64")
    tree.file("/boot/vmlinuz-6.1.0-23-amd64")
    tree.file("/var/lib/dpkg/status", "Package: libc6\n")
    for name in ("libc6:amd64", "systemd"):
        tree.file(f"/var/lib/dpkg/info/{name}.list", "/.\n", at=BOOT - DAY)
    tree.file(
        "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n"
        f"Suite: stable-security\nDate: {LISTED_DATE}\nValid-Until: Thu, 21 Jan 2027 06:00:00 UTC\n",
    )
    tree.file(
        "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease",
        "Origin: Debian\nLabel: Debian\nSuite: stable\nDate: Sat, 05 Sep 2026 10:00:00 UTC\n",
    )
    tree.block("sda", "8:0")
    tree.block("sda2", "8:2")
    tree.mount("0:22", "/proc", "proc", "proc")
    tree.mount("8:2", "/", "ext4", "/dev/sda2")
    tree.active("nftables.service")
    tree.file("/etc/nftables.conf", "table inet filter { chain input { type filter hook input priority 0; } }\n")
    return tree


def ubuntu_luks(root: Path) -> Tree:
    """A laptop with LUKS, UEFI, a TPM and a locked-down GNOME."""
    tree = Tree(root)
    basis(tree, kernel="6.8.0-45-generic")
    tree.file("/etc/os-release", release("ubuntu", "24.04"))
    tree.file("/boot/vmlinuz-6.8.0-45-generic")
    tree.efi(secure_boot=1, setup_mode=0)
    tree.tpm()
    tree.file("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    tree.file("/sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor")
    tree.file("/sys/module/apparmor/parameters/enabled", "Y\n")
    tree.file("/sys/class/dmi/id/sys_vendor", "LENOVO\n")
    tree.file("/sys/class/dmi/id/product_name", "21CB\n")
    tree.file("/sys/class/dmi/id/product_serial", "PF-12345\n")
    tree.block("nvme0n1p1", "259:1")
    tree.block("nvme0n1p2", "259:2")
    tree.block("nvme0n1p3", "259:3")
    tree.block("dm-0", "253:0", uuid="CRYPT-LUKS2-0123-dm_crypt-0", dm="dm_crypt-0", on=("nvme0n1p3",))
    tree.mount("253:0", "/", "ext4", "/dev/mapper/dm_crypt-0")
    tree.mount("259:2", "/boot", "ext4", "/dev/nvme0n1p2")
    tree.mount("259:1", "/boot/efi", "vfat", "/dev/nvme0n1p1")
    tree.mount("7:1", "/snap/core22/1", "squashfs", "/dev/loop1", view="ro", options="ro")
    tree.file("/proc/swaps", "Filename Type Size Used Priority\n/swapfile file 2097148 0 -2\n")
    tree.active("ufw.service", "wazuh-agent.service")
    tree.file("/etc/ufw/ufw.conf", "# comment\nENABLED=yes\nLOGLEVEL=low\n")
    tree.session = Session(home="/home/tanaka", desktop="ubuntu:GNOME")
    tree.gsettings()
    enforce_gnome(tree)
    tree.file("/var/lib/dpkg/info/wazuh-agent.list", "/.\n/var/ossec/bin/wazuh-agentd\n")
    tree.file("/var/ossec/bin/wazuh-agentd")
    tree.process(700, "wazuh-agentd", "wazuh-agent")
    return tree


def enforce_gnome(tree: Tree, *, compiled: bool = True) -> None:
    """Locks of dconf, which count from when they were compiled."""
    tree.file("/etc/dconf/profile/user", "user-db:user\nsystem-db:local\n")
    tree.file(
        "/etc/dconf/db/local.d/locks/session",
        "/org/gnome/desktop/screensaver/lock-enabled\n/org/gnome/desktop/screensaver/lock-delay\n"
        "/org/gnome/desktop/session/idle-delay\n",
        at=BOOT,
    )
    if compiled:
        tree.file("/etc/dconf/db/local", "GVariant", at=BOOT + 1)


def lvm_on_luks(root: Path) -> Tree:
    """The installers' usual way: logical volumes on one encrypted partition, KDE as they deliver it."""
    tree = plain_debian(root)
    tree.mounted.clear()
    tree.block("sda5", "8:5")
    tree.block("dm-0", "253:0", uuid="CRYPT-LUKS2-0123-sda5_crypt", dm="sda5_crypt", on=("sda5",))
    tree.block("dm-1", "253:1", uuid="LVM-AbC", dm="vg-root", on=("dm-0",))
    tree.block("dm-2", "253:2", uuid="LVM-AbD", dm="vg-swap", on=("dm-0",))
    tree.mount("253:1", "/", "ext4", "/dev/mapper/vg-root")
    tree.file("/proc/swaps", "Filename Type Size Used Priority\n/dev/dm-2 partition 975868 0 -2\n")
    tree.session = Session(home="/home/tanaka", desktop="KDE")
    return tree


def btrfs_on_luks(root: Path) -> Tree:
    """Two encrypted disks under one file system, whose device number is made up."""
    tree = plain_debian(root)
    tree.mounted.clear()
    for place, letter in enumerate("bc"):
        tree.block(f"sd{letter}", f"8:{16 * (place + 1)}")
        tree.block(
            f"dm-{place}", f"253:{place}", uuid=f"CRYPT-LUKS2-{letter}", dm=f"luks-{letter}", on=(f"sd{letter}",)
        )
        tree.link(f"/sys/fs/btrfs/0000-1111/devices/dm-{place}", f"/sys/devices/virtual/block/dm-{place}")
    tree.mount("0:30", "/", "btrfs", "/dev/mapper/luks-b")
    tree.mount("0:30", "/home", "btrfs", "/dev/mapper/luks-b")
    return tree


def zfs_native(root: Path) -> Tree:
    """ZFS that encrypts by itself."""
    tree = plain_debian(root)
    tree.mounted.clear()
    tree.mount("0:31", "/", "zfs", "rpool/ROOT/debian")
    tree.says("zfs", "rpool\taes-256-gcm\nrpool/ROOT\taes-256-gcm\nrpool/ROOT/debian\taes-256-gcm\n")
    return tree


def rhel(root: Path) -> Tree:
    """The other family: rpm, dnf, firewalld, SELinux, xfs on LVM in the clear."""
    tree = Tree(root)
    basis(tree, kernel="5.14.0-427.13.1.el9_4.x86_64")
    tree.file("/etc/os-release", release("rhel", "9.4"))
    tree.file("/boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64")
    tree.file("/boot/vmlinuz-0-rescue-6f0f5f0e00004000")
    tree.file("/var/lib/rpm/rpmdb.sqlite", "", at=BOOT - DAY)
    tree.file(
        "/var/cache/dnf/baseos-0123/repodata/repomd.xml",
        f'<?xml version="1.0"?>\n<repomd xmlns="x">\n  <revision>{NOW - 2 * DAY}</revision>\n',
    )
    tree.file("/sys/fs/selinux/enforce", "1")
    tree.block("sda3", "8:3")
    tree.block("dm-0", "253:0", uuid="LVM-root", dm="rhel-root", on=("sda3",))
    tree.mount("253:0", "/", "xfs", "/dev/mapper/rhel-root")
    tree.active("firewalld.service")
    return tree


def micro_vm(root: Path) -> Tree:
    """A machine with next to nothing: no firmware, no systemd, no package of a kernel."""
    tree = Tree(root)
    tree.file("/proc/sys/kernel/ostype", "Linux\n")
    tree.file("/proc/sys/kernel/osrelease", "6.18.44-fc\n")
    tree.file("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor\n")
    tree.block("vda", "254:0")
    tree.mount("254:0", "/", "ext4", "/dev/vda")
    return tree


def nothing(root: Path) -> Tree:
    """Not even that."""
    root.mkdir(parents=True, exist_ok=True)
    return Tree(root)


TREES: Mapping[str, Callable[[Path], Tree]] = {
    function.__name__: function
    for function in (plain_debian, ubuntu_luks, lvm_on_luks, btrfs_on_luks, zfs_native, rhel, micro_vm, nothing)
}
