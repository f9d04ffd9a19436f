"""ID tokens: the checklist of OpenID Connect Core 3.1.3.7 under that of RFC 8725."""

from __future__ import annotations

from typing import Any

import pytest

from tests.issuer import NOW, Published, b64, config_for, jws, loaded, trusted
from zt_engine.adapters.dev_issuer import DevIssuer, public_jwk
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.adapters.tokens_jwt import TrustedIssuer
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.issuer import IssuerMapping, Source

CLIENT = "zt-agent"
IDP = DevIssuer(audience=CLIENT)
OTHER = DevIssuer("https://other.example", audience=CLIENT)
PERSONS = OidcPersons(trusted(IDP))


def token(idp: DevIssuer = IDP, *, header: dict[str, object] | None = None, **claims: object) -> bytes:
    """An ID token, right unless the arguments make it wrong; `...` leaves a claim out."""
    said = {
        "iss": idp.issuer,
        "sub": "tanaka",
        "aud": idp.audience,
        "iat": NOW,
        "exp": NOW + 300,
        "nonce": "the client's",
        **claims,
    }
    return idp.sign(
        {name: value for name, value in said.items() if value is not ...}, header={"typ": "JWT", **(header or {})}
    )


def refused(raw: bytes, persons: OidcPersons = PERSONS, now: float = NOW) -> str:
    with pytest.raises(InputError) as caught:
        persons.verify(raw, now=now)
    return caught.value.code


def test_who_signed_in_and_how_is_read() -> None:
    person = PERSONS.verify(token(acr="phr", amr=["hwk", "pin"], auth_time=NOW - 60), now=NOW)

    assert (person.issuer, person.subject) == (IDP.issuer, "tanaka")
    assert (person.acr, person.amr, person.auth_time) == ("phr", ("hwk", "pin"), NOW - 60)


def test_a_provider_need_not_say_how() -> None:
    person = PERSONS.verify(token(), now=NOW)

    assert (person.acr, person.amr, person.auth_time, person.groups) == ("", (), None, ())


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "EdDSA", "ES384"])
def test_the_algorithms_of_providers_are_taken(algorithm: str) -> None:
    idp = DevIssuer(audience=CLIENT, algorithm=algorithm)

    assert OidcPersons(trusted(idp)).verify(token(idp), now=NOW).subject == "tanaka"


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "application/jwt"])
def test_an_id_token_names_its_type_or_none(kind: str | None) -> None:
    header = {"typ": kind} if kind else {"typ": "JWT"}

    assert PERSONS.verify(token(header=header), now=NOW).subject == "tanaka"


@pytest.mark.parametrize("kind", ["at+jwt", "dpop+jwt", "secevent+jwt", "logout+jwt", "zt-device+jwt", 7])
def test_another_kind_of_token_is_no_sign_in(kind: object) -> None:
    assert refused(token(header={"typ": kind})) == "TOKEN_NO_SIGN_IN"


def test_an_access_token_is_no_sign_in() -> None:
    assert refused(IDP.mint("tanaka", now=NOW)) == "TOKEN_NO_SIGN_IN"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://idp.example/"}, "TOKEN_ISSUER_UNKNOWN"),
        ({"iss": ...}, "TOKEN_CLAIMS"),
        ({"sub": ...}, "TOKEN_CLAIMS"),
        ({"sub": ""}, "TOKEN_CLAIMS"),
        ({"sub": "a\nb"}, "TOKEN_CLAIMS"),
        ({"sub": "x" * 256}, "TOKEN_CLAIMS"),
        ({"aud": "portal-web"}, "TOKEN_AUDIENCE"),
        ({"aud": ...}, "TOKEN_CLAIMS"),
        ({"aud": []}, "TOKEN_CLAIMS"),
        ({"aud": [CLIENT, "portal-web"]}, "TOKEN_AUDIENCE"),
        ({"aud": [CLIENT, "portal-web"], "azp": "portal-web"}, "TOKEN_AUDIENCE"),
        ({"azp": "portal-web"}, "TOKEN_AUDIENCE"),
        ({"azp": [CLIENT]}, "TOKEN_AUDIENCE"),
        ({"iat": NOW - 300, "exp": NOW}, "TOKEN_EXPIRED"),
        ({"exp": ...}, "TOKEN_CLAIMS"),
        ({"exp": True}, "TOKEN_CLAIMS"),
        ({"iat": ...}, "TOKEN_CLAIMS"),
        ({"iat": NOW + 31, "exp": NOW + 60}, "TOKEN_NOT_YET_VALID"),
        ({"exp": NOW + 86_401}, "TOKEN_CLAIMS"),
        ({"auth_time": NOW + 3600}, "TOKEN_CLAIMS"),
        ({"amr": "pwd"}, "TOKEN_CLAIMS"),
        ({"acr": 3}, "TOKEN_CLAIMS"),
    ],
)
def test_a_token_that_is_wrong_in_one_thing_is_nobodys(claims: dict[str, Any], code: str) -> None:
    assert refused(token(**claims)) == code


