"""Certificate signing requests: any bytes are a request that proves a good key, or are refused by their code."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import warnings
from math import prod
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.csr import make_csr, new_key
from tests.issuer import NOW
from zt_engine.adapters.csr_x509 import MAX_CSR_BYTES, public_jwk, read_csr, same_names, spki_of
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.adapters.keys_weak import PUBLISHED, weakness
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url, thumbprint, to_base64url

KEY = new_key()
GOOD = make_csr(KEY)
DER = make_csr(KEY, encoding=Encoding.DER)


def refusal(csr: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_csr(csr)
    return caught.value.code


def openssl(*arguments: str, folder: Path, extra: str = "") -> bytes:
    """A request by openssl, which signs what `cryptography` will not."""
    config = folder / "req.cnf"
    config.write_text(f"[req]\ndistinguished_name = dn\nstring_mask = utf8only\n[dn]\n{extra}", encoding="utf-8")
    command = ["openssl", "req", "-new", "-nodes", "-keyout", str(folder / "key.pem"), "-config", str(config)]
    return subprocess.run([*command, *arguments], check=True, capture_output=True).stdout


def test_a_request_says_which_key_is_to_be_certified() -> None:
    read = read_csr(GOOD)

    assert read.key == KEY.public_key()
    assert read.request.jwk == public_jwk(KEY.public_key())
    assert read.request.jkt == thumbprint(read.request.jwk)


def test_pem_and_der_are_the_same_request() -> None:
    assert read_csr(GOOD).request.spki == read_csr(DER).request.spki
    assert read_csr(x509.load_der_x509_csr(DER).public_bytes(Encoding.PEM)).request == read_csr(DER).request


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        rsa.generate_private_key(public_exponent=65537, key_size=3072),
    ],
    ids=["P-384", "Ed25519", "RSA 2048", "RSA 3072"],
)
def test_good_keys_of_each_family_are_taken(key: object) -> None:
    assert read_csr(make_csr(key)).key == key.public_key()  # type: ignore[attr-defined]


def test_a_key_has_one_digest_however_it_is_spelt(tmp_path: Path) -> None:
    """Otherwise a device could hold another's key under a second name."""
    first = openssl("-subj", "/CN=a", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", folder=tmp_path)
    plain = read_csr(first).key.public_numbers().public_key()  # type: ignore[union-attr,call-arg]

    assert read_csr(first).request.spki == to_base64url(hashlib.sha256(spki_of(plain)).digest())


def test_explicit_curve_parameters_make_no_second_key(tmp_path: Path) -> None:
    curve = ("-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit")
    explicit = openssl("-subj", "/CN=a", "-newkey", "ec", *curve, folder=tmp_path)
    named = openssl("-subj", "/CN=a", "-key", str(tmp_path / "key.pem"), folder=tmp_path)

    assert read_csr(explicit).request.jkt == read_csr(named).request.jkt
    assert read_csr(explicit).request.spki == read_csr(named).request.spki


# What is asked for beyond the key.


def test_extensions_of_any_kind_do_not_matter() -> None:
    wishes = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\xff\xff"), True),
    ]

    assert read_csr(make_csr(KEY, extensions=wishes)).request.spki == read_csr(GOOD).request.spki


def test_a_request_without_a_subject_is_taken() -> None:
    assert read_csr(make_csr(KEY, name=None)).key == KEY.public_key()


@pytest.mark.parametrize("name", ["営業部", "caf\u00e9", "a\x00b", "a\nb", "a\x7fb"])
def test_a_subject_beyond_printable_ascii_is_refused(name: str) -> None:
    assert refusal(make_csr(KEY, name=name)) == "CSR_NAME"


@pytest.mark.parametrize("oid", [NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME])
def test_a_subject_that_is_too_long_is_refused(oid: x509.ObjectIdentifier) -> None:
    with warnings.catch_warnings(action="ignore"):
        attribute = x509.NameAttribute(oid, "x" * 300, _validate=False)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([attribute]))

    assert refusal(csr.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)) == "CSR_NAME"


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("*.example.org"),
        x509.DNSName("laptop*.example.org"),
        x509.DNSName("a\x00.example.org"),
        x509.RFC822Name("tanaka@example.org"),
        x509.UniformResourceIdentifier("urn:zt:device:*"),
        x509.UniformResourceIdentifier("urn:zt:device:a\x00b"),
    ],
    ids=["wildcard", "partial wildcard", "NUL", "e-mail", "wildcard URI", "NUL in a URI"],
)
def test_alternative_names_that_no_device_has_are_refused(name: x509.GeneralName) -> None:
    assert refusal(make_csr(KEY, alternatives=[name])) == "CSR_NAME"


