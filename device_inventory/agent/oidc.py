"""Signing a person in at the identity provider: what both ways have in common (OpenID Connect Core and Discovery 1.0).

The ID token is taken straight from the token endpoint over TLS, and only looked at for whether it answers this request
(Core 3.1.3.7, item 6). Who the person is, is for the control plane to verify; nothing here believes it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.jose import payload, to_base64url
from device_inventory.agent.tls import safe_url
from device_inventory.agent.wire import Answer, Wire, plain, read_answer
from device_inventory.sign_in import bound_nonce

SKEW: Final = 300

_REFUSALS: Final = {
    "invalid_client": "AGENT_SIGN_IN_CLIENT",
    "unauthorized_client": "AGENT_SIGN_IN_CLIENT",
    "unsupported_response_type": "AGENT_SIGN_IN_CLIENT",
    "unsupported_grant_type": "AGENT_SIGN_IN_CLIENT",
    "invalid_scope": "AGENT_SIGN_IN_SCOPE",
    "invalid_grant": "AGENT_SIGN_IN_GRANT",
    "invalid_request": "AGENT_SIGN_IN_REQUEST",
    "server_error": "AGENT_SIGN_IN_PROVIDER",
    "temporarily_unavailable": "AGENT_SIGN_IN_PROVIDER",
}
"""RFC 6749, 4.1.2.1 and 5.2, by what has to be mended where; the rest is the person's or the provider's no."""
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Client(Struct, frozen=True, kw_only=True):
    """As what the agent asks: a public client, which has no secret to keep."""

    issuer: str
    client_id: str
    scope: str


class Provider(Struct, frozen=True, kw_only=True):
    """What an identity provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False


class Pkce(Struct, frozen=True, kw_only=True):
    """A one-time secret and its digest (RFC 7636, S256): a code that is caught on the way is of no use."""

    verifier: str
    challenge: str

    def __repr__(self) -> str:
        return "Pkce(...)"


class SignedIn(Struct, frozen=True, kw_only=True):
    """A sign-in for one control plane: the ID token, and the secret by which that one knows that it was for it."""

    token: Secret
    secret: Secret

    def body(self) -> dict[str, str]:
        """Return the members of a request that say so."""
        return {"id_token": self.token.reveal(), "sign_in_secret": self.secret.reveal()}


class Binding:
    """Ties one sign-in to the control plane at `url`, which is the one the agent talks to."""

    def __init__(self, url: str) -> None:
        secret = secrets.token_urlsafe(32)
        self.nonce = bound_nonce(secret, url)
        self._secret = Secret(secret)

    def signed_in(self, token: Secret) -> SignedIn:
        """Return what came of the sign-in that was asked for with this nonce."""
        return SignedIn(token=token, secret=self._secret)


class TokenRefusedError(Exception):
    """The token endpoint said no; `error` is OAuth's own word for it."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class _Tokens(Struct):
    id_token: str


class _OAuthError(Struct):
    error: str = ""
    error_description: str = ""


def make_pkce() -> Pkce:
    """Return a new pair."""
    verifier = secrets.token_urlsafe(48)
    return Pkce(verifier=verifier, challenge=to_base64url(hashlib.sha256(verifier.encode()).digest()))


def discover(wire: Wire, issuer: str, *, now: float) -> Provider:
    """Return the provider's description; AGENT_ISSUER when it is not about this very issuer, byte for byte."""
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    provider = read_answer(wire.send("GET", where), Provider, where=where, now=now)
    if provider.issuer != issuer:
        raise AgentError("AGENT_ISSUER", f"the provider calls itself `{plain(provider.issuer)}`", where=issuer)
    endpoints = (provider.authorization_endpoint, provider.token_endpoint, provider.device_authorization_endpoint)
    if not all(not url or safe_url(url) for url in endpoints):
        raise AgentError("AGENT_ISSUER", "an endpoint is neither https nor on loopback", where=issuer)
    return provider


def post(wire: Wire, url: str, form: Mapping[str, str]) -> Answer:
    """Send a form."""
    return wire.send("POST", url, headers=_FORM, content=urlencode(form).encode())


def ask_token(wire: Wire, provider: Provider, form: Mapping[str, str], *, now: float) -> Secret:
    """Return the ID token a grant is worth, not yet looked at; TokenRefusedError when the provider says no."""
    answer = post(wire, provider.token_endpoint, form)
    if answer.status in (400, 401, 403):
        raise oauth_error(answer)
    return Secret(read_answer(answer, _Tokens, where=provider.token_endpoint, now=now).id_token)


def oauth_error(answer: Answer) -> TokenRefusedError:
    """Return what an error answer says."""
    try:
        held = msgspec.json.decode(answer.body, type=_OAuthError)
    except msgspec.DecodeError:
        held = _OAuthError()
    return TokenRefusedError(plain(held.error, 60), plain(held.error_description))


def refusal(error: str, description: str) -> AgentError:
    """Return the agent's error for OAuth's word: whose setting is wrong, or that the person was not let in."""
    text = ": ".join(part for part in (plain(error, 60), plain(description)) if part)
    return AgentError(_REFUSALS.get(error, "AGENT_SIGN_IN_REFUSED"), text or "the provider gave no reason")


def check_id_token(token: Secret, client: Client, *, nonce: str | None, now: float) -> Secret:
    """Return an ID token that answers this request; AGENT_SIGN_IN_TOKEN for one of another issuer, client or time."""
    try:
        claims = payload(token.reveal())
    except ValueError:
        raise _odd("it cannot be read") from None
    audience = claims.get("aud")
    expires = claims.get("exp")
    if claims.get("iss") != client.issuer:
        raise _odd("it is another issuer's")
    if client.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise _odd("it is for another client")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _odd("it does not answer this request")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or expires <= now - SKEW:
        raise _odd("it is over; is the clock of this machine right?")
    return token


def _odd(why: str) -> AgentError:
    return AgentError("AGENT_SIGN_IN_TOKEN", f"the ID token is of no use: {why}")
