"""What devices sign is read in one way only, and verified by the one key it may be verified by."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.enrollment_support import DeviceKey
from tests.issuer import b64, jws
from zt_engine.adapters.jws_device import MAX_BYTES, DeviceJws
from zt_engine.core.errors import InputError

JWS = DeviceJws()
KEY, OTHER = DeviceKey(), DeviceKey()
TYPE = "zt-posture+jwt"
X5T = "A" * 43


def refused(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **more)
    return caught.value.code


def signed(
    claims: dict[str, object] | None = None, *, key: DeviceKey = KEY, typ: str = TYPE, **header: object
) -> bytes:
    return key.sign({"seq": 1} if claims is None else claims, typ=typ, **{"kid": X5T, **header})


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256", "PS256"])
def test_every_kind_of_key_a_device_may_have_signs(algorithm: str) -> None:
    key = DeviceKey(algorithm)

    assert JWS.verify(signed(key=key), jwk=key.jwk, typ=TYPE).claims == {"seq": 1}
    assert JWS.embedded(signed(key=key, jwk=key.jwk), typ=TYPE)[0] == key.jwk


def test_the_key_of_a_message_is_what_its_header_says_until_it_is_verified() -> None:
    assert JWS.claimed_key(signed()) == X5T


@pytest.mark.parametrize("kid", [None, 7, "", "short", "A" * 42 + "B", "A" * 44, "A" * 42 + "="])
def test_a_key_id_is_the_digest_of_a_certificate(kid: object) -> None:
    assert refused(JWS.claimed_key, signed(kid=kid)) == "PROOF_MALFORMED"


def test_another_key_verifies_nothing() -> None:
    assert refused(JWS.verify, signed(), jwk=OTHER.jwk, typ=TYPE) == "PROOF_SIGNATURE"


@pytest.mark.parametrize("typ", ["zt-helper+jwt", "JWT", "at+jwt", "ZT-POSTURE+JWT", "", None])
def test_a_message_of_another_type_is_refused(typ: Any) -> None:
    assert refused(JWS.verify, signed(typ=typ), jwk=KEY.jwk, typ=TYPE) == "PROOF_TYPE"
    assert refused(JWS.embedded, signed(typ=typ, jwk=KEY.jwk), typ=TYPE) == "PROOF_TYPE"


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "ES384", "EdDSA", None, 7])
def test_the_algorithm_is_the_keys(algorithm: object) -> None:
    unsigned = jws({"typ": TYPE, "alg": algorithm, "kid": X5T}, {"seq": 1}).rpartition(b".")[0]
    forged = unsigned + b"." + signed().rpartition(b".")[2]

    assert refused(JWS.verify, forged, jwk=KEY.jwk, typ=TYPE) == "PROOF_SIGNATURE"


def test_a_public_key_is_no_shared_secret() -> None:
    """RFC 8725 section 2.1: a verifier that let the message choose would take the public key for an HMAC's."""
    unsigned = jws({"typ": TYPE, "alg": "HS256", "kid": X5T}, {"seq": 1}).rpartition(b".")[0]
    for secret in (json.dumps(KEY.jwk).encode(), base64.urlsafe_b64decode(str(KEY.jwk["x"]) + "=")):
        forged = unsigned + b"." + b64(hmac.new(secret, unsigned, hashlib.sha256).digest())
        assert refused(JWS.verify, forged, jwk=KEY.jwk, typ=TYPE) == "PROOF_SIGNATURE"


def test_an_embedded_key_never_verifies_what_is_checked_with_a_known_one() -> None:
    assert refused(JWS.verify, signed(key=OTHER, jwk=OTHER.jwk), jwk=KEY.jwk, typ=TYPE) == "PROOF_SIGNATURE"


@pytest.mark.parametrize(
    ("jwk", "code"),
    [
        (None, "PROOF_MALFORMED"),
        ("text", "PROOF_MALFORMED"),
        ([], "PROOF_MALFORMED"),
        ({**KEY.jwk, "d": "AAAA"}, "PROOF_MALFORMED"),
        ({"kty": "oct", "k": "AAAA"}, "PROOF_MALFORMED"),
        ({}, "PROOF_SIGNATURE"),
        ({"kty": "EC", "crv": "P-256", "x": KEY.jwk["x"], "y": KEY.jwk["x"]}, "PROOF_SIGNATURE"),
        ({**KEY.jwk, "crv": "secp256k1"}, "PROOF_SIGNATURE"),
        ({**KEY.jwk, "alg": "ES384"}, "PROOF_SIGNATURE"),
        ({**KEY.jwk, "x": str(KEY.jwk["x"]) + "="}, "PROOF_SIGNATURE"),
        (OTHER.jwk, "PROOF_SIGNATURE"),
    ],
)
def test_a_key_that_is_carried_is_a_public_key_that_made_the_signature(jwk: object, code: str) -> None:
    assert refused(JWS.embedded, signed(jwk=jwk), typ=TYPE) == code


def test_of_a_key_that_is_carried_only_the_key_is_returned() -> None:
    carried, _ = JWS.embedded(signed(jwk={**KEY.jwk, "kid": "me", "use": "sig", "x5u": "https://evil"}), typ=TYPE)

    assert carried == KEY.jwk


@pytest.mark.parametrize("member", ["crit", "b64", "zip", "cty", "enc"])
def test_a_header_that_changes_how_the_rest_is_read_is_refused(member: str) -> None:
    assert refused(JWS.verify, signed(**{member: ["x"]}), jwk=KEY.jwk, typ=TYPE) == "PROOF_MALFORMED"


def test_a_message_that_is_too_large_is_not_decoded() -> None:
    assert refused(JWS.claimed_key, b"a" * (MAX_BYTES + 1)) == "PROOF_TOO_LARGE"


@given(st.binary(max_size=300))
def test_whatever_comes_it_is_refused_with_a_code(raw: bytes) -> None:
    for call in (
        lambda: JWS.claimed_key(raw),
        lambda: JWS.verify(raw, jwk=KEY.jwk, typ=TYPE),
        lambda: JWS.embedded(raw, typ=TYPE),
    ):
        assert refused(call) == "PROOF_MALFORMED"


GOOD = signed(jwk=KEY.jwk)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(place: int, change: int) -> None:
    changed = bytes([*GOOD[:place], GOOD[place] ^ change, *GOOD[place + 1 :]])

    for call in (lambda: JWS.verify(changed, jwk=KEY.jwk, typ=TYPE), lambda: JWS.embedded(changed, typ=TYPE)):
        assert refused(call).startswith("PROOF_")
