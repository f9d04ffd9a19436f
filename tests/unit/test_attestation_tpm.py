"""What a TPM says, byte by byte: each link is needed, and any other bytes are one and the same refusal."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.inventory import Device, HeldKey
from tests.control_support import Control
from tests.fakes.tpm import (
    AK_ATTRIBUTES,
    EK_ATTRIBUTES,
    KEY_ATTRIBUTES,
    NULL,
    RSAPSS,
    FakeTpm,
    attestation,
    public_area,
    sized,
)
from tests.issuer import NOW
from zt_engine.adapters.attestation_tpm import TpmAttestation, chip_of, qualifying
from zt_engine.adapters.ca_keys import self_signed
from zt_engine.adapters.csr_x509 import describe_key
from zt_engine.adapters.tpm_credential import derive
from zt_engine.adapters.tpm_endorsement import check_endorsed, read_makers
from zt_engine.adapters.tpm_structures import read_certified, read_public, read_quoted, read_signature
from zt_engine.control_plane.api.attestation import attestation_room
from zt_engine.core.errors import InputError
from zt_engine.core.jose import to_base64url
from zt_engine.ports.credentials import CertificateRequest

SECRET = bytes(range(32))
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def verifier_for(*tpms: FakeTpm) -> TpmAttestation:
    """A control plane that has these chips registered."""
    chips = frozenset(chip_of(tpm.ek.public_key()) for tpm in tpms)
    return TpmAttestation(registered=chips, secret=SECRET)


def shown(tpm: FakeTpm) -> TpmAttestation:
    by = verifier_for(tpm)
    tpm.open(by.challenge(tpm.pair(), now=NOW))
    return by


def request_of(tpm: FakeTpm) -> CertificateRequest:
    return describe_key(tpm.key.public_key(), b"the request")


def attest(tpm: FakeTpm, **changes: Any) -> dict[str, Any]:
    return tpm.statement(nonce="n", about=request_of(tpm).der_digest) | changes


def key(by: TpmAttestation, tpm: FakeTpm, statement: Any) -> Any:
    return by.key(statement, nonce="n", request=request_of(tpm), now=NOW)


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    assert caught.value.code == "ATTESTATION_REFUSED"
    return caught.value.message


def device_of(tpm: FakeTpm) -> Device:
    request = request_of(tpm)
    held = HeldKey(
        x5t="x", spki=request.spki, jkt=request.jkt, jwk=request.jwk, issuer="CN=ca", serial="1",
        not_before=NOW, not_after=NOW + 3600, protection="attested_hw",
    )  # fmt: skip
    return Device(tenant="t", device_id="d-1", version=1, status="active", ownership="corp", keys=(held,))


def boot(by: TpmAttestation, tpm: FakeTpm, quote: Any) -> Any:
    return by.boot(quote, device=device_of(tpm), nonce="n", now=NOW)


@pytest.mark.parametrize("ek", [None, RSA_KEY], ids=["ECC", "RSA"])
@pytest.mark.parametrize(("ak", "scheme"), [(None, b""), (RSA_KEY, b""), (RSA_KEY, RSAPSS)])
def test_a_pair_of_keys_is_shown_once_and_then_speaks(ek: Any, ak: Any, scheme: bytes) -> None:
    tpm = FakeTpm(ek=ek, ak=ak, ak_scheme=scheme)
    by = shown(tpm)

    assert key(by, tpm, attest(tpm)).hardware == chip_of(tpm.ek.public_key())
    assert boot(by, tpm, tpm.quote(nonce="n", about="d-1"))["boot.measured"] is True


# What each link needs.


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 18])
def test_an_attestation_key_without_one_of_its_attributes_is_refused(bit: int) -> None:
    tpm = FakeTpm(ak_attributes=AK_ATTRIBUTES & ~(1 << bit))

    assert "attestation key" in refusal(verifier_for(tpm).challenge, tpm.pair(), now=NOW)


def test_an_attestation_key_that_also_decrypts_is_refused() -> None:
    tpm = FakeTpm(ak_attributes=AK_ATTRIBUTES | 1 << 17)

    assert "attestation key" in refusal(verifier_for(tpm).challenge, tpm.pair(), now=NOW)


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 17])
def test_an_endorsement_key_without_one_of_its_attributes_is_refused(bit: int) -> None:
    tpm = FakeTpm(ek_attributes=EK_ATTRIBUTES & ~(1 << bit))

    assert "endorsement key" in refusal(verifier_for(tpm).challenge, tpm.pair(), now=NOW)


def test_an_endorsement_key_that_signs_or_protects_nothing_is_refused() -> None:
    for tpm in (FakeTpm(ek_attributes=EK_ATTRIBUTES | 1 << 18), FakeTpm(ek_symmetric=NULL)):
        assert "endorsement key" in refusal(verifier_for(tpm).challenge, tpm.pair(), now=NOW)


@pytest.mark.parametrize("bit", [1, 4, 5, 18])
def test_a_device_key_that_can_leave_or_was_loaded_is_refused(bit: int) -> None:
    tpm = FakeTpm(key_attributes=KEY_ATTRIBUTES & ~(1 << bit))

    assert "could be somewhere else" in refusal(key, shown(tpm), tpm, attest(tpm))


def test_a_chip_nobody_knows_is_refused() -> None:
    tpm = FakeTpm()

    assert "`ek.certificate` is missing" in refusal(verifier_for().challenge, tpm.pair(), now=NOW)
    assert "`ek.certificate` is missing" in refusal(key, verifier_for(FakeTpm()), tpm, attest(tpm))


def test_without_the_token_nothing_is_believed() -> None:
    tpm = FakeTpm()
    by = verifier_for(tpm)

    assert "`ak.token` is missing" in refusal(key, by, tpm, attest(tpm))
    tpm.token = bytes(32)
    assert "not shown to be in one TPM" in refusal(key, by, tpm, attest(tpm))


def test_the_token_of_one_pair_is_worth_nothing_for_another() -> None:
    one, two = FakeTpm(), FakeTpm()
    by = verifier_for(one, two)
    one.open(by.challenge(one.pair(), now=NOW))
    two.token = one.token

    assert "not shown to be in one TPM" in refusal(key, by, two, attest(two))


def test_a_credential_for_another_attestation_key_does_not_open() -> None:
    one, two = FakeTpm(), FakeTpm()
    by = verifier_for(one, two)

    with pytest.raises(AssertionError):
        one.open(by.challenge(one.pair() | {"ak": two.pair()["ak"]}, now=NOW))


def test_words_that_the_tpm_did_not_put_there_are_refused() -> None:
    """An honest restricted key never signs what begins otherwise; one that did is no proof of anything."""
    tpm = FakeTpm()
    by = shown(tpm)
    bound = qualifying("key", "n", request_of(tpm).der_digest)
    body = sized(read_public(tpm.key_public).name) + sized(b"")
    for said in (attestation(0x8017, bound, body, magic=0), attestation(0x8018, bound, body)):
        statement = attest(tpm)
        statement["key"] |= {"attest": to_base64url(said), "signature": to_base64url(tpm.sign(said))}

        assert refusal(key, by, tpm, statement)


def test_a_certificate_of_another_object_is_refused() -> None:
    tpm = FakeTpm()
    by = shown(tpm)
    bound = qualifying("key", "n", request_of(tpm).der_digest)
    said = attestation(0x8017, bound, sized(read_public(tpm.ak_public).name) + sized(b""))
    statement = attest(tpm)
    statement["key"] |= {"attest": to_base64url(said), "signature": to_base64url(tpm.sign(said))}

    assert "another key was certified" in refusal(key, by, tpm, statement)


def test_a_signature_by_another_scheme_is_refused() -> None:
    tpm = FakeTpm(ak=RSA_KEY)
    by = shown(tpm)
    tpm.ak_scheme = RSAPSS

    assert "another scheme" in refusal(key, by, tpm, attest(tpm))


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"selected": b"\xfe\x00\x00"}, "other registers"),
        ({"selected": b"\xff\x01\x00"}, "other registers"),
        ({"selected": b""}, "other registers"),
        ({"bank": b"\x00\x0c"}, "other registers"),
        ({"bank": b"\x00\x04"}, "algorithm 0x0004"),
        ({"banks": 0}, "one bank"),
        ({"banks": 2}, "one bank"),
        ({"selected": bytes(5)}, "so many registers"),
    ],
)
def test_a_quote_about_other_registers_is_refused(named: dict[str, Any], says: str) -> None:
    tpm = FakeTpm()

    assert says in refusal(boot, shown(tpm), tpm, tpm.quote(nonce="n", about="d-1", **named))


@pytest.mark.parametrize("register", range(8))
@pytest.mark.parametrize("value", [bytes(32), bytes(31) + b"\x03", b"\xff" * 32])
def test_one_register_that_nothing_was_measured_into_makes_a_boot_unmeasured(register: int, value: bytes) -> None:
    tpm = FakeTpm()
    by = shown(tpm)
    tpm.registers = tpm.registers[: 32 * register] + value + tpm.registers[32 * (register + 1) :]

    assert boot(by, tpm, tpm.quote(nonce="n", about="d-1"))["boot.measured"] is False


def test_a_revoked_or_expired_key_of_the_device_vouches_for_no_quote() -> None:
    tpm = FakeTpm()
    by, device = shown(tpm), device_of(tpm)
    revoked = replace(device, keys=(replace(device.keys[0], revoked_at=NOW),))
    quote = tpm.quote(nonce="n", about="d-1")

    assert "does not hold" in refusal(by.boot, quote, device=revoked, nonce="n", now=NOW)
    assert "does not hold" in refusal(by.boot, quote, device=device, nonce="n", now=NOW + 3600)


def test_a_short_secret_is_a_mistake_of_the_operator() -> None:
    with pytest.raises(ValueError):
        TpmAttestation(secret=b"short")


# Makers.


def ek_certificate(
    tpm: FakeTpm, ca_key: Any, issuer: x509.Name, *, starts: float = NOW - 60, usages: Any = None, extra: Any = None,
    ca: bool = False,
) -> bytes:  # fmt: skip
    model = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:54455354")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(tpm.ek.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime.fromtimestamp(starts, dt.UTC))
        .not_valid_after(dt.datetime(9999, 12, 31, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(model)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages or [x509.ObjectIdentifier("2.23.133.8.1")]), critical=False)
    )
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.DER)


MAKER_KEY = ec.generate_private_key(ec.SECP256R1())


def maker(name: str = "Maker") -> x509.Certificate:
    return self_signed(MAKER_KEY, name=name, starts=NOW - 3600, seconds=86_400)


MAKER = maker()


def test_a_makers_certificate_lets_a_chip_in() -> None:
    tpm = FakeTpm()
    tpm.certificate = ek_certificate(tpm, MAKER_KEY, MAKER.subject)
    by = TpmAttestation(roots=read_makers(MAKER.public_bytes(Encoding.PEM)), secret=SECRET)

    tpm.open(by.challenge(tpm.pair(), now=NOW))

    assert key(by, tpm, attest(tpm)).hardware == chip_of(tpm.ek.public_key())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"starts": NOW + 60}, "not valid now"),
        ({"usages": [ExtendedKeyUsageOID.CLIENT_AUTH]}, "not for an endorsement key"),
        ({"ca": True}, "a CA is no endorsement key"),
        (
            {"extra": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")},
            "demands something unknown",
        ),
        (
            {"extra": x509.KeyUsage(True, False, False, False, False, False, False, False, False)},
            "not for an endorsement key",
        ),
    ],
)
def test_a_certificate_that_is_not_an_endorsement_is_refused(changes: dict[str, Any], says: str) -> None:
    tpm = FakeTpm()
    certificate = ek_certificate(tpm, MAKER_KEY, MAKER.subject, **changes)

    with pytest.raises(ValueError, match=says):
        check_endorsed(certificate, tpm.ek.public_key(), roots=[MAKER], now=NOW)


def test_another_maker_of_the_same_name_is_refused() -> None:
    tpm = FakeTpm()
    other = ec.generate_private_key(ec.SECP256R1())
    certificate = ek_certificate(tpm, other, MAKER.subject)

    with pytest.raises(ValueError, match="nobody who is known"):
        check_endorsed(certificate, tpm.ek.public_key(), roots=[MAKER], now=NOW)


def test_a_maker_whose_ca_has_ended_vouches_for_nothing() -> None:
    tpm = FakeTpm()
    certificate = ek_certificate(tpm, MAKER_KEY, MAKER.subject)

    with pytest.raises(ValueError, match="nobody who is known"):
        check_endorsed(certificate, tpm.ek.public_key(), roots=[MAKER], now=NOW + 90_000)


# Bytes.


def test_kdfa_is_the_counter_mode_of_sp_800_108() -> None:
    """The library's KBKDF with the same label, contexts and lengths."""
    for bits in (128, 256, 384, 512):
        reference = KBKDFHMAC(
            algorithm=hashes.SHA256(), mode=Mode.CounterMode, length=bits // 8, rlen=4, llen=4,
            location=CounterLocation.BeforeFixed, label=b"STORAGE", context=b"name", fixed=None,
        )  # fmt: skip
        assert derive("sha256", SECRET, b"STORAGE\0", b"na", b"me", bits) == reference.derive(SECRET)


