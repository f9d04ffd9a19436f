"""The device CA: what it issues is what sidecars believe, and says nothing that a request asked for."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests import key_cost
from tests.csr import make_csr, new_key
from tests.est_support import authority_in_memory
from tests.issuer import NOW
from zt_engine.adapters import key_encryption
from zt_engine.adapters.ca_keys import (
    Authority,
    backup_files,
    create_authority,
    create_passphrase,
    forget_ended,
    load_authorities,
    read_passphrase,
    rotate_authority,
)
from zt_engine.adapters.ca_x509 import MAX_LIFETIME, X509CertificateAuthority
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.core.errors import ConfigError, InputError, UnavailableError

DEVICE = "0b9fd1c4-7f0e-4a3e-8a5f-3f1c6f6b2f11"
PASSPHRASE = b"correct horse battery staple"
DAY = 86_400
HOUR = 3_600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA whose key lies as it does in service."""
    made = tmp_path_factory.mktemp("zt") / "ca"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_encryption, "COST", key_cost.SHIPPED)
        create_authority(made, name="Device CA", passphrase=PASSPHRASE, now=NOW)
    return made


@pytest.fixture(scope="module")
def ca(folder: Path) -> X509CertificateAuthority:
    return X509CertificateAuthority(load_authorities(folder, passphrase=PASSPHRASE))


def escaped(pem: bytes) -> bytes:
    return quote(pem.decode(), safe="").encode()


def issue(ca: X509CertificateAuthority, csr: bytes | None = None, *, now: float = NOW, seconds: int = HOUR) -> bytes:
    return ca.issue(csr or make_csr(), device_id=DEVICE, protection="file", seconds=seconds, now=now).pem


def read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def problem(error: pytest.ExceptionInfo[ConfigError]) -> str:
    return error.value.problems[0].code


# The profile.


def test_a_certificate_has_exactly_the_extensions_of_the_profile(ca: X509CertificateAuthority) -> None:
    key = new_key()
    certificate = read(issue(ca, make_csr(key)))
    authority = read(ca.authorities())

    found = {extension.oid: (extension.critical, extension.value) for extension in certificate.extensions}

    assert set(found) == {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        x509.ObjectIdentifier("2.5.29.56"),
    }
    assert found[ExtensionOID.BASIC_CONSTRAINTS] == (True, x509.BasicConstraints(ca=False, path_length=None))
    critical, usage = found[ExtensionOID.KEY_USAGE]
    assert critical
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert not (usage.key_cert_sign or usage.crl_sign or usage.key_encipherment or usage.key_agreement)
    assert list(found[ExtensionOID.EXTENDED_KEY_USAGE][1]) == [ExtendedKeyUsageOID.CLIENT_AUTH]  # type: ignore[call-overload]
    assert list(found[ExtensionOID.SUBJECT_ALTERNATIVE_NAME][1]) == [  # type: ignore[call-overload]
        x509.UniformResourceIdentifier(f"urn:zt:device:{DEVICE}")
    ]
    assert found[ExtensionOID.SUBJECT_KEY_IDENTIFIER][1] == x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert found[ExtensionOID.AUTHORITY_KEY_IDENTIFIER][1] == (
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    )
    assert found[x509.ObjectIdentifier("2.5.29.56")] == (
        False,
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"),
    )


def test_nothing_that_was_asked_for_reaches_the_certificate(ca: X509CertificateAuthority) -> None:
    csr = make_csr(
        name="Domain Controller",
        alternatives=[x509.DNSName("portal.example"), x509.UniformResourceIdentifier("urn:zt:device:other")],
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True),
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.21.8"), b"\x04\x00"), True),
        ],
    )
    certificate = read(issue(ca, csr))

    text = certificate.public_bytes(Encoding.DER)
    assert b"Domain" not in text
    assert b"portal" not in text
    assert b"other" not in text
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_begins_five_minutes_ago_and_ends_when_it_was_asked_to(ca: X509CertificateAuthority) -> None:
    certificate = read(issue(ca, seconds=7_200))

    assert certificate.not_valid_before_utc == dt.datetime.fromtimestamp(NOW - 300, dt.UTC)
    assert certificate.not_valid_after_utc == dt.datetime.fromtimestamp(NOW + 7_200, dt.UTC)