def test_a_name_that_is_not_ascii_within_der_is_refused() -> None:
    csr = make_csr(KEY, alternatives=[x509.DNSName("xxxx.example")], encoding=Encoding.DER)

    assert refusal(csr.replace(b"xxxx", "端".encode() + b"x")) in {"CSR_MALFORMED", "CSR_NAME", "CSR_SIGNATURE"}


def test_more_names_than_anybody_needs_are_refused() -> None:
    names = [x509.DNSName(f"n{number}.example") for number in range(33)]

    assert refusal(make_csr(KEY, alternatives=names)) == "CSR_NAME"


def test_names_are_the_same_only_when_subject_and_alternatives_both_are() -> None:
    certificate = DevDeviceCa(now=NOW).issue("laptop-1", now=NOW).certificate
    uri = x509.UniformResourceIdentifier("urn:zt:device:laptop-1")

    assert same_names(make_csr(name="device", alternatives=[uri]), certificate)
    assert not same_names(make_csr(name="device"), certificate)
    assert not same_names(make_csr(name="other", alternatives=[uri]), certificate)
    assert not same_names(make_csr(name=None, alternatives=[uri]), certificate)
    assert not same_names(make_csr(name="device", alternatives=[uri, x509.DNSName("more.example")]), certificate)


def test_a_name_is_the_same_however_its_text_is_spelt() -> None:
    """strongSwan writes PrintableString where this CA writes UTF8String."""
    certificate = DevDeviceCa(now=NOW).issue("laptop-1", now=NOW).certificate
    spelt = x509.NameAttribute(NameOID.COMMON_NAME, "device", _type=_ASN1Type.PrintableString)
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:zt:device:laptop-1")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([spelt])).add_extension(uri, critical=False)

    assert same_names(csr.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM), certificate)


# Signatures.


def test_a_request_for_somebody_elses_key_is_refused() -> None:
    """The self-signature is the proof that whoever asks has the key."""
    mine, theirs = make_csr(KEY, encoding=Encoding.DER), spki_of(new_key().public_key())

    assert refusal(mine.replace(spki_of(KEY.public_key()), theirs)) == "CSR_SIGNATURE"


def test_a_name_that_was_changed_after_signing_is_refused() -> None:
    assert refusal(DER.replace(b"laptop", b"laptoq")) == "CSR_SIGNATURE"


@pytest.mark.parametrize("digest", ["-md5", "-sha1", "-sha224"])
def test_an_old_digest_is_refused(digest: str, tmp_path: Path) -> None:
    csr = openssl("-subj", "/CN=a", "-newkey", "rsa:2048", digest, folder=tmp_path)

    assert refusal(csr) == "CSR_SIGNATURE"


# Keys.


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()])
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    assert refusal(make_csr(ec.generate_private_key(curve))) == "CSR_KEY_WEAK"


def test_a_short_rsa_key_is_refused() -> None:
    assert refusal(make_csr(rsa.generate_private_key(public_exponent=65537, key_size=1024))) == "CSR_KEY_WEAK"


def test_an_exponent_of_three_is_refused() -> None:
    assert refusal(make_csr(rsa.generate_private_key(public_exponent=3, key_size=2048))) == "CSR_KEY_WEAK"


def test_another_algorithm_is_refused() -> None:
    assert refusal(make_csr(dsa.generate_private_key(2048))) in {"CSR_KEY_WEAK", "CSR_MALFORMED"}  # type: ignore[arg-type]


@pytest.mark.parametrize("scalar", [1, 2, 17, 64])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_private_key_that_anybody_guesses_is_refused(scalar: int, curve: ec.EllipticCurve) -> None:
    assert refusal(make_csr(ec.derive_private_key(scalar, curve))) == "CSR_KEY_WEAK"


def test_the_largest_private_keys_are_as_small_as_the_smallest() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

    assert refusal(make_csr(ec.derive_private_key(order - 1, ec.SECP256R1()))) == "CSR_KEY_WEAK"


@pytest.mark.parametrize(
    ("source", "scalar"),
    [
        ("RFC 7515 A.3", "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"),
        ("RFC 7517 A.2", "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"),
    ],
)
def test_a_key_that_is_printed_in_a_standard_is_refused(source: str, scalar: str) -> None:
    key = ec.derive_private_key(int.from_bytes(from_base64url(scalar), "big"), ec.SECP256R1())

    assert thumbprint(public_jwk(key.public_key())) in PUBLISHED
    assert refusal(make_csr(key)) == "CSR_KEY_WEAK"


def test_the_ed25519_key_of_rfc_8037_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(from_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))

    assert refusal(make_csr(key)) == "CSR_KEY_WEAK"


def is_prime(number: int) -> bool:
    return pow(2, number - 1, number) == 1


