"""The inventory of packages, which no report holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_inventory.collectors.linux import FACTS
from device_inventory.collectors.software import Package, installed
from device_inventory.collectors.unseen import NotObserved
from tests.device_trees import micro_vm, plain_debian, rhel

STATUS = """\
Package: libssl3
Status: install ok installed
Source: openssl (3.0.14-1)
Version: 3.0.14-1~deb12u2
Architecture: amd64
Description: x
 Version: of no account

Package: bash
Status: install ok installed
Version: 5.2.15-2+b7
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1

Package: broken
Status: install ok installed
"""


def test_dpkg_names_the_source_where_it_is_another(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/var/lib/dpkg/status", STATUS)

    openssl, bash = installed(tree.machine())
    assert (openssl.source_name, openssl.source_version) == ("openssl", "3.0.14-1")
    assert (bash.source_name, bash.source_version) == ("bash", "5.2.15-2+b7")


def test_rpm_names_the_source_by_its_file(tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.says(
        "rpm-all",
        "openssl-libs\t1:3.0.7-27.el9\topenssl-3.0.7-27.el9.src.rpm\tx86_64\n"
        "gpg-pubkey\t0:fd431d51-4ae0493b\t(none)\t(none)\nnonsense\n",
    )

    assert installed(tree.machine()) == (
        Package(
            ecosystem="rpm",
            name="openssl-libs",
            version="1:3.0.7-27.el9",
            source_name="openssl",
            source_version="3.0.7-27.el9",
            arch="x86_64",
        ),
    )


def test_no_database_is_no_empty_inventory(tmp_path: Path) -> None:
    with pytest.raises(NotObserved):
        installed(micro_vm(tmp_path).machine())


def test_no_fact_holds_the_inventory() -> None:
    assert not any("software" in name or "package" in name for name in FACTS)