def test_no_certificate_lives_longer_than_a_day(ca: X509CertificateAuthority) -> None:
    """It says of itself that no list revokes it."""
    issued = ca.issue(make_csr(), device_id=DEVICE, protection="hw", seconds=30 * DAY, now=NOW)

    assert issued.key.not_after == NOW + MAX_LIFETIME == NOW + DAY


def test_serial_numbers_are_positive_random_and_fit_twenty_octets(ca: X509CertificateAuthority) -> None:
    serials = [read(issue(ca)).serial_number for _ in range(64)]

    assert len(set(serials)) == 64
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert sum(serial.bit_length() > 140 for serial in serials) > 60


def test_what_the_inventory_keeps_is_what_sidecars_read(ca: X509CertificateAuthority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    issued = ca.issue(make_csr(key), device_id=DEVICE, protection="os_keystore", seconds=HOUR, now=NOW)

    verified = X509CertificateVerifier(ca.authorities()).verify(escaped(issued.pem), now=NOW)

    held = issued.key
    assert (held.x5t, held.serial, held.issuer) == (verified.x5t, verified.serial, verified.issuer)
    assert (held.not_before, held.not_after) == (verified.not_before, verified.not_after)
    assert verified.device_id == DEVICE
    assert held.protection == "os_keystore"
    assert held.spki == ca.read(make_csr(key)).spki


def test_the_chain_is_the_ca_that_signed(ca: X509CertificateAuthority) -> None:
    issued = ca.issue(make_csr(), device_id=DEVICE, protection="file", seconds=HOUR, now=NOW)

    read(issued.pem).verify_directly_issued_by(read(issued.chain))
    assert issued.chain in ca.authorities()


@pytest.mark.parametrize("curve", ["P-256", "P-384"])
@pytest.mark.parametrize(
    "key",
    [
        new_key(),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_sidecars_and_openssl_believe_every_kind_of_key(key: object, curve: str, tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "ca", name="CA", passphrase=PASSPHRASE, now=NOW, curve=curve)  # type: ignore[arg-type]
    ca = X509CertificateAuthority([authority])
    pem = issue(ca, make_csr(key))  # type: ignore[arg-type]

    (tmp_path / "cas.pem").write_bytes(ca.authorities())
    (tmp_path / "leaf.pem").write_bytes(pem)
    said = subprocess.run(
        [
            "openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(NOW),
            "-CAfile", "cas.pem", "leaf.pem",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert X509CertificateVerifier(ca.authorities()).verify(escaped(pem), now=NOW).device_id == DEVICE
    assert said.stdout == "leaf.pem: OK\n"


@given(st.text(max_size=70))
def test_a_device_is_called_by_a_word_or_not_at_all(device_id: str) -> None:
    authority = _shared()
    try:
        issued = authority.issue(CSR, device_id=device_id, protection="file", seconds=HOUR, now=NOW)
    except ValueError:
        return
    verified = X509CertificateVerifier(authority.authorities()).verify(escaped(issued.pem), now=NOW)
    assert verified.device_id == device_id


CSR = make_csr()
_AUTHORITIES: list[X509CertificateAuthority] = []


def _shared() -> X509CertificateAuthority:
    if not _AUTHORITIES:
        _AUTHORITIES.append(X509CertificateAuthority([authority_in_memory()]))
    return _AUTHORITIES[0]


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_certificate_that_is_over_when_it_begins_is_not_issued(ca: X509CertificateAuthority, seconds: int) -> None:
    with pytest.raises(ValueError):
        ca.issue(make_csr(), device_id=DEVICE, protection="file", seconds=seconds, now=NOW)


def test_a_bad_request_is_refused_when_it_is_to_be_certified_as_well(ca: X509CertificateAuthority) -> None:
    with pytest.raises(InputError) as caught:
        ca.issue(b"\x30", device_id=DEVICE, protection="file", seconds=HOUR, now=NOW)

    assert caught.value.code == "CSR_MALFORMED"


def test_a_ca_that_sidecars_do_not_have_is_not_believed(ca: X509CertificateAuthority) -> None:
    stranger = X509CertificateAuthority([authority_in_memory()])

    with pytest.raises(InputError) as caught:
        X509CertificateVerifier(ca.authorities()).verify(escaped(issue(stranger)), now=NOW)

    assert caught.value.code == "CERT_UNTRUSTED"


def test_a_device_cannot_certify_devices(ca: X509CertificateAuthority) -> None:
    key = new_key()
    device = read(issue(ca, make_csr(key)))
    rogue = X509CertificateAuthority([Authority(id="rogue", certificate=device, key=key)])

    with pytest.raises(InputError) as caught:
        X509CertificateVerifier(ca.authorities()).verify(escaped(issue(rogue)), now=NOW)

    assert caught.value.code == "CERT_UNTRUSTED"


def test_the_ca_itself_is_no_device(ca: X509CertificateAuthority) -> None:
    with pytest.raises(InputError) as caught:
        X509CertificateVerifier(ca.authorities()).verify(escaped(ca.authorities()), now=NOW)

    assert caught.value.code == "CERT_AUTHORITY"


# The CA's own certificate.


def test_the_cas_certificate_may_sign_devices_and_no_further_cas(ca: X509CertificateAuthority) -> None:
    certificate = read(ca.authorities())
    extensions = certificate.extensions

    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert extensions.get_extension_for_class(x509.BasicConstraints).critical
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
    certificate.verify_directly_issued_by(certificate)


def test_two_cas_never_share_a_name(tmp_path: Path) -> None:
    one = create_authority(tmp_path, name="Device CA", passphrase=PASSPHRASE, now=NOW)
    two = create_authority(tmp_path, name="Device CA", passphrase=PASSPHRASE, now=NOW)

    assert one.certificate.subject != two.certificate.subject
    names = one.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert str(names[0].value).startswith("Device CA ")


# Rotation.


def test_one_ca_follows_another_without_a_certificate_being_refused(tmp_path: Path) -> None:
    create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    ca = X509CertificateAuthority(load_authorities(tmp_path, passphrase=PASSPHRASE))
    before = issue(ca, seconds=DAY)
    old = ca.authorities()

    rotate_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW + 60, overlap=HOUR)
    ca.replace(load_authorities(tmp_path, passphrase=PASSPHRASE))
    sidecar = X509CertificateVerifier(ca.authorities())
    during = issue(ca, now=NOW + 120)
    after = issue(ca, now=NOW + 60 + HOUR)

    assert ca.authorities().count(b"BEGIN CERTIFICATE") == 2
    assert ca.authorities().startswith(old)
    # A sidecar that has not heard of the new one yet loses nobody while the two overlap.
    assert X509CertificateVerifier(old).verify(escaped(during), now=NOW + 120).device_id == DEVICE
    assert read(during).issuer == read(before).issuer != read(after).issuer
    for pem, moment in ((before, NOW + DAY - 1), (during, NOW + 120), (after, NOW + 60 + HOUR)):
        assert sidecar.verify(escaped(pem), now=moment).device_id == DEVICE


def test_what_the_new_ca_signs_in_its_first_second_is_valid_at_once(tmp_path: Path) -> None:
    create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    new = rotate_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW, overlap=10 * DAY)
    ca = X509CertificateAuthority(load_authorities(tmp_path, passphrase=PASSPHRASE))
    moment = NOW + 10 * DAY

    pem = issue(ca, now=moment)

    assert read(pem).issuer == new.certificate.subject
    assert X509CertificateVerifier(ca.authorities()).verify(escaped(pem), now=moment - 300).device_id == DEVICE


def test_a_ca_whose_key_was_deleted_vouches_for_what_it_signed_and_signs_no_more(tmp_path: Path) -> None:
    old = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    pem = issue(X509CertificateAuthority([old]))
    rotate_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW, overlap=0)
    (tmp_path / f"{old.id}.key").unlink()

    ca = X509CertificateAuthority(load_authorities(tmp_path, passphrase=PASSPHRASE))

    assert X509CertificateVerifier(ca.authorities()).verify(escaped(pem), now=NOW).device_id == DEVICE
    assert read(issue(ca)).issuer != old.certificate.subject


def test_no_certificate_outlives_its_ca_and_a_ca_that_has_ended_signs_nothing() -> None:
    ca = X509CertificateAuthority([authority_in_memory(seconds=DAY)])

    assert read(issue(ca, now=NOW + DAY - 60)).not_valid_after_utc.timestamp() == NOW + DAY
    for moment in (NOW + DAY, NOW - 1):
        with pytest.raises(UnavailableError) as caught:
            issue(ca, now=moment)
        assert caught.value.code == "CA_DOWN"


def test_cas_that_have_ended_are_forgotten_with_their_keys(tmp_path: Path) -> None:
    old = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW, seconds=DAY)
    new = rotate_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW, overlap=HOUR)

    kept = forget_ended(tmp_path, load_authorities(tmp_path, passphrase=PASSPHRASE), now=NOW + DAY - 1)
    forgotten = forget_ended(tmp_path, load_authorities(tmp_path, passphrase=PASSPHRASE), now=NOW + DAY)

    assert (kept, forgotten) == ((), (old.id,))
    assert sorted(path.stem for path in tmp_path.iterdir()) == [new.id, new.id]


