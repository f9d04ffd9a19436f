"""Access tokens: the checklist of RFC 8725 as far as keys, algorithms and forgery go, one group of tests a rule."""

from __future__ import annotations

import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW, b64, config_for, jws, verifier_for
from tests.unit.token_support import IDP, RSA_IDP, VERIFIER, header, refusal, resigned, with_claims
from zt_engine.adapters.dev_issuer import DevIssuer, make_key, public_jwk
from zt_engine.adapters.keys_jwks import read_key_set
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import ALGORITHMS, check_issuer


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512"])
def test_a_good_token_of_every_family_is_verified(algorithm: str) -> None:
    idp = DevIssuer(algorithm=algorithm)

    token = verifier_for(idp).verify(idp.mint("tanaka", now=NOW), now=NOW)

    assert (token.issuer, token.subject, token.client_id) == (idp.issuer, "tanaka", "portal-web")
    assert (token.expires_at, token.not_before, token.key_id) == (NOW + 300, NOW, idp.key_id)


# J1: an allow-list per issuer and per key; the header's algorithm is only compared.


def test_j1_an_algorithm_outside_the_issuers_list_is_refused() -> None:
    verifier = verifier_for(RSA_IDP, algorithms=("PS256",))

    assert refusal(RSA_IDP.mint("tanaka", now=NOW), verifier) == "TOKEN_ALG"


def test_j1_an_algorithm_the_key_does_not_name_is_refused() -> None:
    verifier = verifier_for(RSA_IDP, algorithms=("RS256", "PS256"))
    token = jwt.encode(
        RSA_IDP.claims("tanaka", now=NOW), RSA_IDP.key, "PS256", headers={"typ": "at+jwt", "kid": RSA_IDP.key_id}
    ).encode()

    assert refusal(token, verifier) == "TOKEN_ALG"


def test_j1_a_header_that_claims_another_allowed_algorithm_does_not_verify() -> None:
    idp = DevIssuer(algorithm="ES256")
    verifier = verifier_for(idp, algorithms=("ES256", "ES384"))
    good = idp.mint("tanaka", now=NOW)

    swapped = b64(json.dumps({"typ": "at+jwt", "alg": "ES384", "kid": idp.key_id}).encode()) + good[good.index(b".") :]

    assert refusal(swapped, verifier) == "TOKEN_ALG"


@pytest.mark.parametrize("name", [None, 5, ["ES256"], "", "es256", "ES256 "])
def test_j1_an_algorithm_that_is_no_allowed_name_is_refused(name: object) -> None:
    assert refusal(resigned(header(alg=name))) == "TOKEN_ALG"


# J2: `none` in any case.


@pytest.mark.parametrize("name", ["none", "None", "nOnE", "NONE", "none "])
@pytest.mark.parametrize("signature", [b"x", b"x" * 64])
def test_j2_none_is_refused_in_any_case(name: str, signature: bytes) -> None:
    assert refusal(jws(header(alg=name), IDP.claims("tanaka", now=NOW), signature)) == "TOKEN_ALG"


def test_j2_an_empty_signature_is_no_token() -> None:
    assert refusal(jws(header(alg="none"), IDP.claims("tanaka", now=NOW), b"")) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("name", ["none", "HS256", "HS512"])
def test_j2_j3_no_configuration_can_allow_none_or_a_symmetric_algorithm(name: str) -> None:
    problems = check_issuer(config_for(IDP, algorithms=(name,)))

    assert [problem.code for problem in problems] == ["ISSUER_ALGORITHM"]
    assert name not in ALGORITHMS


# J3: a public key is no HMAC secret.