READERS = (read_public, read_certified, read_quoted, read_signature)
SAMPLES = tuple(
    bytes(sample)
    for tpm in (FakeTpm(), FakeTpm(ek=RSA_KEY, ak=RSA_KEY))
    for sample in (
        tpm.ek_public,
        tpm.ak_public,
        attestation(0x8017, bytes(32), sized(bytes(34)) + sized(bytes(34))),
        attestation(0x8018, bytes(32), b"\0\0\0\1\0\x0b\3\xff\0\0" + sized(bytes(32))),
        tpm.sign(b"message"),
    )
)


def read_or_refuse(raw: bytes) -> None:
    for reader in READERS:
        try:
            reader(raw)
        except ValueError:
            pass


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_read_or_raise_value_errors(raw: bytes) -> None:
    read_or_refuse(raw)


@given(st.sampled_from(SAMPLES), st.integers(0, 600), st.binary(max_size=8), st.integers(0, 8))
def test_torn_structures_are_read_or_raise_value_errors(sample: bytes, at: int, piece: bytes, cut: int) -> None:
    read_or_refuse(sample[:at] + piece + sample[at + cut :])


@given(st.sampled_from(SAMPLES), st.data())
def test_no_structure_has_a_second_length(sample: bytes, data: st.DataObject) -> None:
    """What can be read cannot be read any more with bytes missing or added at its end."""
    reader = next(reader for reader in READERS if _reads(reader, sample))
    shorter = sample[: data.draw(st.integers(0, len(sample) - 1))]

    assert not _reads(reader, shorter)
    assert not _reads(reader, sample + data.draw(st.binary(min_size=1, max_size=4)))


