"""What every `TokenVerifier` does, the fake and the adapter alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.tokens import FakeTokens
from tests.issuer import NOW, Published, config_for, loaded, verifier_for
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.errors import InputError
from zt_engine.ports import TokenVerifier


class Scene(msgspec.Struct):
    """A verifier, a token it accepts from NOW to NOW + 300, and a way to take that token's key away."""

    verifier: TokenVerifier
    good: bytes
    take_key: Callable[[], None]


def adapter() -> Scene:
    idp, published = DevIssuer(), Published(b"")
    published.body = idp.jwks()
    source = loaded(published, algorithms=(idp.algorithm,))

    def take_key() -> None:
        old = idp.key_id
        idp.rotate()
        idp.retire(old)
        published.body = idp.jwks()
        asyncio.run(source.refresh(NOW))

    return Scene(
        JwtVerifier([TrustedIssuer(config_for(idp), source)]), idp.mint("tanaka", now=NOW, acr="phr"), take_key
    )


def fake() -> Scene:
    idp, tokens = DevIssuer(), FakeTokens()
    good = idp.mint("tanaka", now=NOW, acr="phr")
    tokens.add(good, verifier_for(idp).verify(good, now=NOW))
    return Scene(tokens, good, lambda: tokens.remove(good))


@pytest.fixture(params=[adapter, fake])
def scene(request: pytest.FixtureRequest) -> Scene:
    return request.param()


def refusal(verifier: TokenVerifier, token: bytes, now: float = NOW) -> str:
    with pytest.raises(InputError) as caught:
        verifier.verify(token, now=now)
    return caught.value.code


def test_a_good_token_says_who_it_speaks_for(scene: Scene) -> None:
    token = scene.verifier.verify(scene.good, now=NOW)

    assert (token.issuer, token.subject, token.acr) == ("https://idp.example", "tanaka", "phr")
    assert (token.not_before, token.expires_at) == (NOW, NOW + 300)
    assert len(token.digest) == 64


def test_the_same_bytes_are_the_same_token_however_often_they_come(scene: Scene) -> None:
    first = scene.verifier.verify(scene.good, now=NOW)

    assert all(scene.verifier.verify(bytes(bytearray(scene.good)), now=NOW + second) == first for second in range(3))


def test_a_token_ends_with_its_expiry_even_when_it_was_verified_before(scene: Scene) -> None:
    scene.verifier.verify(scene.good, now=NOW + 299)

    assert refusal(scene.verifier, scene.good, NOW + 300) == "TOKEN_EXPIRED"


def test_a_token_does_not_come_before_its_time_even_when_it_was_verified_before(scene: Scene) -> None:
    scene.verifier.verify(scene.good, now=NOW)

    assert refusal(scene.verifier, scene.good, NOW - 60) == "TOKEN_NOT_YET_VALID"


def test_a_token_ends_with_its_key_even_when_it_was_verified_before(scene: Scene) -> None:
    scene.verifier.verify(scene.good, now=NOW)

    scene.take_key()

    assert refusal(scene.verifier, scene.good) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize(
    "change", [lambda good: good[:-1], lambda good: good + b"A", lambda good: b"", lambda good: good.upper()]
)
def test_any_other_bytes_are_refused(scene: Scene, change: Callable[[bytes], bytes]) -> None:
    assert refusal(scene.verifier, change(scene.good)).startswith("TOKEN_")


SCENES = [adapter(), fake()]


@given(st.sampled_from(SCENES), st.binary(max_size=100), st.floats(0, 4e9))
def test_garbage_at_any_time_only_ever_raises_input_errors(scene: Scene, raw: bytes, now: float) -> None:
    assert refusal(scene.verifier, raw, now).startswith("TOKEN_")
