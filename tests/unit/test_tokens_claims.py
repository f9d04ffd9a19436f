"""What an access token says: times, audience, type and issuer (RFC 8725), then the claims of RFC 9068."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.issuer import NOW, Published, b64, config_for, loaded, verifier_for
from tests.unit.token_support import IDP, VERIFIER, header, refusal, resigned, with_claims, without_claim
from zt_engine.adapters.dev_issuer import DevIssuer, make_key, public_jwk
from zt_engine.core.issuer import check_issuer

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
