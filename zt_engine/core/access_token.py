"""The rules of an access token that need no key: RFC 9068 under the checklist of RFC 8725. Time is an argument."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from zt_engine.core.errors import InputError
from zt_engine.core.identity import MAX_LIST, Actor, VerifiedToken, is_text
from zt_engine.core.issuer import IssuerConfig
from zt_engine.core.jose import is_digest

TYPES = frozenset({"at+jwt", "application/at+jwt"})
MAX_ACT_DEPTH = 4
MAX_TIME = 253_402_300_799
"""The end of year 9999; later times overflow calendars downstream."""


def issuer_of(claims: Mapping[str, object]) -> str:
    """Return the issuer a token claims; it only selects whose keys the token must be signed with."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise InputError("TOKEN_CLAIMS", "`iss` is missing or no text")
    return issuer


def check_header(header: Mapping[str, object], config: IssuerConfig) -> tuple[str, str | None]:
    """Return the algorithm and the key id of a token's header.

    The algorithm is compared with what is configured and never chosen by the token. `jwk`, `jku`, `x5u` and `x5c` are
    not looked at. Raises InputError TOKEN_TYPE, TOKEN_ALG or TOKEN_MALFORMED.
    """
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in TYPES:  # media types have no case (RFC 7515 section 4.1.9)
        raise InputError("TOKEN_TYPE", "`typ` is not `at+jwt`: an ID token, a proof and an event are no access tokens")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in config.algorithms:
        raise InputError("TOKEN_ALG", "the token's algorithm is not allowed for its issuer")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise InputError("TOKEN_MALFORMED", "`kid` is no text")
    return algorithm, key_id


def read_claims(
    claims: Mapping[str, object], config: IssuerConfig, *, key_id: str, token: bytes, now: float
) -> VerifiedToken:
    """Check the claims of a token whose signature holds; raises InputError with the first rule that is broken."""
    for name in ("sub", "client_id", "jti"):
        if not is_text(claims.get(name)):
            raise InputError("TOKEN_CLAIMS", f"`{name}` is missing or no short printable text")
    check_audience(claims.get("aud"), config.audiences)
    expires_at, not_before, issued_at = check_times(claims, config, now)
    x5t, jkt = _confirmation(claims)
    actors = _actors(claims, config.issuer)
    return VerifiedToken(
        issuer=config.issuer,
        subject=str(claims["sub"]),
        client_id=str(claims["client_id"]),
        claims=claims,
        expires_at=expires_at,
        not_before=not_before,
        jti=str(claims["jti"]),
        key_id=key_id,
        x5t=x5t,
        jkt=jkt,
        session=optional_text(claims, "sid"),
        acr=optional_text(claims, "acr"),
        amr=read_methods(claims),
        auth_time=read_auth_time(claims, issued_at, config.skew),
        actor=actors[0] if actors else None,
        earlier_actors=actors[1:],
        digest=hashlib.sha256(token).hexdigest(),
    )


def check_audience(audience: object, accepted: tuple[str, ...]) -> None:
    """Refuse an `aud` that names none of `accepted`: TOKEN_CLAIMS, TOKEN_AUDIENCE."""
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or len(named) > MAX_LIST or not all(isinstance(n, str) for n in named):
        raise InputError("TOKEN_CLAIMS", "`aud` is neither a text nor a list of texts")
    if not any(name in accepted for name in named):
        raise InputError("TOKEN_AUDIENCE", "the token was issued for another service")


def check_times(claims: Mapping[str, object], config: IssuerConfig, now: float) -> tuple[int, int, int]:
    """Return expiry, the instant from which the token counts (without skew), and the time of issue."""
    expires_at = math.floor(_numeric_date(claims, "exp"))
    issued_at = math.ceil(_numeric_date(claims, "iat"))
    not_before = max(issued_at, math.ceil(_numeric_date(claims, "nbf"))) if "nbf" in claims else issued_at
    if not issued_at < expires_at <= issued_at + config.max_lifetime:
        raise InputError("TOKEN_CLAIMS", f"the token's lifetime is not between 0 and {config.max_lifetime} s")
    if now >= expires_at:
        raise InputError("TOKEN_EXPIRED", "the token has expired")
    if now < not_before - config.skew:
        raise InputError("TOKEN_NOT_YET_VALID", "the token is from the future, or one of the clocks is wrong")
    return expires_at, not_before, issued_at


def _numeric_date(claims: Mapping[str, object], name: str) -> int | float:
    value = claims.get(name)
    # bool is an int to isinstance; NaN fails the comparison.
    if (type(value) is int or type(value) is float) and 0 <= value <= MAX_TIME:
        return value
    raise InputError("TOKEN_CLAIMS", f"`{name}` is missing or no NumericDate")


def read_auth_time(claims: Mapping[str, object], issued_at: int, skew: int) -> int | None:
    """Return when the person signed in, or None; TOKEN_CLAIMS when that lies after the token itself."""
    if "auth_time" not in claims:
        return None
    auth_time = math.floor(_numeric_date(claims, "auth_time"))
    if auth_time > issued_at + skew:
        raise InputError("TOKEN_CLAIMS", "`auth_time` lies after `iat`")
    return min(auth_time, issued_at)


def _confirmation(claims: Mapping[str, object]) -> tuple[str, str]:
    """Return `x5t#S256` and `jkt`. A way of confirmation we cannot check would make a bound token a bearer token."""
    if "cnf" not in claims:
        return "", ""
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or not confirmation or not confirmation.keys() <= {"x5t#S256", "jkt"}:
        raise InputError("TOKEN_BINDING_UNSUPPORTED", "`cnf` is not `x5t#S256` or `jkt`")
    if not all(is_digest(value) for value in confirmation.values()):
        raise InputError("TOKEN_CLAIMS", "`cnf` does not hold a SHA-256 digest")
    return confirmation.get("x5t#S256", ""), confirmation.get("jkt", "")


def optional_text(claims: Mapping[str, object], name: str) -> str:
    """Return a text claim, empty where there is none; TOKEN_CLAIMS for anything else."""
    value = claims.get(name, "")
    if value == "":
        return ""
    if not isinstance(value, str) or not is_text(value):
        raise InputError("TOKEN_CLAIMS", f"`{name}` is no short printable text")
    return value


def read_methods(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return `amr`, empty where there is none; TOKEN_CLAIMS for anything else."""
    methods = claims.get("amr", [])
    if not isinstance(methods, list) or len(methods) > MAX_LIST or not all(is_text(item) for item in methods):
        raise InputError("TOKEN_CLAIMS", "`amr` is no list of texts")
    return tuple(methods)


def _actors(claims: Mapping[str, object], issuer: str) -> tuple[Actor, ...]:
    """Return who acts, the outermost `act` first; the others are history and grant nothing (RFC 8693, section 4.1)."""
    chain: list[Actor] = []
    level = claims
    while "act" in level:
        act = level["act"]
        if not isinstance(act, dict) or not is_text(act.get("sub")) or not is_text(act.get("iss", issuer)):
            raise InputError("TOKEN_CLAIMS", "`act` names no actor")
        if len(chain) == MAX_ACT_DEPTH:
            raise InputError("TOKEN_CLAIMS", f"more than {MAX_ACT_DEPTH} actors in a chain")
        chain.append(Actor(issuer=act.get("iss", issuer), id=act["sub"]))
        level = act
    return tuple(chain)
