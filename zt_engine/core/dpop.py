"""The rules of a DPoP proof that need no key (RFC 9449 section 4.3). Time is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.jose import PRIVATE_MEMBERS

MAX_AGE = 60
"""Seconds a proof may be old."""
MAX_AHEAD = 5
"""Seconds a proof may lie ahead."""
MAX_ID = 256
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ESCAPE = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)


class Proof(msgspec.Struct, frozen=True):
    """What a proof says once it fits the request; the signature is checked by the caller."""

    id: str
    issued_at: float
    target: str


def check_header(header: Mapping[str, object], algorithms: tuple[str, ...]) -> tuple[str, dict[str, object]]:
    """Return algorithm and public JWK of a proof; raises InputError DPOP_TYPE, DPOP_ALG or DPOP_KEY."""
    if header.get("typ") != "dpop+jwt":
        raise InputError("DPOP_TYPE", "`typ` is not `dpop+jwt`")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InputError("DPOP_ALG", f"the proof's algorithm is not one of {', '.join(algorithms)}")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise InputError("DPOP_KEY", "`jwk` is no public key")
    return algorithm, jwk


def check_claims(claims: Mapping[str, object], *, method: str, target: str, token_digest: str, now: float) -> Proof:
    """Check a proof's claims against the request it came with.

    `target` is `normal_target` of scheme, host and raw path: clients sign what they sent. `token_digest` is the
    base64url SHA-256 of the access token. Raises InputError: DPOP_CLAIMS, DPOP_METHOD, DPOP_TARGET,
    DPOP_TOKEN_MISMATCH, DPOP_STALE, DPOP_FUTURE.
    """
    proof_id, issued_at, named = claims.get("jti"), claims.get("iat"), claims.get("htu")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= MAX_ID:
        raise InputError("DPOP_CLAIMS", "`jti` is missing or no short text")
    if (type(issued_at) is not int and type(issued_at) is not float) or issued_at < 0:
        raise InputError("DPOP_CLAIMS", "`iat` is missing or no NumericDate")
    if not isinstance(named, str):
        raise InputError("DPOP_CLAIMS", "`htu` is missing or no text")
    if claims.get("htm") != method:  # methods are case-sensitive (RFC 9110 section 9.1)
        raise InputError("DPOP_METHOD", "the proof was made for another method")
    if normal_target(named) != target:
        raise InputError("DPOP_TARGET", "the proof was made for another URL")
    if claims.get("ath") != token_digest:
        raise InputError("DPOP_TOKEN_MISMATCH", "the proof was made for another access token")
    if issued_at < now - MAX_AGE:
        raise InputError("DPOP_STALE", f"the proof is older than {MAX_AGE} s")
    if issued_at > now + MAX_AHEAD:
        raise InputError("DPOP_FUTURE", "the proof is from the future, or one of the clocks is wrong")
    return Proof(proof_id, issued_at, target)


def normal_target(url: str) -> str:
    """Return a URL as it is compared with `htu`: no query, no fragment, scheme, host, port and escapes in normal form.

    The path is left as it was sent but for the case of escapes (RFC 3986 sections 6.2.2.1 and 6.2.3). Anything that is
    no http URL raises InputError DPOP_TARGET.
    """
    try:
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise ValueError
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError("DPOP_TARGET", "`htu` is no URL") from None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise InputError("DPOP_TARGET", "`htu` is no http URL")
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    path = _ESCAPE.sub(lambda escape: escape[0].upper(), parts.path) or "/"
    return f"{parts.scheme}://{host}{path}"