def _reads(reader: Any, raw: bytes) -> bool:
    try:
        reader(raw)
    except ValueError:
        return False
    return True


@given(st.dictionaries(st.sampled_from(["format", "ek", "ak", "key", "quote"]), st.recursive(
    st.none() | st.integers() | st.text(max_size=20), lambda inner: st.dictionaries(
        st.sampled_from(["public", "certificate", "token", "attest", "signature", "registers"]), inner, max_size=4
    ), max_leaves=8)))  # fmt: skip
def test_a_statement_of_any_shape_is_one_refusal(statement: dict[str, Any]) -> None:
    tpm = FakeTpm()
    by = verifier_for(tpm)

    refusal(by.challenge, statement, now=NOW)
    refusal(key, by, tpm, statement)
    refusal(boot, by, tpm, statement)


def test_a_point_that_is_not_on_its_curve_is_refused() -> None:
    tpm = FakeTpm()
    area = public_area(tpm.key, KEY_ATTRIBUTES)

    with pytest.raises(ValueError):
        read_public(area[:-1] + bytes([area[-1] ^ 1]))


def test_the_control_plane_asks_a_device_for_its_two_keys_and_nobody_else() -> None:
    tpm = FakeTpm()
    with Control(rooms=(attestation_room(verifier_for(tpm)),)) as control:
        answers = [control.call("POST", "/v1/devices/self/attestation", tpm.pair(), who=who) for who in (None, "owner")]

    assert [answer.status_code for answer in answers] == [401, 401]
