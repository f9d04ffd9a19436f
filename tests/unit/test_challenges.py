"""What a 401 asks for: by RFC 6750 a credential or a good one, by RFC 9449 a proof, by RFC 9470 a stronger sign-in."""

from __future__ import annotations

import re

import pytest

from zt_engine.adapters.dpop_jwt import ALGORITHMS
from zt_engine.core.decision import Decision, Effect, Obligation, Unmet
from zt_engine.pages.registry import registry
from zt_engine.sidecar.hooks.answers import deny_head, obligations_list, www_authenticate

INSUFFICIENT = (
    'error="insufficient_user_authentication", error_description="A different authentication level is required"'
)
BAD = sorted(
    code
    for code, known in registry().items()
    if known.kind == "auth" and code.startswith(("TOKEN_", "SESSION_", "DPOP_")) and code != "TOKEN_NO_SIGN_IN"
)
"""Refusals of what a request brings to say who asks."""


def asked(*unmet: Unmet, scheme: str = "bearer", credential: bool = True) -> str:
    decision = Decision(effect=Effect.STEP_UP, reasons=tuple(item.code for item in unmet), unmet=unmet)
    return www_authenticate(decision, scheme=scheme, has_credential=credential)


@pytest.mark.parametrize(("scheme", "name"), [("bearer", "Bearer"), ("", "Bearer"), ("dpop", "DPoP")])
def test_a_sign_in_that_is_too_weak_or_too_old_is_asked_for_in_the_scheme_of_its_token(scheme: str, name: str) -> None:
    assert asked(Unmet("MFA_REQUIRED"), scheme=scheme) == f"{name} {INSUFFICIENT}"
    assert asked(Unmet("MFA_REQUIRED", acr="mfa", max_age=60), scheme=scheme) == (
        f'{name} {INSUFFICIENT}, acr_values="mfa", max_age="60"'
    )


def test_of_several_demands_every_level_and_the_shortest_age_are_asked_for_once() -> None:
    several = (Unmet("A_B", acr="phr", max_age=3600), Unmet("C_D", acr="mfa", max_age=60), Unmet("E_F", acr="phr"))

    assert asked(*several) == f'Bearer {INSUFFICIENT}, acr_values="phr mfa", max_age="60"'
    assert asked(Unmet("A_B", max_age=0)) == f'Bearer {INSUFFICIENT}, max_age="0"'


def test_a_level_cannot_break_out_of_its_quotes() -> None:
    told = asked(Unmet("A_B", acr='x", max_age="9\r\nSet-Cookie: a'))

    assert told == f'Bearer {INSUFFICIENT}, acr_values="x%22%2C%20max_age=%229%0D%0ASet-Cookie:%20a"'


def test_nobody_is_asked_for_a_token_without_being_told_what_was_wrong_with_it() -> None:
    assert asked(Unmet("AUTH_REQUIRED", acr="mfa"), credential=False) == 'Bearer realm="zt"'


@pytest.mark.parametrize("code", BAD)
def test_a_bad_credential_is_called_so_and_never_too_weak(code: str) -> None:
    told = www_authenticate(Decision.deny(code, step_up=True), scheme="bearer", has_credential=True)

    assert re.fullmatch(r'Bearer error="invalid_token"|DPoP error="invalid_dpop_proof", algs="[^"]+"', told)
    assert told.startswith("DPoP") == code.startswith("DPOP_")


def test_a_bad_token_that_came_by_dpop_is_called_so_in_that_scheme() -> None:
    told = www_authenticate(Decision.deny("TOKEN_EXPIRED", step_up=True), scheme="dpop", has_credential=True)

    assert told == 'DPoP error="invalid_token"'


def test_the_algorithms_that_are_named_for_a_proof_are_taken() -> None:
    told = www_authenticate(Decision.deny("DPOP_ALG", step_up=True), scheme="dpop", has_credential=True)

    found = re.search(r'algs="([^"]+)"', told)
    assert found is not None
    assert set(found[1].split(" ")) <= set(ALGORITHMS)


def test_a_denial_has_no_challenge_no_threshold_and_no_rule() -> None:
    decision = Decision(effect=Effect.DENY, reasons=("TRUST_LOW", "KEV_OVERDUE"), threshold=85)

    head = deny_head(decision, scheme="bearer", has_credential=True)

    assert head == (
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
        b"Zt-Reason: TRUST_LOW\r\nZt-Decision: "
    )


def test_obligations_are_a_list_of_structured_fields() -> None:
    duties = (Obligation("no_store"), Obligation("max_rows", 5), Obligation("watermark", '田中", b;c'))

    assert obligations_list(duties) == 'no_store, max_rows;value=5, watermark;value="%E7%94%B0%E4%B8%AD%22%2C%20b%3Bc"'
    assert obligations_list(()) == ""
