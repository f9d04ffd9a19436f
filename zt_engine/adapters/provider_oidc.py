"""The identity provider over HTTP, for browser sign-in: discovery, code exchange, refresh.

The client proves itself with `private_key_jwt` (RFC 7523, OpenID Connect Core 9) or a secret from a file that is read
anew for each use, so that it may rotate. What a token endpoint hands over is not believed here: the ID token's reader
verifies it.
"""

from __future__ import annotations

import base64
import secrets
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zt_engine.adapters.http_deadline import DeadlineClient
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError
from zt_engine.ports.sessions import Tokens

Kind = TypeVar("Kind")

log = structlog.get_logger()

TOKEN_SECONDS: Final = 6.0
DISCOVERY_TIMEOUT: Final = 3.0
SILENT_SECONDS: Final = 5.0
"""How long a provider that could not be described is not asked again: everybody would wait for it, one by one."""
MAX_ANSWER: Final = 256 * 1024
DISCOVERY_SECONDS: Final = 3600.0
ASSERTION_SECONDS: Final = 60
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_REFUSED: Final = frozenset({"invalid_grant", "access_denied"})
_CLIENT_REFUSED: Final = frozenset({"invalid_client", "unauthorized_client"})
"""A fault of our settings (RFC 6749, 5.2): no word about the person, whose session goes on until its time."""
CLIENT_HINT: Final = "check `client_id` and `key_file` or `secret_file` of [sign_in]"


class _Discovered(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    authorization_response_iss_parameter_supported: bool = False
    end_session_endpoint: str = ""


class _Answered(msgspec.Struct, frozen=True):
    id_token: str = ""
    refresh_token: str = ""


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""


class ClientProof:
    """How the client proves itself at the token endpoint: by a key, by a secret, or not at all."""

    def __init__(self, client_id: str, *, key_file: Path | None = None, secret_file: Path | None = None) -> None:
        """Raises ConfigError CONFIG_FILE for a key that cannot be read or is of no kind that signs here."""
        self.client_id = client_id
        self._secret_file = secret_file
        self._key: EllipticCurvePrivateKey | Ed25519PrivateKey | None = None
        if key_file is not None:
            try:
                key = load_pem_private_key(key_file.read_bytes(), password=None)
            except (OSError, ValueError, TypeError) as error:
                raise _fault(str(getattr(error, "strerror", None) or "no private key in PEM"), key_file) from None
            if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey) or (
                isinstance(key, EllipticCurvePrivateKey) and key.curve.name != "secp256r1"
            ):
                raise _fault("a key for ES256 or Ed25519 is wanted", key_file)
            self._key = key

    def apply(self, form: dict[str, str], headers: dict[str, str], *, audience: str, now: float) -> None:
        """Add the proof to a request; UnavailableError SIGN_IN_PROVIDER when the secret cannot be read."""
        if self._key is not None:
            claims = {
                "iss": self.client_id,
                "sub": self.client_id,
                "aud": audience,
                "jti": secrets.token_urlsafe(24),
                "iat": int(now),
                "exp": int(now) + ASSERTION_SECONDS,
            }
            algorithm = "EdDSA" if isinstance(self._key, Ed25519PrivateKey) else "ES256"
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = jwt.encode(claims, self._key, algorithm=algorithm)
        elif self._secret_file is not None:
            try:
                secret = self._secret_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise UnavailableError("SIGN_IN_PROVIDER", "the client secret cannot be read") from None
            pair = f"{quote_plus(self.client_id)}:{quote_plus(secret)}"  # RFC 6749, 2.3.1
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")