# Files.


def test_the_key_lies_encrypted_and_only_its_owner_reads_it(folder: Path) -> None:
    (key,) = folder.glob("*.key")

    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert key.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o077 == 0
    assert isinstance(load_pem_private_key(key.read_bytes(), PASSPHRASE), ec.EllipticCurvePrivateKey)
    shown = subprocess.run(["openssl", "asn1parse", "-in", str(key)], capture_output=True, text=True, check=True).stdout
    assert "scrypt" in shown
    assert "INTEGER           :4000" in shown  # N = 16,384
    assert "aes-256-cbc" in shown


def test_openssl_opens_the_key_with_the_passphrase(folder: Path, tmp_path: Path) -> None:
    (key,) = folder.glob("*.key")
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    command = ["openssl", "pkey", "-in", str(key), "-passin", f"file:{tmp_path / 'passphrase'}", "-pubout"]

    opened = subprocess.run(command, capture_output=True, check=True).stdout

    (authority,) = load_authorities(folder, passphrase=PASSPHRASE)
    public = authority.certificate.public_key()
    assert opened == public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_another_passphrase_does_not_open_it(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_authorities(folder, passphrase=b"correct horse battery stable")

    assert problem(caught) == "CA_PASSPHRASE_WRONG"
    assert "stable" not in str(caught.value)


def test_a_key_that_is_not_encrypted_is_not_used(tmp_path: Path) -> None:
    authority = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    assert authority.key is not None
    (tmp_path / f"{authority.id}.key").write_bytes(
        authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )

    with pytest.raises(ConfigError) as caught:
        load_authorities(tmp_path, passphrase=PASSPHRASE)

    assert problem(caught) == "CA_KEY_UNFIT"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    authority = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    (tmp_path / f"{authority.id}.key").chmod(mode)

    with pytest.raises(ConfigError) as caught:
        load_authorities(tmp_path, passphrase=PASSPHRASE)

    assert problem(caught) == "CA_FILE_EXPOSED"


def test_a_certificate_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    authority = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    (tmp_path / f"{authority.id}.pem").chmod(0o666)

    with pytest.raises(ConfigError) as caught:
        load_authorities(tmp_path, passphrase=PASSPHRASE)

    assert problem(caught) == "CA_FILE_EXPOSED"


def test_a_key_of_another_ca_is_not_used(tmp_path: Path) -> None:
    one = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    two = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    (tmp_path / f"{two.id}.key").replace(tmp_path / f"{one.id}.key")

    with pytest.raises(ConfigError) as caught:
        load_authorities(tmp_path, passphrase=PASSPHRASE)

    assert problem(caught) == "CA_KEY_UNFIT"


def test_an_empty_or_missing_folder_has_no_ca(tmp_path: Path) -> None:
    for place, code in ((tmp_path, "CA_MISSING"), (tmp_path / "none", "CA_FILE_UNREADABLE")):
        with pytest.raises(ConfigError) as caught:
            load_authorities(place, passphrase=PASSPHRASE)
        assert problem(caught) == code


def test_a_device_certificate_in_the_folder_is_no_ca(tmp_path: Path) -> None:
    authority = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    (tmp_path / "leaf.pem").write_bytes(issue(X509CertificateAuthority([authority])))

    with pytest.raises(ConfigError) as caught:
        load_authorities(tmp_path, passphrase=PASSPHRASE)

    assert problem(caught) == "DEVICE_CA_UNFIT"


def test_a_creation_that_was_cut_off_leaves_a_folder_that_loads(tmp_path: Path) -> None:
    """The key is written first: without its certificate it is no CA, and half a file has a name nobody looks at."""
    authority = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    (tmp_path / "0123456789abcdef.key").write_bytes(b"no certificate came")
    (tmp_path / ".0123456789abcdef.pem.1a2b3c4d").write_bytes(b"-----BEGIN CERT")

    assert [loaded.id for loaded in load_authorities(tmp_path, passphrase=PASSPHRASE)] == [authority.id]


def test_a_passphrase_is_made_once_and_read_back(tmp_path: Path) -> None:
    made = create_passphrase(tmp_path / "passphrase")

    assert read_passphrase(tmp_path / "passphrase") == made
    assert len(made) >= 43
    assert (tmp_path / "passphrase").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_passphrase(tmp_path / "passphrase")
    assert read_passphrase(tmp_path / "passphrase") == made


def test_a_passphrase_that_is_short_or_readable_by_others_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"secret\n")
    (tmp_path / "short").chmod(0o600)
    (tmp_path / "open").write_bytes(PASSPHRASE)
    (tmp_path / "open").chmod(0o644)

    for name, code in (("short", "CA_PASSPHRASE_WEAK"), ("open", "CA_FILE_EXPOSED"), ("none", "CA_FILE_UNREADABLE")):
        with pytest.raises(ConfigError) as caught:
            read_passphrase(tmp_path / name)
        assert problem(caught) == code
    with pytest.raises(ConfigError) as caught:
        create_authority(tmp_path / "ca", name="CA", passphrase=b"secret", now=NOW)
    assert problem(caught) == "CA_PASSPHRASE_WEAK"