@pytest.mark.parametrize("idp", [IDP, RSA_IDP], ids=["ec", "rsa"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk", "jwks"])
@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
def test_j3_an_hmac_with_the_public_key_is_refused(idp: DevIssuer, form: str, name: str) -> None:
    secret = {
        "pem": idp.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": idp.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(public_jwk(idp.key)).encode(),
        "jwks": idp.jwks(),
    }[form]
    unsigned = jws({"typ": "at+jwt", "alg": name, "kid": idp.key_id}, idp.claims("admin", now=NOW)).rpartition(b".")[0]
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[name]
    forged = unsigned + b"." + b64(hmac.new(secret, unsigned, digest).digest())

    assert refusal(forged, verifier_for(idp)) == "TOKEN_ALG"


# J4: keys and addresses inside the token are not looked at.


@pytest.mark.parametrize("named", [True, False], ids=["with the issuer's kid", "without kid"])
def test_j4_a_key_that_comes_with_the_token_does_not_verify_it(named: bool) -> None:
    mallory = DevIssuer(IDP.issuer)
    members: dict[str, object] = {"typ": "at+jwt", "alg": "ES256", "jwk": public_jwk(mallory.key)}
    if named:
        members["kid"] = IDP.key_id

    assert refusal(resigned(members, mallory.claims("admin", now=NOW), mallory)) == "TOKEN_SIGNATURE"


@pytest.mark.parametrize(
    "member",
    [
        {"jku": "https://mallory.example/jwks"},
        {"x5u": "https://mallory.example/cert"},
        {"x5c": ["bm90IGEgY2VydGlmaWNhdGU="]},
        {"jwk": {"kty": "EC"}},
        {"x5t": "AAAA"},
    ],
)
def test_j4_embedded_references_are_ignored(member: dict[str, object]) -> None:
    assert VERIFIER.verify(resigned(header(**member)), now=NOW).subject == "tanaka"


# J5: the key id is an opaque name.


@pytest.mark.parametrize(
    "key_id", ["../../etc/passwd", "/dev/null", "' OR 1=1 --", "https://mallory.example/key", "", "\u0000", "x" * 4000]
)
def test_j5_a_key_id_is_only_compared(key_id: str) -> None:
    assert refusal(resigned(header(kid=key_id))) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize("key_id", [1, True, ["a"], {"a": 1}])
def test_j5_a_key_id_that_is_no_text_is_refused(key_id: object) -> None:
    assert refusal(resigned(header(kid=key_id))) == "TOKEN_MALFORMED"


def test_j5_without_key_id_the_only_key_is_taken() -> None:
    assert VERIFIER.verify(resigned({"typ": "at+jwt", "alg": "ES256"}), now=NOW).key_id == ""


def test_j5_without_key_id_one_of_two_keys_is_not_guessed() -> None:
    idp = DevIssuer()
    idp.rotate()

    assert refusal(resigned({"typ": "at+jwt", "alg": "ES256"}, None, idp), verifier_for(idp)) == "TOKEN_KEY_UNKNOWN"


# J6: critical extensions and unencoded payloads.


@pytest.mark.parametrize(
    "members",
    [{"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}],
)
def test_j6_an_extension_that_must_be_understood_is_refused(members: dict[str, object]) -> None:
    assert refusal(resigned(header(**members))) == "TOKEN_MALFORMED"


# J7: strength, curve, size of the signature.


def test_j7_a_short_rsa_key_is_left_out_of_the_set() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    raw = json.dumps({"keys": [{**public_jwk(weak), "kid": "weak"}]}).encode()

    assert read_key_set(raw, algorithms=ALGORITHMS) == ()


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP256R1()])
def test_j7_a_key_on_another_curve_never_verifies(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    raw = json.dumps({"keys": [{**public_jwk(key), "kid": "a"}]}).encode()

    assert read_key_set(raw, algorithms=("ES384", "ES512", "RS256", "EdDSA")) == ()


def test_j7_a_point_off_the_curve_is_left_out_of_the_set() -> None:
    jwk = public_jwk(make_key("ES256")) | {"y": b64(b"\x01" * 32).decode()}

    assert read_key_set(json.dumps({"keys": [jwk]}).encode(), algorithms=ALGORITHMS) == ()


@pytest.mark.parametrize("size", [0, 1, 63, 65, 72, 128])
def test_j7_a_signature_of_another_size_is_refused(size: int) -> None:
    signed = IDP.mint("tanaka", now=NOW).rpartition(b".")[0]

    assert refusal(signed + b"." + b64(b"\x01" * size)) in ("TOKEN_SIGNATURE", "TOKEN_MALFORMED")


def test_j7_a_der_signature_is_refused() -> None:
    unsigned = IDP.mint("tanaka", now=NOW).rpartition(b".")[0]
    key = IDP.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    from cryptography.hazmat.primitives.hashes import SHA256

    der = key.sign(unsigned, ec.ECDSA(SHA256()))

    assert refusal(unsigned + b"." + b64(der)) == "TOKEN_SIGNATURE"


@pytest.mark.parametrize("signature", [b"\0" * 64, b"\0" * 32 + b"\x01" * 32, b"\xff" * 64])
def test_j7_a_signature_with_zero_or_huge_numbers_is_refused(signature: bytes) -> None:
    signed = IDP.mint("tanaka", now=NOW).rpartition(b".")[0]

    assert refusal(signed + b"." + b64(signature)) == "TOKEN_SIGNATURE"


# J8: duplicate names.


@pytest.mark.parametrize("repeated", [b'"sub":"admin"', b'"s\\u0075b":"admin"', b'"exp":9999999999'])
def test_j8_a_claim_that_occurs_twice_is_refused(repeated: bytes) -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()

    assert refusal(resigned(header(), body[:-1] + b"," + repeated + b"}")) == "TOKEN_MALFORMED"


def test_j8_a_header_member_that_occurs_twice_is_refused() -> None:
    raw = json.dumps(header()).encode()[:-1] + b',"alg":"none"}'

    assert refusal(jws(raw, IDP.claims("tanaka", now=NOW))) == "TOKEN_MALFORMED"


def test_j8_a_nested_name_that_occurs_twice_is_refused() -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()

    assert refusal(resigned(header(), body[:-1] + b',"act":{"sub":"a","sub":"b"}}')) == "TOKEN_MALFORMED"


# Forgery and garbage.


def test_a_changed_claim_breaks_the_signature() -> None:
    head, _body, signature = IDP.mint("tanaka", now=NOW).split(b".")
    changed = b64(json.dumps(IDP.claims("admin", now=NOW)).encode())

    assert refusal(b".".join([head, changed, signature])) == "TOKEN_SIGNATURE"


def test_a_token_is_judged_by_its_signature_before_its_claims() -> None:
    mallory = DevIssuer(IDP.issuer)
    expired = mallory.sign(mallory.claims("tanaka", now=NOW - 9999), header={"kid": IDP.key_id})

    assert refusal(expired) == "TOKEN_SIGNATURE"


GOOD = IDP.mint("tanaka", now=NOW, groups=["a"], cnf={"jkt": "A" * 43})


@given(st.binary(max_size=400))
def test_arbitrary_bytes_only_ever_raise_input_errors(raw: bytes) -> None:
    assert refusal(raw).startswith("TOKEN_")


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_changed_byte_survives(position: int, value: int) -> None:
    changed = GOOD[:position] + bytes([value]) + GOOD[position + 1 :]

    if changed != GOOD:
        assert refusal(changed).startswith("TOKEN_")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_CLAIMS = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "nbf", "acr", "amr", "auth_time", "cnf", "act", "sid"]


@given(st.dictionaries(st.sampled_from(_CLAIMS), _json, min_size=1, max_size=3))
def test_well_signed_claims_of_any_type_are_verified_or_refused(claims: dict[str, object]) -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW) | claims).encode()

    try:
        token = VERIFIER.verify(resigned(header(), body), now=NOW)
    except InputError as error:
        assert error.code.startswith("TOKEN_")
    else:
        assert token.issuer == IDP.issuer
        assert NOW < token.expires_at <= NOW + 3600 + 30