def test_a_modulus_of_two_neighbouring_primes_is_refused() -> None:
    p = (1 << 1023) + (1 << 1022) + 12409
    q = p + 1308  # the next one: looking for it takes seconds
    assert is_prime(p) and is_prime(q)

    assert "close" in weakness(rsa.RSAPublicNumbers(65537, p * q).public_key())


def test_a_modulus_with_a_small_factor_is_refused() -> None:
    modulus = 641 * ((1 << 2040) + 1)

    assert "small factor" in weakness(rsa.RSAPublicNumbers(65537, modulus).public_key())


def test_a_modulus_of_the_broken_chips_is_refused() -> None:
    """CVE-2017-15361: primes are k * M + (65537 ** a mod M), M the product of the first primes."""
    primes = [n for n in range(2, 702) if all(n % d for d in range(2, int(n**0.5) + 1))]
    product = prod(primes)
    # The first that are prime above k = 2 ** 54 and 2 ** 54 + 99.
    made = [k * product + pow(65537, a, product) for k, a in (((1 << 54) + 244, 1234), ((1 << 54) + 121, 56789))]
    assert all(map(is_prime, made))
    key = rsa.RSAPublicNumbers(65537, made[0] * made[1]).public_key()

    assert key.key_size >= 2048
    assert "CVE-2017-15361" in weakness(key)


@given(st.integers(0, 30))
def test_keys_of_a_good_generator_are_not_called_weak(_seed: int) -> None:
    assert weakness(new_key().public_key()) == ""
    assert weakness(ed25519.Ed25519PrivateKey.generate().public_key()) == ""


def test_rsa_keys_of_a_good_generator_are_not_called_weak() -> None:
    for _ in range(4):
        assert weakness(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()) == ""


def test_an_ed25519_point_of_small_order_is_refused() -> None:
    for point in (b"\1" + bytes(31), bytes(32)):
        assert "small order" in weakness(ed25519.Ed25519PublicKey.from_public_bytes(point))


# What is no request.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"0",
        b"\x30\x80",
        "申請".encode(),
        DER + b"\0",
        DER + DER,
        DER[:-1],
        GOOD + GOOD,
        GOOD + b"x",
        b"x" + GOOD,
        GOOD.replace(b"-----END", b"*-----END"),
        GOOD.replace(b"REQUEST", b"REQUESTS"),
        GOOD.replace(b"\n", b"\x00\n"),
        base64.b64encode(DER),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
)
def test_what_is_not_exactly_one_request_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "CSR_MALFORMED"


@pytest.mark.parametrize("size", [MAX_CSR_BYTES + 1, 1_000_000])
def test_a_large_request_is_refused_unread(size: int) -> None:
    assert refusal(b"\x30" * size) == "CSR_TOO_LARGE"


@pytest.mark.parametrize("label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
def test_both_labels_that_are_in_use_are_read(label: str) -> None:
    assert read_csr(GOOD.replace(b"CERTIFICATE REQUEST", label.encode())).key == KEY.public_key()


@given(st.binary(max_size=400))
def test_arbitrary_bytes_only_ever_raise_input_errors(raw: bytes) -> None:
    assert refusal(raw).startswith("CSR_")


@given(st.binary(max_size=200))
def test_arbitrary_der_within_pem_only_ever_raises_input_errors(raw: bytes) -> None:
    body = base64.encodebytes(raw)

    assert refusal(b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n")


WITH_NAMES = make_csr(
    KEY,
    alternatives=[x509.UniformResourceIdentifier("urn:zt:device:a"), x509.DNSName("a.example")],
    extensions=[(x509.BasicConstraints(ca=True, path_length=3), True)],
    encoding=Encoding.DER,
)


@given(st.integers(0, len(WITH_NAMES) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_leaves_the_key_as_it_was(position: int, value: int) -> None:
    """Whatever is still read is signed by the same key: nothing that was signed can be changed."""
    changed = WITH_NAMES[:position] + bytes([value]) + WITH_NAMES[position + 1 :]

    try:
        read = read_csr(changed)
    except InputError as error:
        assert error.code.startswith("CSR_")
    else:
        assert read.request.spki == read_csr(GOOD).request.spki


@given(st.lists(st.tuples(st.integers(0, len(WITH_NAMES) - 1), st.binary(min_size=1, max_size=6)), max_size=5))
def test_torn_requests_only_ever_raise_input_errors(cuts: list[tuple[int, bytes]]) -> None:
    torn = WITH_NAMES
    for position, piece in cuts:
        torn = torn[:position] + piece + torn[position + 1 :]

    try:
        read_csr(torn)
    except InputError as error:
        assert error.code.startswith("CSR_")