def test_a_backup_has_certificates_and_encrypted_keys_and_never_the_passphrase(tmp_path: Path) -> None:
    create_passphrase(tmp_path / "passphrase")
    old = create_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW)
    new = rotate_authority(tmp_path, name="CA", passphrase=PASSPHRASE, now=NOW, overlap=HOUR)
    (tmp_path / f"{old.id}.key").unlink()

    names = {path.name for path in backup_files(tmp_path)}

    assert names == {f"{old.id}.pem", f"{new.id}.pem", f"{new.id}.key"}


def test_a_restored_backup_issues_what_the_same_sidecars_believe(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca", name="CA", passphrase=PASSPHRASE, now=NOW)
    sidecar = X509CertificateVerifier(
        X509CertificateAuthority(load_authorities(tmp_path / "ca", passphrase=PASSPHRASE)).authorities()
    )
    (tmp_path / "restored").mkdir(mode=0o700)
    for path in backup_files(tmp_path / "ca"):
        target = tmp_path / "restored" / path.name
        target.write_bytes(path.read_bytes())
        target.chmod(0o600)

    ca = X509CertificateAuthority(load_authorities(tmp_path / "restored", passphrase=PASSPHRASE))

    assert sidecar.verify(escaped(issue(ca)), now=NOW).device_id == DEVICE


def test_no_key_shows_in_a_repr(ca: X509CertificateAuthority, folder: Path) -> None:
    (authority,) = load_authorities(folder, passphrase=PASSPHRASE)

    assert repr(authority) == f"Authority({authority.id})"
    assert repr(ca) == f"X509CertificateAuthority({authority.id})"