def test_a_token_for_several_clients_says_whose_sign_in_it_is() -> None:
    assert PERSONS.verify(token(aud=[CLIENT, "portal-web"], azp=CLIENT), now=NOW).subject == "tanaka"


def test_another_provider_speaks_for_nobody_here() -> None:
    assert refused(token(OTHER)) == "TOKEN_ISSUER_UNKNOWN"
    assert refused(token(OTHER, iss=IDP.issuer)) == "TOKEN_KEY_UNKNOWN"
    assert refused(token(OTHER, iss=IDP.issuer, header={"kid": IDP.key_id})) == "TOKEN_SIGNATURE"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", None])
def test_the_algorithm_is_the_one_that_is_configured(algorithm: object) -> None:
    claims = {"iss": IDP.issuer, "sub": "tanaka", "aud": CLIENT, "iat": NOW, "exp": NOW + 300}

    assert refused(jws({"typ": "JWT", "alg": algorithm, "kid": IDP.key_id}, claims)) == "TOKEN_ALG"


def test_a_key_in_the_token_is_not_looked_at() -> None:
    assert refused(token(OTHER, iss=IDP.issuer, header={"kid": IDP.key_id, "jwk": public_jwk(OTHER.key)})) == (
        "TOKEN_SIGNATURE"
    )


def test_a_key_that_was_rotated_out_signs_nobody_in() -> None:
    idp = DevIssuer(audience=CLIENT)
    old = token(idp)
    retired = idp.key_id
    idp.rotate()
    idp.retire(retired)
    persons = OidcPersons(trusted(idp))

    assert refused(old, persons) == "TOKEN_KEY_UNKNOWN"
    assert persons.verify(token(idp), now=NOW).subject == "tanaka"


def test_an_unknown_key_makes_a_refresh_due() -> None:
    idp = DevIssuer(audience=CLIENT)
    config = config_for(idp)
    source = loaded(Published(idp.jwks()), algorithms=config.algorithms)
    persons = OidcPersons(TrustedIssuer(config, source))
    idp.rotate()

    assert refused(token(idp), persons) == "TOKEN_KEY_UNKNOWN"
    assert source.due(NOW + 60)


def test_without_keys_for_too_long_nobody_signs_in() -> None:
    with pytest.raises(UnavailableError) as caught:
        PERSONS.verify(token(iat=NOW + 90_000, exp=NOW + 90_300), now=NOW + 90_000)

    assert caught.value.code == "KEYS_UNAVAILABLE"


def test_a_signature_that_does_not_hold_makes_a_refresh_due_since_a_key_may_be_new_under_an_old_id() -> None:
    config = config_for(IDP)
    source = loaded(Published(IDP.jwks()), algorithms=config.algorithms)
    signed, _, _ = token().rpartition(b".")

    assert not source.due(NOW + 60)
    assert refused(signed + b"." + b64(b"x" * 64), OidcPersons(TrustedIssuer(config, source))) == "TOKEN_SIGNATURE"
    assert source.due(NOW + 60) and not source.due(NOW + 59)


def test_groups_and_roles_are_read_where_the_token_speaks_for_them() -> None:
    mapping = IssuerMapping(
        sources={"roles": Source("claim", ("realm", "roles")), "groups": Source("claim", ("groups",))}
    )
    persons = OidcPersons(trusted(IDP, mapping=mapping))
    person = persons.verify(token(realm={"roles": ["zt-owner", "zt-owner", "a"]}, groups=["g"]), now=NOW)

    assert (person.roles, person.groups) == (("a", "zt-owner"), ("g",))
    assert PERSONS.verify(token(groups=["g"], roles=["r"]), now=NOW).groups == ()
    assert refused(token(groups="g"), persons) == "TOKEN_CLAIMS"
    assert persons.verify(token(realm="x"), now=NOW).roles == ()
