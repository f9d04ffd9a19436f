"""Verified tokens are remembered for as long as they hold, and requests never wait for keys."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW, Published, b64, config_for, loaded, trusted, verifier_for
from tests.unit.token_support import IDP, believed, header, refusal, resigned
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.errors import UnavailableError, ZtError


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
    published, source, verifier = believed(idp)
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
    published, source, verifier = believed(idp)
    token = idp.mint("tanaka", now=NOW)
    first = verifier.verify(token, now=NOW)
    idp.rotate()
    published.body = idp.jwks()

    asyncio.run(source.refresh(NOW + 60))

    assert verifier.verify(token, now=NOW + 60) is first


def test_a_cached_token_does_not_survive_another_key_under_the_same_id() -> None:
    idp, impostor = DevIssuer(), DevIssuer()
    published, source, verifier = believed(idp)
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
    published, source, verifier = believed(idp)
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
    published, source, verifier = believed(IDP)

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
