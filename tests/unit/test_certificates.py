"""Client certificates as a proxy forwards them: the sidecar believes the device CAs and nobody else."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier, read_authorities
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa, make_key
from zt_engine.core.errors import ConfigError, InputError

CA = DevDeviceCa(now=NOW)
LAPTOP = CA.issue("laptop-1", now=NOW)


def verifier() -> X509CertificateVerifier:
    return X509CertificateVerifier(CA.pem)


def refusal(escaped: bytes, by: X509CertificateVerifier | None = None, now: float = NOW) -> str:
    with pytest.raises(InputError) as caught:
        (by or verifier()).verify(escaped, now=now)
    return caught.value.code


def test_a_device_certificate_names_its_device() -> None:
    read = verifier().verify(LAPTOP.escaped, now=NOW)

    assert (read.device_uri, read.device_id) == ("urn:zt:device:laptop-1", "laptop-1")
    assert read.x5t == LAPTOP.x5t
    assert read.serial == f"{LAPTOP.certificate.serial_number:x}"
    assert (read.not_before, read.not_after) == (NOW - 300, NOW + 86_400)


def test_nginxs_own_escaping_is_read() -> None:
    """nginx leaves unreserved characters and escapes the rest, `+` included."""
    escaped = quote(LAPTOP.pem.decode(), safe="-._~").encode()

    assert verifier().verify(escaped, now=NOW).device_id == "laptop-1"


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        make_key("RS256"),
    ],
    ids=["P-384", "P-521", "Ed25519", "RSA 2048"],
)
def test_strong_device_keys_of_each_family_are_taken(key: object) -> None:
    certificate = CA.issue("laptop-2", now=NOW, key=key)  # type: ignore[arg-type]

    assert verifier().verify(certificate.escaped, now=NOW).device_id == "laptop-2"


def test_a_spiffe_id_names_a_device_as_it_stands() -> None:
    certificate = CA.issue("", now=NOW, uris=["spiffe://example.org/device/d1"])

    assert verifier().verify(certificate.escaped, now=NOW).device_id == "spiffe://example.org/device/d1"


# Trust.


def test_a_certificate_of_another_ca_is_refused() -> None:
    assert refusal(DevDeviceCa(now=NOW).issue("laptop-1", now=NOW).escaped) == "CERT_UNTRUSTED"


def test_a_certificate_of_a_ca_with_the_same_name_is_refused() -> None:
    impostor = DevDeviceCa(now=NOW, name="Demo device CA")

    assert refusal(impostor.issue("laptop-1", now=NOW).escaped) == "CERT_UNTRUSTED"


def test_a_self_signed_certificate_is_refused() -> None:
    assert refusal(escaped(CA.certificate)) == "CERT_AUTHORITY"


def test_a_device_cannot_issue_devices() -> None:
    device = CA.issue("laptop-1", now=NOW)
    rogue = DevDeviceCa(now=NOW)
    rogue._key = device._key  # type: ignore[assignment]
    rogue._name = device.certificate.subject

    assert refusal(rogue.issue("laptop-9", now=NOW).escaped) == "CERT_UNTRUSTED"


def test_any_ca_of_the_bundle_may_issue() -> None:
    second = DevDeviceCa(now=NOW, name="Second device CA")
    both = X509CertificateVerifier(CA.pem + second.pem)

    assert both.verify(LAPTOP.escaped, now=NOW).device_id == "laptop-1"
    assert both.verify(second.issue("phone-1", now=NOW).escaped, now=NOW).device_id == "phone-1"


def test_a_ca_that_has_expired_issues_nothing() -> None:
    ca = DevDeviceCa(now=NOW, days=1)
    certificate = ca.issue("laptop-1", now=NOW, lifetime=10 * 86_400)

    assert refusal(certificate.escaped, X509CertificateVerifier(ca.pem), now=NOW + 2 * 86_400) == "CERT_UNTRUSTED"


# Profile.


@pytest.mark.parametrize(
    "usages",
    [
        None,
        [ExtendedKeyUsageOID.SERVER_AUTH],
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
        [ExtendedKeyUsageOID.CODE_SIGNING],
    ],
)
def test_a_certificate_that_is_not_for_clients_is_refused(usages: list[x509.ObjectIdentifier] | None) -> None:
    assert refusal(CA.issue("laptop-1", now=NOW, usages=usages).escaped) == "CERT_EKU"


def test_a_ca_certificate_is_no_device() -> None:
    assert refusal(CA.issue("laptop-1", now=NOW, authority=True).escaped) == "CERT_AUTHORITY"


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(public_exponent=65537, key_size=1024), ec.generate_private_key(ec.SECP256K1())],
    ids=["RSA 1024", "secp256k1"],
)
def test_a_weak_or_odd_key_is_refused(key: object) -> None:
    assert refusal(CA.issue("laptop-1", now=NOW, key=key).escaped) == "CERT_KEY_WEAK"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["urn:zt:device:"],
        ["urn:zt:device:a/b"],
        ["urn:zt:device:a b"],
        ["urn:zt:device:../a"],
        ["urn:zt:user:tanaka"],
        ["URN:ZT:DEVICE:a"],
        ["https://portal.example"],
        ["spiffe://"],
        ["spiffe://example.org"],
        ["urn:zt:device:" + "a" * 200],
    ],
)
def test_a_certificate_that_names_no_device_is_refused(uris: list[str]) -> None:
    assert refusal(CA.issue("", now=NOW, uris=uris).escaped) == "CERT_NO_DEVICE"


@pytest.mark.parametrize("second", ["urn:zt:device:laptop-2", "spiffe://example.org/d1", "https://portal.example"])
def test_a_certificate_with_two_names_is_ambiguous(second: str) -> None:
    certificate = CA.issue("", now=NOW, uris=["urn:zt:device:laptop-1", second])

    assert refusal(certificate.escaped) == "CERT_AMBIGUOUS"


# Times.


def test_a_certificate_counts_from_its_start_until_before_its_end() -> None:
    certificate = CA.issue("laptop-1", now=NOW, lifetime=600)

    assert verifier().verify(certificate.escaped, now=NOW + 599).device_id == "laptop-1"
    assert refusal(certificate.escaped, now=NOW + 600) == "CERT_EXPIRED"
    assert refusal(certificate.escaped, now=NOW - 301) == "CERT_NOT_YET_VALID"


# What is not one PEM certificate.


def escaped(*certificates: x509.Certificate) -> bytes:
    return quote(b"".join(c.public_bytes(Encoding.PEM) for c in certificates).decode(), safe="").encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"%",
        b"%zz",
        b"\xff\xfe",
        "証明書".encode(),
        b"garbage",
        LAPTOP.pem,
        LAPTOP.escaped + LAPTOP.escaped,
        LAPTOP.escaped + b"%00",
        b"x" + LAPTOP.escaped,
        LAPTOP.escaped[:-40],
        LAPTOP.escaped[:200] + LAPTOP.escaped[230:],
        quote(LAPTOP.key_pem.decode(), safe="").encode(),
        b"-----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----%0A",
        b":" + b"AAAA" + b":",
    ],
)
def test_what_is_not_exactly_one_escaped_certificate_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "CERT_MALFORMED"


def test_more_than_16_kib_is_refused_unread() -> None:
    assert refusal(b"!" * (16 * 1024 + 1)) == "CERT_TOO_LARGE"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_only_ever_raise_input_errors(raw: bytes) -> None:
    assert refusal(raw).startswith("CERT_")


DER = LAPTOP.certificate.public_bytes(Encoding.DER)


def pem_of(der: bytes) -> bytes:
    lines = base64.encodebytes(der).decode()
    return quote(f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n", safe="").encode()


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_makes_another_certificate_of_the_same_device(position: int, bits: int) -> None:
    """The unused bits of the outer signature are not signed, so `x5t` is no name to deny by; everything else is."""
    changed = DER[:position] + bytes([DER[position] ^ bits]) + DER[position + 1 :]

    try:
        read = verifier().verify(pem_of(changed), now=NOW)
    except InputError as error:
        assert error.code.startswith("CERT_")
    else:
        assert read.x5t != LAPTOP.x5t
        assert (read.device_uri, read.serial) == ("urn:zt:device:laptop-1", f"{LAPTOP.certificate.serial_number:x}")


@pytest.mark.parametrize(
    "der",
    [
        DER.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"), 1),
        DER[:-1],
        DER + b"\0",
        b"\x30\x80" + DER,
    ],
    ids=["version 4", "cut off", "trailing byte", "indefinite length"],
)
def test_what_the_library_calls_malformed_in_its_own_ways_is_malformed(der: bytes) -> None:
    assert refusal(pem_of(der)) == "CERT_MALFORMED"


def test_a_negative_serial_number_is_malformed_and_warns_nobody() -> None:
    start = DER.index(bytes.fromhex("a003020102")) + 7  # version, then tag and length of the serial number

    assert refusal(pem_of(DER[:start] + b"\x80" + DER[start + 1 :])) == "CERT_MALFORMED"


# The bundle of device CAs.


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        (b"", "DEVICE_CA_EMPTY"),
        (b"no pem", "DEVICE_CA_EMPTY"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "DEVICE_CA_MALFORMED"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "DEVICE_CA_MALFORMED"),
        (CA.pem + LAPTOP.key_pem, "DEVICE_CA_MALFORMED"),
        (CA.pem + LAPTOP.pem, "DEVICE_CA_UNFIT"),
    ],
)
def test_a_bundle_that_holds_anything_but_cas_is_refused(bundle: bytes, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_authorities(bundle, where="device-cas.pem")

    assert [(problem.code, problem.where) for problem in caught.value.problems] == [(code, "device-cas.pem")]


# The cache.


def test_a_second_validation_is_the_same_value() -> None:
    by = verifier()

    first = by.verify(LAPTOP.escaped, now=NOW)

    assert by.verify(bytes(bytearray(LAPTOP.escaped)), now=NOW + 60) is first


def test_a_cached_certificate_does_not_outlive_its_end() -> None:
    by = verifier()
    by.verify(LAPTOP.escaped, now=NOW)

    assert refusal(LAPTOP.escaped, by, now=NOW + 86_400) == "CERT_EXPIRED"
    assert refusal(LAPTOP.escaped, by, now=NOW - 301) == "CERT_NOT_YET_VALID"


def test_a_cached_certificate_does_not_outlive_its_ca() -> None:
    ca = DevDeviceCa(now=NOW, days=1)
    certificate = ca.issue("laptop-1", now=NOW, lifetime=10 * 86_400)
    by = X509CertificateVerifier(ca.pem)
    by.verify(certificate.escaped, now=NOW)

    assert refusal(certificate.escaped, by, now=NOW + 86_400) == "CERT_UNTRUSTED"


def test_a_cached_certificate_does_not_outlive_a_change_of_the_bundle() -> None:
    by = verifier()
    by.verify(LAPTOP.escaped, now=NOW)

    by.replace(DevDeviceCa(now=NOW).pem)

    assert refusal(LAPTOP.escaped, by) == "CERT_UNTRUSTED"


def test_a_bad_bundle_keeps_the_last_good_one() -> None:
    by = verifier()

    with pytest.raises(ConfigError):
        by.replace(b"half written")

    assert by.verify(LAPTOP.escaped, now=NOW).device_id == "laptop-1"


def test_refused_certificates_are_not_remembered_and_the_cache_is_bounded() -> None:
    by = X509CertificateVerifier(CA.pem, entries=2)
    for number in range(4):
        by.verify(CA.issue(f"laptop-{number}", now=NOW).escaped, now=NOW)
        refusal(DevDeviceCa(now=NOW).issue("x", now=NOW).escaped, by)

    assert by.size == 2


def test_a_repr_shows_no_certificate_and_no_key() -> None:
    by = verifier()
    by.verify(LAPTOP.escaped, now=NOW)

    assert repr(by) == "X509CertificateVerifier(1 certificates)"
    assert "PRIVATE" not in repr(LAPTOP) + str(vars(CA))


def test_the_development_ca_issues_what_proxies_accept() -> None:
    """OpenSSL, and so every proxy, wants the same of a client certificate: a path, times and the usage."""
    certificate: DevCertificate = LAPTOP

    constraints = certificate.certificate.extensions.get_extension_for_class(x509.BasicConstraints)

    assert constraints.critical
    assert not constraints.value.ca
