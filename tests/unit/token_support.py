"""Access tokens of one issuer, with any header and any claims."""

from __future__ import annotations

import jwt
import pytest

from tests.issuer import NOW, Published, b64, config_for, jws, loaded, verifier_for
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.errors import InputError

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


def believed(idp: DevIssuer) -> tuple[Published, KeySource, JwtVerifier]:
    """What an issuer publishes, the source that has read it, and a verifier that believes it."""
    published = Published(idp.jwks())
    source = loaded(published, algorithms=("ES256",))
    return published, source, JwtVerifier([TrustedIssuer(config_for(idp), source)])