@given(st.dictionaries(st.sampled_from(["typ", "alg", "kid", "crit", "b64", "zip", "jwk", "x5c"]), _json, max_size=3))
def test_headers_of_any_type_are_verified_or_refused(members: dict[str, object]) -> None:
    token = resigned(json.dumps(header(**members)).encode())  # type: ignore[arg-type]

    try:
        VERIFIER.verify(token, now=NOW)
    except InputError as error:
        assert error.code.startswith("TOKEN_")


# Secrets.


def test_neither_token_nor_claims_show_in_a_repr() -> None:
    verifier = verifier_for(IDP)
    token = IDP.mint("tanaka", now=NOW, note="planted-secret")

    verified = verifier.verify(token, now=NOW)

    for shown in (repr(verified), str(verified), repr(verifier), f"{verified}"):
        assert "planted-secret" not in shown
        assert token.decode() not in shown
        assert token.rpartition(b".")[2].decode() not in shown


@pytest.mark.parametrize(
    "token",
    [
        with_claims(sub="planted-secret\n"),
        with_claims(iss="planted-secret"),
        with_claims(aud="planted-secret"),
        with_claims(cnf={"planted-secret": 1}),
        resigned(header(kid="planted-secret")),
        resigned(header(alg="planted-secret")),
        resigned(header(typ="planted-secret")),
        resigned(header(), b'{"planted-secret'),
        b"planted-secret",
    ],
)
def test_no_refusal_quotes_what_was_sent(token: bytes) -> None:
    with pytest.raises(InputError) as caught:
        VERIFIER.verify(token, now=NOW)

    assert "planted" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