class OidcProvider:
    """One provider. For use by many threads."""

    def __init__(
        self,
        issuer: str,
        *,
        proof: ClientProof,
        scopes: tuple[str, ...],
        verify: ssl.SSLContext | bool = True,
        now: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._proof = proof
        self._scope = " ".join(dict.fromkeys(("openid", *scopes)))
        self._now = now
        self._lock = threading.Lock()
        self._found: tuple[float, _Discovered] | None = None
        self._silent: tuple[float, UnavailableError] | None = None
        self._client = DeadlineClient(
            verify=verify, code="SIGN_IN_PROVIDER", max_answer=MAX_ANSWER, name="identity-provider"
        )

    def __repr__(self) -> str:
        return f"OidcProvider({self._issuer!r})"

    @property
    def issuer(self) -> str:
        """Its issuer identifier."""
        return self._issuer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str, acr_values: str, max_age: int | None
    ) -> str:
        """Return where to send a browser (OpenID Connect Core 3.1.2.1, RFC 7636)."""
        query = {
            "response_type": "code",
            "client_id": self._proof.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if acr_values:
            query["acr_values"] = acr_values
        if max_age is not None:
            query["max_age"] = str(max_age)
        return _with_query(self._discovered().authorization_endpoint, query)

    def sign_out_url(self, *, hint: str, redirect_uri: str, state: str) -> str:
        """Return where to send a browser that signs out (RP-Initiated Logout 1.0, 2); empty where none is offered."""
        endpoint = self._discovered().end_session_endpoint
        if not endpoint:
            return ""
        query = {"client_id": self._proof.client_id, "post_logout_redirect_uri": redirect_uri, "state": state}
        return _with_query(endpoint, {"id_token_hint": hint, **query} if hint else query)

    def promises_issuer(self) -> bool:
        """Whether every answer to a browser names the issuer (RFC 9207)."""
        return self._discovered().authorization_response_iss_parameter_supported

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        """Redeem a code; InputError SIGN_IN_CODE when it is refused, UnavailableError SIGN_IN_CLIENT when we are."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        return self._tokens(form, refused="SIGN_IN_CODE")

    def refresh(self, refresh_token: str) -> Tokens:
        """Redeem a refresh token; InputError SIGN_IN_ENDED when it is refused, UnavailableError when we are."""
        return self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token}, refused="SIGN_IN_ENDED")

    def _tokens(self, form: dict[str, str], *, refused: str) -> Tokens:
        endpoint = self._discovered().token_endpoint
        form = {**form, "client_id": self._proof.client_id}
        headers = {"accept": "application/json"}
        self._proof.apply(form, headers, audience=self._issuer, now=self._now())
        status, body = self._client.send("POST", endpoint, seconds=TOKEN_SECONDS, data=form, headers=headers)
        if status != 200:
            error = _decoded(body, _Refused).error if status in (400, 401) else ""
            if error in _REFUSED:
                raise InputError(refused, f"the identity provider says `{error}`")
            if error in _CLIENT_REFUSED:
                log.error("sign_in.client_refused", code="SIGN_IN_CLIENT", error=error, hint=CLIENT_HINT)
                raise UnavailableError("SIGN_IN_CLIENT", f"the identity provider says `{error}`", hint=CLIENT_HINT)
            raise UnavailableError("SIGN_IN_PROVIDER", f"the token endpoint answered {status} {error}".rstrip())
        found = _decoded(body, _Answered)
        return Tokens(id_token=found.id_token.encode("ascii", "replace"), refresh_token=found.refresh_token)

    def _discovered(self) -> _Discovered:
        """Return the provider's description; what is known is used for an hour, and longer while it is silent."""
        with self._lock:
            now = self._now()
            if self._found is not None and 0 <= now - self._found[0] < DISCOVERY_SECONDS:
                return self._found[1]
            if self._found is None and self._silent is not None and 0 <= now - self._silent[0] < SILENT_SECONDS:
                raise self._silent[1]
            try:
                found = self._discover()
            except UnavailableError as error:
                if self._found is None:
                    self._silent = now, error
                    raise
                found = self._found[1]
            self._found = now, found
            return found

    def _discover(self) -> _Discovered:
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        status, body = self._client.send("GET", url, seconds=DISCOVERY_TIMEOUT)
        if status != 200:
            raise UnavailableError("SIGN_IN_PROVIDER", f"discovery answered {status}")
        found = _decoded(body, _Discovered)
        if found.issuer != self._issuer:
            raise UnavailableError("SIGN_IN_PROVIDER", "discovery is about another issuer")
        ends = found.end_session_endpoint or self._issuer
        for endpoint in (found.authorization_endpoint, found.token_endpoint, ends):
            _check_endpoint(endpoint, self._issuer)
        return found


def _decoded(body: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnavailableError("SIGN_IN_PROVIDER", "the answer is not the JSON it should be") from None


def _with_query(endpoint: str, query: dict[str, str]) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def _check_endpoint(endpoint: str, issuer: str) -> None:
    """Require https wherever the issuer has it: a description must not send codes and tokens into the clear."""
    here, there = urlsplit(issuer), urlsplit(endpoint)
    if there.scheme not in ("https", here.scheme) or not there.hostname or there.username is not None or there.fragment:
        raise UnavailableError("SIGN_IN_PROVIDER", "discovery names an endpoint that is no safe address")


def _fault(message: str, path: Path) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path)),))
