"""The whole way: `zt agent enroll --key tpm` at the control plane as it is run, up to what sidecars are told of it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.tpm_lab import Maker, Tpm, needed
from tests.integration.tpm_office import Laptop, Office
from zt_engine.adapters.attestation_tpm import chip_of

CERTIFICATE = "0x01c00016"
"""Where swtpm keeps the certificate of its EK on P-384 (TCG EK Credential Profile 2.2.1.5)."""


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    needed()
    return Maker(tmp_path_factory.mktemp("maker") / "ours")


@contextlib.contextmanager
def chip(maker: Maker, name: str) -> Iterator[Tpm]:
    """A TPM of a machine that measured its boot."""
    tpm = maker.make(name)
    try:
        tpm.extend(*range(8))
        yield tpm
    finally:
        tpm.close()


def name_of(tpm: Tpm) -> str:
    """What an administrator registers."""
    tpm.tool("tpm2_nvread", CERTIFICATE, "-C", "o", "-o", "ek.der")
    raw = (tpm.folder / "ek.der").read_bytes()
    certificate = x509.load_der_x509_certificate(raw[: 4 + int.from_bytes(raw[2:4], "big")])
    return chip_of(certificate.public_key())


def office(folder: Path, maker: Maker, *chips: str, attestation: str = "required") -> Office:
    roots = folder / "roots.pem"
    roots.write_bytes(maker.roots)
    enrollment = f'attestation = "{attestation}"\ntpm_roots = "{roots}"\n'
    if chips:
        (folder / "chips").write_text("\n".join(chips))
        enrollment += f'tpm_chips = "{folder / "chips"}"\n'
    return Office(folder / "office", enrollment=enrollment)


def test_a_machine_with_a_tpm_ends_attested_in_what_sidecars_are_told(maker: Maker, tmp_path: Path) -> None:
    with chip(maker, "whole") as tpm:
        plane = office(tmp_path, maker, name_of(tpm))
        with plane.signing_in():
            laptop = Laptop(tmp_path / "laptop", plane, tpm)
            with plane:
                status, out, err = laptop.enroll()
                assert (status, err) == (0, ""), out + err
                device_id = laptop.state["held"]["device_id"]
                assert {key.protection for key in plane.device(device_id).keys} == {"attested_hw"}

                # One report proves nothing yet: the second one that agrees comes ten minutes later.
                plane.clock.seconds += 620
                assert laptop.agent("report", "--quick")[2] == ""
            record = plane.told(device_id)

    facts = {name: (record.facts[name].value, record.facts[name].method) for name in record.facts}
    assert facts["device.key_protection"] == ("attested_hw", "attested")
    assert facts["boot.measured"] == (True, "attested")
    assert facts["tpm.present"] == (True, "attested")
    assert facts["disk.encrypted"] == (True, "self_report")


def test_a_machine_whose_tpm_is_not_on_the_list_gets_no_certificate(maker: Maker, tmp_path: Path) -> None:
    """A chip by the right maker, as everybody can buy one."""
    with chip(maker, "listed") as listed, chip(maker, "bought") as bought:
        plane = office(tmp_path, maker, name_of(listed), attestation="optional")
        with plane.signing_in(), plane:
            laptop = Laptop(tmp_path / "laptop", plane, bought)
            status, _, err = laptop.enroll()

            assert status == 2
            assert "ATTESTATION_FOREIGN" in err
            assert name_of(bought) in err
            assert laptop.state["held"] is None
            assert plane.devices() == []


def test_what_is_attested_stays_so_through_renewals_and_another_secret(maker: Maker, tmp_path: Path) -> None:
    with chip(maker, "staying") as tpm:
        plane = office(tmp_path, maker)
        with plane.signing_in():
            laptop = Laptop(tmp_path / "laptop", plane, tpm)
            with plane:
                assert laptop.enroll()[0] == 0
            first = laptop.state["held"]

            (tmp_path / "office/keys/tpm-challenge.key").write_text(secrets.token_hex(32))
            plane.clock.seconds += 17 * 3600
            since = int(plane.clock.now())
            with plane:
                # The token of before is refused once; the TPM is asked again, and goes on.
                laptop.agent("report", "--quick")
                _, _, err = laptop.agent("report", "--quick")
                assert err == ""
                held = laptop.state["held"]
                device = plane.device(held["device_id"])

    assert held["x5t"] != first["x5t"]
    assert held["device_id"] == first["device_id"]
    assert {key.protection for key in device.keys} == {"attested_hw"}
    assert device.sources["quote"].received_at >= since
