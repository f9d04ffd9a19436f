"""Access tokens: the checklist of RFC 8725, one group of tests a rule, then RFC 9068's claims, then the cache."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW, Published, b64, config_for, jws, loaded, trusted, verifier_for
from zt_engine.adapters.dev_issuer import DevIssuer, make_key, public_jwk
from zt_engine.adapters.keys_jwks import read_key_set
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.issuer import ALGORITHMS, check_issuer

IDP = DevIssuer()
VERIFIER = verifier_for(IDP)
RSA_IDP = DevIssuer("https://rsa.example", algorithm="RS256")


def refusal(token: bytes, verifier: JwtVerifier = VERIFIER, now: float = NOW) -> str:
    with pytest.raises(InputError) as caught:
        verifier.verify(token, now=now)
    return caught.value.code


def with_claims(**claims: object) -> bytes:
    return IDP.sign(IDP.claims("tanaka", now=NOW) | claims)


def without_claim(name: str) -> bytes:
    return IDP.sign({key: value for key, value in IDP.claims("tanaka", now=NOW).items() if key != name})


def resigned(header: dict[str, object], claims: dict[str, object] | bytes | None = None, idp: DevIssuer = IDP) -> bytes:
    """A token with any header, well signed by `idp`."""
    unsigned = jws(header, claims if claims is not None else idp.claims("tanaka", now=NOW)).rpartition(b".")[0]
    algorithm = jwt.PyJWS().get_algorithm_by_name(idp.algorithm)
    return unsigned + b"." + b64(algorithm.sign(unsigned, idp.key))


def header(**members: object) -> dict[str, object]:
    return {"typ": "at+jwt", "alg": "ES256", "kid": IDP.key_id, **members}


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


# J9: times.


@pytest.mark.parametrize("name", ["exp", "iat"])
@pytest.mark.parametrize("value", [None, True, False, "1790000300", [], {}, -1, 10**15])
def test_j9_a_time_that_is_no_numeric_date_is_refused(name: str, value: object) -> None:
    assert refusal(with_claims(**{name: value})) == "TOKEN_CLAIMS"


@pytest.mark.parametrize("value", [None, True, "0", [], -1])
@pytest.mark.parametrize("name", ["nbf", "auth_time"])
def test_j9_an_optional_time_is_a_numeric_date_or_absent(name: str, value: object) -> None:
    assert refusal(with_claims(**{name: value})) == "TOKEN_CLAIMS"


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400, b"1" * 5000])
def test_j9_a_number_that_is_not_finite_is_refused(literal: bytes) -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW) | {"exp": 0}).encode().replace(b'"exp": 0', b'"exp": ' + literal)

    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


def test_j9_expiry_is_exact() -> None:
    verifier = verifier_for(IDP)
    token = IDP.mint("tanaka", now=NOW, lifetime=300)

    verifier.verify(token, now=NOW + 299.999)

    assert refusal(token, verifier, now=NOW + 300) == "TOKEN_EXPIRED"
    assert refusal(token, verifier_for(IDP), now=NOW + 300) == "TOKEN_EXPIRED"


def test_j9_a_fraction_of_a_second_never_lengthens_a_token() -> None:
    assert refusal(with_claims(exp=NOW + 10.9), now=NOW + 10.5) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_j9_a_clock_may_be_behind_by_the_configured_skew_and_no_more(name: str) -> None:
    token = with_claims(**{name: NOW + 30, "exp": NOW + 60})

    assert VERIFIER.verify(token, now=NOW).not_before == NOW + 30
    assert refusal(token, verifier_for(IDP), now=NOW - 1) == "TOKEN_NOT_YET_VALID"


@pytest.mark.parametrize("skew", [-1, 61, 3600])
def test_j9_a_skew_over_a_minute_cannot_be_configured(skew: int) -> None:
    assert [problem.code for problem in check_issuer(config_for(IDP, skew=skew))] == ["ISSUER_LIMIT"]


def test_j9_a_token_that_lives_too_long_is_refused() -> None:
    assert refusal(IDP.mint("tanaka", now=NOW, lifetime=3601)) == "TOKEN_CLAIMS"


@pytest.mark.parametrize("lifetime", [0, -10])
def test_j9_a_token_that_never_lived_is_refused(lifetime: int) -> None:
    assert refusal(IDP.mint("tanaka", now=NOW, lifetime=lifetime)) == "TOKEN_CLAIMS"


# J10: audience.


@pytest.mark.parametrize("audience", [None, 5, True, {}, [], [5], [["https://portal.example"]], {"a": 1}])
def test_j10_an_audience_of_another_type_is_refused(audience: object) -> None:
    assert refusal(with_claims(aud=audience)) == "TOKEN_CLAIMS"


@pytest.mark.parametrize(
    "audience",
    ["", "https://other.example", "https://portal.example/", ["https://other.example"], "HTTPS://PORTAL.EXAMPLE"],
)
def test_j10_another_audience_is_refused(audience: object) -> None:
    assert refusal(with_claims(aud=audience)) == "TOKEN_AUDIENCE"


def test_j10_one_of_several_audiences_suffices() -> None:
    token = with_claims(aud=["https://other.example", "https://portal.example"])

    assert VERIFIER.verify(token, now=NOW).subject == "tanaka"


# J11: type.


@pytest.mark.parametrize(
    "kind", [None, "JWT", "jwt", "dpop+jwt", "secevent+jwt", "id+jwt", "at+jwt ", "application/jwt", 5, ["at+jwt"]]
)
def test_j11_a_token_of_another_type_is_refused(kind: object) -> None:
    assert refusal(resigned(header(typ=kind))) == "TOKEN_TYPE"


def test_j11_a_token_without_type_is_refused() -> None:
    assert refusal(resigned({"alg": "ES256", "kid": IDP.key_id})) == "TOKEN_TYPE"


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT"])
def test_j11_both_spellings_of_the_type_are_taken_in_any_case(kind: str) -> None:
    assert VERIFIER.verify(resigned(header(typ=kind)), now=NOW).subject == "tanaka"


# J12: compression, encryption, nesting.


@pytest.mark.parametrize(
    "members",
    [
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"alg": "PBES2-HS256+A128KW", "p2c": 2_000_000_000, "p2s": "AA"},
    ],
)
def test_j12_compression_encryption_and_nesting_are_refused(members: dict[str, object]) -> None:
    assert refusal(resigned(header(**members))) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 6])
def test_j12_anything_but_three_parts_is_refused(parts: int) -> None:
    assert refusal(b".".join([b64(json.dumps(header()).encode())] * parts)) == "TOKEN_MALFORMED"


def test_j12_a_token_inside_a_token_is_refused() -> None:
    inner = IDP.mint("tanaka", now=NOW)

    assert refusal(resigned(header(), inner)) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("depth", [17, 500, 3000])
def test_j12_deep_json_is_refused(depth: int) -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"

    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


# J13: size.


def test_j13_a_token_over_16_kib_is_refused_before_it_is_decoded() -> None:
    assert refusal(b"!" * (16 * 1024 + 1)) == "TOKEN_TOO_LARGE"
    assert refusal(IDP.mint("tanaka", now=NOW, x="y" * 20_000)) == "TOKEN_TOO_LARGE"


def test_j13_a_token_of_16_kib_is_read() -> None:
    assert refusal(b"!" * (16 * 1024)) == "TOKEN_MALFORMED"


# J14: strict base64url.


@pytest.mark.parametrize("spoil", [b"=", b"==", b"\n", b" ", b"\t", b"+", b"/", b"\0", b"\xe3\x81\x82", b"%3D"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_j14_padding_white_space_and_foreign_bytes_are_refused(spoil: bytes, part: int) -> None:
    parts = IDP.mint("tanaka", now=NOW).split(b".")
    parts[part] += spoil

    assert refusal(b".".join(parts)) == "TOKEN_MALFORMED"


def test_j14_trailing_bits_are_refused() -> None:
    token = IDP.mint("tanaka", now=NOW)
    assert len(token.rpartition(b".")[2]) == 86  # 64 bytes leave four bits that must be zero

    respelled = token[:-1] + bytes([token[-1] + 1])

    assert refusal(respelled) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("token", [b"", b".", b"..", b"...", b"a.b", b" a.b.c", b"\xff\xfe\xfd", "トークン".encode()])
def test_j14_what_is_no_token_at_all_is_refused(token: bytes) -> None:
    assert refusal(token) == "TOKEN_MALFORMED"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"sub":"\xff"}',
        b"{}x",
    ],
)
def test_j14_claims_that_are_no_utf8_object_are_refused(body: bytes) -> None:
    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


def test_j14_half_a_surrogate_pair_is_refused() -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()[:-1] + b',"name":"\\ud800"}'

    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


# J15: the JSON serialisations.


def test_j15_the_json_serialisations_are_refused() -> None:
    head, body, signature = IDP.mint("tanaka", now=NOW).decode().split(".")
    flat = {"protected": head, "payload": body, "signature": signature}
    general = {"payload": body, "signatures": [{"protected": head, "signature": signature}]}

    assert refusal(json.dumps(flat).encode()) == "TOKEN_MALFORMED"
    assert refusal(json.dumps(general).encode()) == "TOKEN_MALFORMED"


# J16: an issuer's key speaks for this issuer only.


def test_j16_a_key_of_one_issuer_never_verifies_another() -> None:
    other = DevIssuer("https://other.example")
    verifier = verifier_for(IDP, other)
    claims = IDP.claims("tanaka", now=NOW)

    assert refusal(other.sign(claims), verifier) == "TOKEN_KEY_UNKNOWN"
    assert refusal(other.sign(claims, header={"kid": IDP.key_id}), verifier) == "TOKEN_SIGNATURE"
    assert refusal(resigned({"typ": "at+jwt", "alg": "ES256"}, claims, other), verifier) == "TOKEN_SIGNATURE"


def test_j16_two_issuers_may_use_one_key_id_for_two_keys() -> None:
    published = [public_jwk(make_key("ES256")) | {"kid": "1"} for _ in range(2)]
    sources = [loaded(Published(json.dumps({"keys": [jwk]}).encode()), algorithms=("ES256",)) for jwk in published]
    found = [source.current.find("1", "ES256") for source in sources]

    assert found[0].thumbprint != found[1].thumbprint


@pytest.mark.parametrize(
    "issuer", ["", "https://IDP.example", "https://idp.example/", "https://idp.example ", "https://mallory.example"]
)
def test_j16_an_issuer_is_compared_byte_for_byte(issuer: str) -> None:
    assert refusal(with_claims(iss=issuer)) == "TOKEN_ISSUER_UNKNOWN"


@pytest.mark.parametrize("issuer", [None, 5, ["https://idp.example"], {}])
def test_j16_an_issuer_that_is_no_text_is_refused(issuer: object) -> None:
    assert refusal(with_claims(iss=issuer)) == "TOKEN_CLAIMS"


def test_an_issuer_is_configured_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        verifier_for(IDP, IDP)


# RFC 9068: the claims of an access token.


@pytest.mark.parametrize("name", ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"])
def test_a_token_without_a_required_claim_is_refused(name: str) -> None:
    assert refusal(without_claim(name)) == "TOKEN_CLAIMS"


@pytest.mark.parametrize("name", ["sub", "client_id", "jti"])
@pytest.mark.parametrize("value", ["", None, 5, True, ["x"], "x" * 257, "a\nb", "a\0", "\u202eb"])
def test_an_identifying_claim_is_short_printable_text(name: str, value: object) -> None:
    assert refusal(with_claims(**{name: value})) == "TOKEN_CLAIMS"


@pytest.mark.parametrize(
    "claims",
    [
        {"acr": 3},
        {"acr": None},
        {"amr": "pwd"},
        {"amr": [1]},
        {"amr": None},
        {"amr": [""]},
        {"amr": {"pwd": True}},
        {"sid": 7},
    ],
)
def test_a_sign_in_of_the_wrong_type_is_refused(claims: dict[str, object]) -> None:
    assert refusal(with_claims(**claims)) == "TOKEN_CLAIMS"


def test_what_the_token_says_of_the_sign_in_is_kept() -> None:
    token = VERIFIER.verify(with_claims(acr="phr", amr=["hwk", "pin"], auth_time=NOW - 60, sid="s1"), now=NOW)

    assert (token.acr, token.amr, token.auth_time, token.session) == ("phr", ("hwk", "pin"), NOW - 60, "s1")


def test_a_sign_in_after_the_token_was_issued_is_refused() -> None:
    assert refusal(with_claims(auth_time=NOW + 31)) == "TOKEN_CLAIMS"


def test_a_sign_in_a_little_after_the_token_was_issued_counts_from_its_issue() -> None:
    assert VERIFIER.verify(with_claims(auth_time=NOW + 5), now=NOW).auth_time == NOW


def test_the_bindings_of_a_token_are_kept() -> None:
    digest = b64(hashlib.sha256(b"certificate").digest()).decode()

    token = VERIFIER.verify(IDP.mint("tanaka", now=NOW, certificate_digest=digest, jkt=digest), now=NOW)

    assert (token.x5t, token.jkt) == (digest, digest)


@pytest.mark.parametrize("confirmation", [None, {}, [], "x", {"jwk": {}}, {"kid": "a"}, {"jkt": "a", "jku": "b"}])
def test_a_binding_that_cannot_be_checked_is_refused(confirmation: object) -> None:
    assert refusal(with_claims(cnf=confirmation)) == "TOKEN_BINDING_UNSUPPORTED"


@pytest.mark.parametrize("digest", ["", None, 5, "short", "x" * 44, "=" * 43, [1]])
def test_a_binding_that_is_no_digest_is_refused(digest: object) -> None:
    assert refusal(with_claims(cnf={"jkt": digest})) == "TOKEN_CLAIMS"


def test_the_current_actor_is_the_outermost() -> None:
    token = VERIFIER.verify(
        with_claims(act={"sub": "bot", "act": {"sub": "earlier", "iss": "https://b.example"}}), now=NOW
    )

    assert token.actor is not None
    assert (token.actor.issuer, token.actor.id) == (IDP.issuer, "bot")


def chain(length: int) -> dict[str, object]:
    act: dict[str, object] = {"sub": "bot"}
    for _ in range(length - 1):
        act = {"sub": "bot", "act": act}
    return act


def test_a_chain_of_four_actors_is_read_and_of_five_refused() -> None:
    token = VERIFIER.verify(with_claims(act=chain(4)), now=NOW)
    assert (token.actor is not None, len(token.earlier_actors)) == (True, 3)
    assert refusal(with_claims(act=chain(5))) == "TOKEN_CLAIMS"


@pytest.mark.parametrize(
    "act", [None, "bot", [], {}, {"sub": ""}, {"sub": 5}, {"sub": "a", "iss": 5}, {"sub": "a", "act": None}]
)
def test_a_delegation_without_an_actor_is_refused(act: object) -> None:
    assert refusal(with_claims(act=act)) == "TOKEN_CLAIMS"


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


# The cache of verified tokens.


def test_a_second_verification_is_the_same_value() -> None:
    verifier = verifier_for(IDP)
    token = IDP.mint("tanaka", now=NOW)

    first = verifier.verify(token, now=NOW)

    assert verifier.verify(bytes(bytearray(token)), now=NOW + 100) is first


def test_a_cached_token_does_not_outlive_its_expiry() -> None:
    verifier = verifier_for(IDP)
    token = IDP.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW)

    assert refusal(token, verifier, now=NOW + 300) == "TOKEN_EXPIRED"
    assert verifier.size == 0


def test_a_cached_token_does_not_come_before_its_time_when_the_clock_is_set_back() -> None:
    verifier = verifier_for(IDP)
    token = IDP.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW)

    assert refusal(token, verifier, now=NOW - 31) == "TOKEN_NOT_YET_VALID"


def test_a_cached_token_does_not_outlive_its_key() -> None:
    idp = DevIssuer()
    published = Published(idp.jwks())
    source = loaded(published, algorithms=("ES256",))
    verifier = JwtVerifier([TrustedIssuer(config_for(idp), source)])
    token = idp.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW)
    old = idp.key_id
    idp.rotate()
    idp.retire(old)
    published.body = idp.jwks()

    asyncio.run(source.refresh(NOW + 60))

    assert refusal(token, verifier, now=NOW + 60) == "TOKEN_KEY_UNKNOWN"
    assert verifier.size == 0


def test_a_cached_token_stays_when_another_key_joins_the_set() -> None:
    idp = DevIssuer()
    published = Published(idp.jwks())
    source = loaded(published, algorithms=("ES256",))
    verifier = JwtVerifier([TrustedIssuer(config_for(idp), source)])
    token = idp.mint("tanaka", now=NOW)
    first = verifier.verify(token, now=NOW)
    idp.rotate()
    published.body = idp.jwks()

    asyncio.run(source.refresh(NOW + 60))

    assert verifier.verify(token, now=NOW + 60) is first


def test_a_cached_token_does_not_survive_another_key_under_the_same_id() -> None:
    idp, impostor = DevIssuer(), DevIssuer()
    published = Published(idp.jwks())
    source = loaded(published, algorithms=("ES256",))
    verifier = JwtVerifier([TrustedIssuer(config_for(idp), source)])
    token = idp.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW)
    published.body = impostor.jwks().replace(impostor.key_id.encode(), idp.key_id.encode())

    asyncio.run(source.refresh(NOW + 60))

    assert refusal(token, verifier, now=NOW + 60) == "TOKEN_SIGNATURE"


def test_a_cached_token_does_not_outlive_the_hard_limit_of_its_keys() -> None:
    source = loaded(Published(IDP.jwks()), algorithms=("ES256",), hard_limit=100)
    verifier = JwtVerifier([TrustedIssuer(config_for(IDP), source)])
    token = IDP.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW + 99)

    with pytest.raises(UnavailableError) as caught:
        verifier.verify(token, now=NOW + 100)

    assert caught.value.code == "KEYS_UNAVAILABLE"


def test_a_token_that_was_renewed_over_a_key_change_still_expires() -> None:
    idp = DevIssuer()
    published = Published(idp.jwks())
    source = loaded(published, algorithms=("ES256",))
    verifier = JwtVerifier([TrustedIssuer(config_for(idp), source)])
    token = idp.mint("tanaka", now=NOW)
    verifier.verify(token, now=NOW)
    idp.rotate()
    published.body = idp.jwks()
    asyncio.run(source.refresh(NOW + 60))
    verifier.verify(token, now=NOW + 60)

    assert refusal(token, verifier, now=NOW + 300) == "TOKEN_EXPIRED"


def test_refused_tokens_are_not_remembered() -> None:
    verifier = verifier_for(IDP)
    head, _body, signature = IDP.mint("tanaka", now=NOW).split(b".")

    for number in range(50):
        forged = b64(json.dumps(IDP.claims(f"admin{number}", now=NOW)).encode())
        assert refusal(b".".join([head, forged, signature]), verifier) == "TOKEN_SIGNATURE"

    assert verifier.size == 0


def test_the_cache_is_bounded_by_entries() -> None:
    verifier = JwtVerifier([trusted(IDP)], entries=3)

    tokens = [IDP.mint(f"user{number}", now=NOW) for number in range(5)]

    assert [verifier.verify(token, now=NOW).subject for token in tokens] == [f"user{n}" for n in range(5)]
    assert verifier.size == 3


def test_the_cache_is_bounded_by_bytes() -> None:
    token = IDP.mint("tanaka", now=NOW, filler="x" * 4000)
    verifier = JwtVerifier([trusted(IDP)], max_bytes=2 * len(token))

    for number in range(5):
        verifier.verify(IDP.mint(f"user{number}", now=NOW, filler="x" * 4000), now=NOW)

    assert verifier.size <= 2


@given(st.lists(st.tuples(st.integers(-60, 400), st.sampled_from(["verify", "rotate", "retire", "fail"])), max_size=12))
def test_cached_equals_uncached(steps: list[tuple[int, str]]) -> None:
    """Whatever happens to keys and clock, a verifier with memory answers like one without."""
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",), hard_limit=300)
    trust = TrustedIssuer(config_for(IDP), source)
    cached = JwtVerifier([trust])
    token = IDP.mint("tanaka", now=NOW)
    empty = json.dumps({"keys": []}).encode()
    for offset, step in steps:
        now = NOW + offset
        if step == "rotate":
            published.body = ROTATED
        elif step == "retire":
            published.body = empty
        elif step == "fail":
            published.error = UnavailableError("KEYS_TIMEOUT")
        if step != "verify":
            try:
                asyncio.run(source.refresh(now))
            except UnavailableError:
                published.error = None
        assert answer(cached, token, now) == answer(JwtVerifier([trust]), token, now)


_OTHER = DevIssuer()
ROTATED = json.dumps({"keys": [*json.loads(IDP.jwks())["keys"], *json.loads(_OTHER.jwks())["keys"]]}).encode()


def answer(verifier: JwtVerifier, token: bytes, now: float) -> object:
    try:
        return verifier.verify(token, now=now)
    except ZtError as error:
        return error.code


# Requests never wait for keys.


def test_an_unknown_key_makes_one_refresh_due_and_is_refused_at_once() -> None:
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",))
    verifier = JwtVerifier([TrustedIssuer(config_for(IDP), source)])

    for number in range(20):
        assert refusal(resigned(header(kid=f"new{number}")), verifier, now=NOW + 61) == "TOKEN_KEY_UNKNOWN"

    assert source.due(NOW + 61)
    assert published.fetches == 1


def test_before_the_first_key_set_every_token_is_refused() -> None:
    from zt_engine.adapters.keys_jwks import KeySource

    verifier = JwtVerifier([TrustedIssuer(config_for(IDP), KeySource(Published(b""), algorithms=("ES256",)))])

    with pytest.raises(UnavailableError) as caught:
        verifier.verify(IDP.mint("tanaka", now=NOW), now=NOW)

    assert caught.value.code == "KEYS_UNAVAILABLE"


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
