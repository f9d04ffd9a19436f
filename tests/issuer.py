"""The identity provider of the suite: mints what is right (`dev_issuer`) and, by hand, what is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping

from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.keys_jwks import Fetched, KeySource
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.issuer import IssuerConfig

NOW = 1_790_000_000


def config_for(idp: DevIssuer, **changes: object) -> IssuerConfig:
    """The configuration that trusts `idp`, with some fields changed."""
    fields: dict[str, object] = {
        "issuer": idp.issuer,
        "audiences": (idp.audience,),
        "algorithms": (idp.algorithm,),
        "keys": "jwks.json",
    }
    return IssuerConfig(**(fields | changes))  # type: ignore[arg-type]


class Published:
    """A place where a key set is published; what it shows, and whether it answers, may change at any time."""

    def __init__(self, body: bytes, max_age: int | None = None) -> None:
        self.body = body
        self.max_age = max_age
        self.error: Exception | None = None
        self.fetches = 0

    async def __call__(self) -> Fetched:
        self.fetches += 1
        if self.error is not None:
            raise self.error
        return Fetched(self.body, self.max_age)


def loaded(published: Published, *, algorithms: tuple[str, ...], now: float = NOW, **limits: int | None) -> KeySource:
    """A key source after its first refresh."""
    source = KeySource(published, algorithms=algorithms, **limits)
    asyncio.run(source.refresh(now))
    return source


def verifier_for(*idps: DevIssuer, **changes: object) -> JwtVerifier:
    """A verifier that trusts these providers with the keys they show now."""
    return JwtVerifier([trusted(idp, **changes) for idp in idps])


def trusted(idp: DevIssuer, **changes: object) -> TrustedIssuer:
    config = config_for(idp, **changes)
    return TrustedIssuer(config, loaded(Published(idp.jwks()), algorithms=config.algorithms))


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def jws(
    header: Mapping[str, object] | bytes, claims: Mapping[str, object] | bytes, signature: bytes = b"x" * 64
) -> bytes:
    """A compact JWS of exactly these parts; texts are encoded as JSON, bytes are taken as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return b".".join([*map(b64, parts), b64(signature)])
