"""What every verifier of keys promises: what it takes, what it refuses, and with which code."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.authenticator import (
    ORIGIN,
    RP,
    Authenticator,
    FakeAuthenticator,
    FakeVerifier,
    Maker,
    b64,
    unb64,
)
from zt_engine.adapters.webauthn_ceremony import WebAuthnKeys, read_roots
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.webauthn import Passkey
from zt_engine.ports.webauthn import KeyVerifier, NewKey

HANDLE = secrets.token_urlsafe(32)


class Bench:
    """A verifier, and keys that it can be shown."""

    def __init__(self, verifier: KeyVerifier, kind: Any) -> None:
        self.verifier = verifier
        self.kind = kind
        self.challenge = secrets.token_urlsafe(32)

    def creation(self, *known: Passkey) -> bytes:
        return self.verifier.creation(
            challenge=self.challenge, handle=HANDLE, name="tanaka", display="田中", known=known
        )

    def registered(self, key: Any) -> Passkey:
        return passkey(self.verifier.created(key.create(self.creation()), challenge=self.challenge))

    def request(self, *keys: Passkey) -> bytes:
        return self.verifier.request(challenge=self.challenge, keys=keys)


def passkey(made: NewKey) -> Passkey:
    return Passkey(
        id="a" * 43, issuer="i", subject="s", credential=made.credential, public_key=made.public_key, handle=HANDLE,
        name="key", counter=made.counter, backup_eligible=made.backup_eligible, backed_up=made.backed_up,
        attested=made.attested, transports=made.transports, created_at=0,
    )  # fmt: skip


@pytest.fixture(params=["adapter", "fake"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "fake":
        return Bench(FakeVerifier(), FakeAuthenticator)
    return Bench(WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry"), Authenticator)


def test_a_key_is_made_and_used(bench: Bench) -> None:
    key = bench.kind(counter=4)
    known = bench.registered(key)
    assert (known.counter, known.backup_eligible, known.backed_up, known.acr) == (4, False, False, "phr")
    assert known.transports == ("usb",)

    answer = key.get(bench.request(known))
    assert bench.verifier.named(answer) == known.credential
    shown = bench.verifier.proved(answer, challenge=bench.challenge, key=known)
    assert (shown.counter, shown.backup_eligible, shown.backed_up) == (5, False, False)


def test_options_name_the_keys_there_are_the_site_and_the_person(bench: Bench) -> None:
    known = bench.registered(bench.kind())

    made, asked = json.loads(bench.creation(known)), json.loads(bench.request(known))

    assert [one["id"] for one in made["excludeCredentials"]] == [known.credential]
    assert [one["id"] for one in asked["allowCredentials"]] == [known.credential]
    assert (made["rp"]["id"], asked["rpId"]) == (RP, RP)
    assert (made["user"]["id"], made["user"]["name"], made["challenge"]) == (HANDLE, "tanaka", bench.challenge)


@pytest.mark.parametrize("copied", [False, True])
def test_what_a_key_says_of_its_copies_is_told_as_it_is(bench: Bench, copied: bool) -> None:
    key = bench.kind(eligible=True, copied=copied)
    known = bench.registered(key)
    assert (known.backup_eligible, known.backed_up) == (True, copied)

    shown = bench.verifier.proved(key.get(bench.request(known), copied=True), challenge=bench.challenge, key=known)
    assert (shown.backup_eligible, shown.backed_up) == (True, True)


def test_a_counter_that_went_back_is_told_and_not_judged(bench: Bench) -> None:
    key = bench.kind(counter=9)
    known = bench.registered(key)

    shown = bench.verifier.proved(key.get(bench.request(known), counter=3), challenge=bench.challenge, key=known)

    assert shown.counter == 3


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"origin": "https://evil.example"}, "PASSKEY_ORIGIN"),
    ({"origin": "https://sub.control.example"}, "PASSKEY_ORIGIN"),
    ({"origin": "http://control.example"}, "PASSKEY_ORIGIN"),
    ({"origin": "https://control.example:8443"}, "PASSKEY_ORIGIN"),
    ({"rp": "evil.example"}, "PASSKEY_ORIGIN"),
    ({"cross_origin": True}, "PASSKEY_ORIGIN"),
    ({"top": "https://evil.example"}, "PASSKEY_ORIGIN"),
    ({"challenge": "A" * 43}, "PASSKEY_CHALLENGE"),
    ({"challenge": ""}, "PASSKEY_CHALLENGE"),
    ({"verified": False}, "PASSKEY_VERIFICATION"),
    ({"copied": True}, "PASSKEY_INVALID"),
]


@pytest.mark.parametrize(("wrong", "code"), WRONG, ids=[f"{code}-{next(iter(wrong))}" for wrong, code in WRONG])
def test_what_is_wrong_is_refused_when_a_key_is_made_and_when_it_is_used(
    bench: Bench, wrong: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputError) as made:
        bench.verifier.created(bench.kind().create(bench.creation(), **wrong), challenge=bench.challenge)
    assert made.value.code == code

    key = bench.kind()
    known = bench.registered(key)
    with pytest.raises(InputError) as used:
        bench.verifier.proved(key.get(bench.request(known), **wrong), challenge=bench.challenge, key=known)
    assert used.value.code == code


def test_an_answer_of_another_key_or_person_proves_nothing(bench: Bench) -> None:
    key, other = bench.kind(), bench.kind()
    known = bench.registered(key)
    bench.registered(other)

    for answer, code in (
        (key.get(bench.request(known), signer=ec.generate_private_key(ec.SECP256R1())), "PASSKEY_INVALID"),
        (other.get(bench.request(known)), "PASSKEY_INVALID"),
        (key.get(bench.request(known), handle="b3RoZXI"), "PASSKEY_UNKNOWN"),
    ):
        with pytest.raises(InputError) as error:
            bench.verifier.proved(answer, challenge=bench.challenge, key=known)
        assert error.value.code == code


def test_an_answer_for_one_ceremony_is_none_for_the_other(bench: Bench) -> None:
    key = bench.kind()
    known = bench.registered(key)

    with pytest.raises(InputError) as error:
        bench.verifier.created(key.get(bench.request(known)), challenge=bench.challenge)
    assert error.value.code == "PASSKEY_INVALID"
    with pytest.raises(InputError) as error:
        bench.verifier.proved(key.create(bench.creation()), challenge=bench.challenge, key=known)
    assert error.value.code == "PASSKEY_INVALID"


GARBAGE = [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"id": 1}', b'{"id": "a", "response": {}}', b"[" * 5000]


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_answer_at_all_is_refused(bench: Bench, answer: bytes) -> None:
    known = bench.registered(bench.kind())

    for refused in (
        lambda: bench.verifier.created(answer, challenge=bench.challenge),
        lambda: bench.verifier.proved(answer, challenge=bench.challenge, key=known),
    ):
        with pytest.raises(InputError) as error:
            refused()
        assert error.value.code == "PASSKEY_INVALID"


# -- what only the real one can be asked


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker()


def attested(keys: WebAuthnKeys, **kind: Any) -> Passkey:
    return Bench(keys, Authenticator).registered(Authenticator(**kind))


def test_only_a_maker_that_is_believed_makes_a_key_hardware(maker: Maker) -> None:
    believing = WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry", roots=(maker.pem,))
    plain = WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry")

    assert attested(believing, maker=maker).acr == "phrh"
    assert attested(believing, maker=Maker("Other")).acr == "phr"
    assert attested(believing, attests=True).acr == "phr"  # it vouches for itself
    assert attested(believing).acr == "phr"
    assert attested(plain, maker=maker).acr == "phr"


def test_a_key_that_can_be_copied_is_no_hardware_whoever_vouches_for_it(maker: Maker) -> None:
    believing = WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry", roots=(maker.pem,))

    assert attested(believing, maker=maker, eligible=True).acr == "phr"
    assert attested(believing, maker=maker, eligible=True).amr == ("swk", "user", "mfa")
    assert attested(believing, maker=maker).amr == ("hwk", "user", "mfa")


def test_who_believes_no_maker_does_not_ask_who_made_a_key(maker: Maker) -> None:
    def asked(keys: WebAuthnKeys) -> Any:
        return json.loads(Bench(keys, Authenticator).creation())["attestation"]

    assert asked(WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="m")) == "none"
    assert asked(WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="m", roots=(maker.pem,))) == "direct"


def test_every_option_requires_that_the_user_is_verified() -> None:
    bench = Bench(WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry"), Authenticator)
    known = bench.registered(Authenticator())

    assert json.loads(bench.creation())["authenticatorSelection"]["userVerification"] == "required"
    assert json.loads(bench.request(known))["userVerification"] == "required"


REAL = Bench(WebAuthnKeys(rp_id=RP, origin=ORIGIN, name="Ministry"), Authenticator)
KEY = Authenticator(counter=7)
KNOWN = REAL.registered(KEY)
GOOD = KEY.get(REAL.request(KNOWN))
MADE = Authenticator(attests=True).create(REAL.creation())


def bent(answer: bytes, name: str, at: int, bit: int) -> bytes:
    """An answer with one bit of one of its parts turned."""
    said = json.loads(answer)
    part = bytearray(unb64(said["response"][name]))
    part[at % len(part)] ^= 1 << bit
    said["response"][name] = b64(bytes(part))
    return json.dumps(said).encode()


@given(
    name=st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]),
    at=st.integers(min_value=0, max_value=400), bit=st.integers(min_value=0, max_value=7),
)  # fmt: skip
def test_invariant_no_bit_of_an_answer_can_be_turned(name: str, at: int, bit: int) -> None:
    with pytest.raises(InputError) as error:
        REAL.verifier.proved(bent(GOOD, name, at, bit), challenge=REAL.challenge, key=KNOWN)
    assert error.value.code.startswith("PASSKEY_")


@given(
    name=st.sampled_from(["clientDataJSON", "attestationObject"]), at=st.integers(min_value=0, max_value=600),
    bit=st.integers(min_value=0, max_value=7),
)  # fmt: skip
def test_invariant_no_bit_of_a_key_that_vouches_for_itself_can_be_turned(name: str, at: int, bit: int) -> None:
    with pytest.raises(InputError) as error:
        REAL.verifier.created(bent(MADE, name, at, bit), challenge=REAL.challenge)
    assert error.value.code.startswith("PASSKEY_")


@given(st.binary(max_size=300))
def test_whatever_bytes_are_sent_are_refused_in_our_words(raw: bytes) -> None:
    said = {"id": b64(KEY.id), "rawId": b64(KEY.id), "type": "public-key"}
    made = said | {"response": {"clientDataJSON": json.loads(MADE)["response"]["clientDataJSON"]}}
    made["response"] |= {"attestationObject": b64(raw), "authenticatorData": b64(raw), "signature": b64(raw)}
    for answer in (raw, json.dumps(made).encode()):
        for verify in (
            lambda answer=answer: REAL.verifier.created(answer, challenge=REAL.challenge),
            lambda answer=answer: REAL.verifier.proved(answer, challenge=REAL.challenge, key=KNOWN),
        ):
            with pytest.raises(InputError) as error:
                verify()
            assert error.value.code.startswith("PASSKEY_")


def test_a_file_of_makers_is_read_or_named_as_the_fault(tmp_path: Any, maker: Maker) -> None:
    path = tmp_path / "roots.pem"
    path.write_bytes(maker.pem + Maker("Other").pem)
    assert len(read_roots(path)) == 2
    path.write_text("nothing")

    for wrong in (path, tmp_path / "missing"):
        with pytest.raises(ConfigError) as error:
            read_roots(wrong)
        assert error.value.problems[0].where == "sign_in.key_roots"
