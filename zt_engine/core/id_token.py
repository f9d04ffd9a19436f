"""The rules of an ID token that need no key (OpenID Connect Core 1.0, section 3.1.3.7). Time is an argument.

An ID token says who signed in to a client, and is for that client alone. `nonce` is the client's to check: only it
knows what it asked for. It is read here for whoever is shown how it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from zt_engine.core.access_token import check_audience, check_times, optional_text, read_auth_time, read_methods
from zt_engine.core.errors import InputError
from zt_engine.core.identity import MAX_LIST, is_text
from zt_engine.core.issuer import SUBJECT_FIELDS, IssuerConfig

MAX_SUBJECT: Final = 255


def check_id_header(header: Mapping[str, object], config: IssuerConfig) -> tuple[str, str | None]:
    """Return algorithm and key id of an ID token's header; TOKEN_NO_SIGN_IN, TOKEN_ALG or TOKEN_MALFORMED.

    The only type an ID token may name is `JWT`: an access token, a proof and an event say what they are.
    """
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in ("jwt", "application/jwt"):
        raise InputError("TOKEN_NO_SIGN_IN", "`typ` is not `JWT`: this is no ID token")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in config.algorithms:
        raise InputError("TOKEN_ALG", "the token's algorithm is not allowed for its issuer")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise InputError("TOKEN_MALFORMED", "`kid` is no text")
    return algorithm, key_id


class IdClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What an ID token says of who signed in."""

    subject: str
    acr: str
    amr: tuple[str, ...]
    auth_time: int | None
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    nonce: str
    session: str
    claims: Mapping[str, object]


def read_id_claims(claims: Mapping[str, object], config: IssuerConfig, *, now: float) -> IdClaims:
    """Check the claims of an ID token whose signature holds; raises InputError with the first rule that is broken."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not is_text(subject) or len(subject) > MAX_SUBJECT:
        raise InputError("TOKEN_CLAIMS", "`sub` is missing or no short printable text")
    check_audience(claims.get("aud"), config.audiences)
    _check_party(claims, config.audiences)
    _, _, issued_at = check_times(claims, config, now)
    return IdClaims(
        subject=subject,
        acr=optional_text(claims, "acr"),
        amr=read_methods(claims),
        auth_time=read_auth_time(claims, issued_at, config.skew),
        groups=_names(claims, config, "groups"),
        roles=_names(claims, config, "roles"),
        nonce=optional_text(claims, "nonce"),
        session=optional_text(claims, "sid"),
        claims=_spoken_for(claims, config),
    )


def _check_party(claims: Mapping[str, object], clients: Sequence[str]) -> None:
    """A token for several audiences says in `azp` whose sign-in it is."""
    audience, party = claims.get("aud"), claims.get("azp")
    if party is None and isinstance(audience, list) and len(audience) > 1:
        raise InputError("TOKEN_AUDIENCE", "the token is for several clients and does not say whose sign-in it is")
    if party is not None and party not in clients:
        raise InputError("TOKEN_AUDIENCE", "the sign-in was another client's")


def _spoken_for(claims: Mapping[str, object], config: IssuerConfig) -> Mapping[str, object]:
    """Return the claims that the settings take subject fields from, and no others."""
    sources = [config.mapping.source(field) for field in SUBJECT_FIELDS]
    wanted = {source.path[0] for source in sources if source.kind == "claim" and source.path}
    return {name: claims[name] for name in wanted if name in claims}


def _names(claims: Mapping[str, object], config: IssuerConfig, field: str) -> tuple[str, ...]:
    """Return what the token says of `field`; nothing where it is not the token that speaks for it."""
    source = config.mapping.source(field)
    value: object = claims if source.kind == "claim" else None
    for name in source.path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_LIST or not all(is_text(item) for item in value):
        raise InputError("TOKEN_CLAIMS", f"`{field}` is no list of texts")
    return tuple(sorted(set(value)))
