"""ID tokens, verified with the key sets that access tokens are verified with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from zt_engine.adapters.tokens_jwt import TrustedIssuer, signature_holds
from zt_engine.core.access_token import issuer_of
from zt_engine.core.errors import InputError
from zt_engine.core.id_token import check_id_header, read_id_claims
from zt_engine.core.issuer import IssuerConfig
from zt_engine.core.jose import MAX_TOKEN_BYTES, split_compact
from zt_engine.core.logout_token import check_logout_header, read_logout_claims
from zt_engine.ports.credentials import LoggedOut, Person

CheckHeader = Callable[[Mapping[str, object], IssuerConfig], tuple[str, str | None]]


class OidcPersons:
    """The `PersonVerifier` of one issuer; `audiences` of its configuration are the client ids people sign in to.

    Whoever runs the event loop keeps the key set fresh (`keys_jwks.refresh_due`); to verify may be done in any thread,
    since it only reads the set and notes that a key was missed.
    """

    def __init__(self, issuer: TrustedIssuer, *, also: Collection[str] = ()) -> None:
        """`also` names claims that are kept beside those that the settings take subject fields from."""
        self._issuer = issuer
        self._also = also

    def __repr__(self) -> str:
        return f"OidcPersons({self._issuer.config.issuer!r})"

    def verify(self, id_token: bytes, *, now: float) -> Person:
        """Return who signed in.

        Raises InputError: TOKEN_TOO_LARGE, TOKEN_MALFORMED, TOKEN_ISSUER_UNKNOWN, TOKEN_NO_SIGN_IN, TOKEN_ALG,
        TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE, TOKEN_CLAIMS, TOKEN_AUDIENCE, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID;
        UnavailableError KEYS_UNAVAILABLE.
        """
        config = self._issuer.config
        claims = self._signed(id_token, check_id_header, now)
        read = read_id_claims(claims, config, now=now)
        return Person(
            issuer=config.issuer,
            subject=read.subject,
            acr=read.acr,
            amr=read.amr,
            auth_time=read.auth_time,
            groups=read.groups,
            roles=read.roles,
            nonce=read.nonce,
            session=read.session,
            claims={**read.claims, **{name: claims[name] for name in self._also if name in claims}},
        )

    def logged_out(self, token: bytes, *, now: float) -> LoggedOut:
        """Return who was logged out; InputError LOGOUT_TOKEN, or as `verify`."""
        config = self._issuer.config
        read = read_logout_claims(self._signed(token, check_logout_header, now), config, now=now)
        return LoggedOut(issuer=config.issuer, id=read.id, subject=read.subject, session=read.session)

    def _signed(self, token: bytes, check: CheckHeader, now: float) -> Mapping[str, object]:
        """Return the claims of a token whose signature holds."""
        config, keys = self._issuer.config, self._issuer.keys
        parts = split_compact(
            token, max_bytes=MAX_TOKEN_BYTES, malformed="TOKEN_MALFORMED", too_large="TOKEN_TOO_LARGE"
        )
        if issuer_of(parts.claims) != config.issuer:
            raise InputError("TOKEN_ISSUER_UNKNOWN", "the token's issuer is not trusted here")
        algorithm, key_id = check(parts.header, config)
        try:
            key = keys.keys(now).find(key_id, algorithm)
        except InputError as error:
            if error.code == "TOKEN_KEY_UNKNOWN":
                keys.ask()
            raise
        if not signature_holds(parts, key.public, algorithm):
            keys.ask()  # some providers put a new key under an old id, or give keys no id
            raise InputError("TOKEN_SIGNATURE", "the signature was not made by the issuer's key")
        return parts.claims
