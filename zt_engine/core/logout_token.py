"""Logout tokens: a provider's word that a session has ended (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from zt_engine.core.access_token import check_audience, check_times, optional_text
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import IssuerConfig

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


class LogoutClaims(msgspec.Struct, frozen=True, kw_only=True):
    """Whose session has ended; a subject, a session at the provider, or both."""

    id: str
    subject: str
    session: str


def check_logout_header(header: Mapping[str, object], config: IssuerConfig) -> tuple[str, str | None]:
    """Return algorithm and key id; LOGOUT_TOKEN for another type, TOKEN_ALG for an algorithm that is not allowed."""
    kind, algorithm, key_id = header.get("typ", "JWT"), header.get("alg"), header.get("kid")
    if not isinstance(kind, str) or kind.lower() not in ("jwt", "logout+jwt", "application/logout+jwt"):
        raise InputError("LOGOUT_TOKEN", "`typ` is not that of a logout token")
    if not isinstance(algorithm, str) or algorithm not in config.algorithms:
        raise InputError("TOKEN_ALG", "the token's algorithm is not allowed for its issuer")
    if key_id is not None and not isinstance(key_id, str):
        raise InputError("TOKEN_MALFORMED", "`kid` is no text")
    return algorithm, key_id


def read_logout_claims(claims: Mapping[str, object], config: IssuerConfig, *, now: float) -> LogoutClaims:
    """Check the claims of a logout token whose signature holds; an ID token is none, whatever it says."""
    check_audience(claims.get("aud"), config.audiences)
    check_times(claims, config, now)
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping) or "nonce" in claims:
        raise InputError("LOGOUT_TOKEN", "this is no logout token")
    found = LogoutClaims(
        id=optional_text(claims, "jti"), subject=optional_text(claims, "sub"), session=optional_text(claims, "sid")
    )
    if not found.id or not (found.subject or found.session):
        raise InputError("LOGOUT_TOKEN", "the logout token does not say whose session has ended, or has no `jti`")
    return found
