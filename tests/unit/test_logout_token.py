"""A provider's word that a session has ended, really signed: what is one, and what only looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.issuer import NOW, trusted
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.core.errors import InputError
from zt_engine.core.logout_token import EVENT

CLIENT = "portal"
IDP = DevIssuer(audience=CLIENT)
OTHER = DevIssuer("https://other.example", audience=CLIENT)
PERSONS = OidcPersons(trusted(IDP))
SAID: dict[str, Any] = {
    "iss": IDP.issuer, "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "j-1", "sub": "tanaka", "sid": "idp-7",
    "events": {EVENT: {}},
}  # fmt: skip


def token(idp: DevIssuer = IDP, *, kind: object = "logout+jwt", **claims: object) -> bytes:
    """A logout token, right unless the arguments make it wrong; `...` leaves a claim out."""
    said = {name: value for name, value in {**SAID, **claims}.items() if value is not ...}
    return idp.sign(said, header={"typ": kind})


@pytest.mark.parametrize("kind", ["logout+jwt", "JWT", "application/logout+jwt"])
@pytest.mark.parametrize("left_out", ["", "sub", "sid"])
def test_it_says_whose_session_has_ended_at_the_provider(kind: str, left_out: str) -> None:
    more: dict[str, object] = {left_out: ...} if left_out else {}

    told = PERSONS.logged_out(token(kind=kind, **more), now=NOW)

    wanted = {"sub": "tanaka", "sid": "idp-7", left_out: ""}
    assert (told.issuer, told.id, told.subject, told.session) == (IDP.issuer, "j-1", wanted["sub"], wanted["sid"])


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"events": ...}, "LOGOUT_TOKEN"),
        ({"events": {"https://schemas.example/other": {}}}, "LOGOUT_TOKEN"),
        ({"events": {EVENT: "yes"}}, "LOGOUT_TOKEN"),
        ({"events": [EVENT]}, "LOGOUT_TOKEN"),
        ({"nonce": "n"}, "LOGOUT_TOKEN"),  # an ID token is none, whatever else it says
        ({"jti": ...}, "LOGOUT_TOKEN"),
        ({"sub": ..., "sid": ...}, "LOGOUT_TOKEN"),
        ({"aud": "somebody-else"}, "TOKEN_AUDIENCE"),
        ({"iss": "https://other.example"}, "TOKEN_ISSUER_UNKNOWN"),
        ({"iat": NOW - 120, "exp": NOW}, "TOKEN_EXPIRED"),
        ({"iat": ...}, "TOKEN_CLAIMS"),
        ({"kind": "at+jwt"}, "LOGOUT_TOKEN"),
        ({"kind": 7}, "LOGOUT_TOKEN"),
    ],
)
def test_what_is_wrong_in_one_thing_ends_nobody_s_session(claims: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as refused:
        PERSONS.logged_out(token(**claims), now=NOW)

    assert refused.value.code == code


def test_nobody_else_signs_one() -> None:
    for raw in (token(OTHER, iss=IDP.issuer), token()[:-8] + b"AAAAAAAA", b"", b"a.b.c"):
        with pytest.raises(InputError):
            PERSONS.logged_out(raw, now=NOW)


def test_an_id_token_or_an_access_token_is_none() -> None:
    for raw in (IDP.mint("tanaka", now=NOW), token(kind="JWT", events=..., nonce="n")):
        with pytest.raises(InputError) as refused:
            PERSONS.logged_out(raw, now=NOW)
        assert refused.value.code == "LOGOUT_TOKEN"
