"""A real OpenID provider: oidc-provider-mock, held to what it leaves out: PKCE, and whom it has signed in before.

It signs real tokens and checks client and redirect, but asks for no password; neither `acr_values` nor `max_age` move
it. So a test says beforehand what it is going to answer, and reads off the browser what was asked of it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlencode, urlsplit

import oidc_provider_mock
import werkzeug.serving
from oidc_provider_mock._app import AuthorizationCodeGrant

COOKIE = "provider"
"""Who signed in at the provider with this browser."""
METHODS = ["none", "client_secret_basic", "client_secret_post"]
FORM = "application/x-www-form-urlencoded"


class Provider:
    """The provider as a WSGI application. `redeemed` counts the codes whose verifier was the right one."""

    issuer = ""

    def __init__(self, people: Sequence[str], *, remembers: bool) -> None:
        self.remembers = remembers
        """Whether who signed in with a browser is not asked again in it; a test may change its mind."""
        users = [oidc_provider_mock.User(sub=person) for person in people]
        self._app: Any = oidc_provider_mock.app(require_nonce=True, user_claims=users)
        self._challenges: dict[str, str] = {}
        self.redeemed = 0
        self.refused = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/oauth2/token" and method == "POST" and not self._proven(_form(environ)):
            body = b'{"error": "invalid_grant"}'
            start("400 Bad Request", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        if path != "/oauth2/authorize":
            return self._answered(environ, start)
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        known = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
        if method == "GET" and self.remembers and known is not None:
            body = urlencode({"sub": known.value}).encode()
            environ |= {"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": str(len(body))}
            environ["wsgi.input"] = io.BytesIO(body)
        person = _form(environ).get("sub", "") if environ["REQUEST_METHOD"] == "POST" else ""

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            location = next((value for name, value in headers if name.lower() == "location"), "")
            for code in parse_qs(urlsplit(location).query).get("code", []):
                self._challenges[code] = asked.get("code_challenge", [""])[0]
                if self.remembers:
                    headers = [*headers, ("Set-Cookie", f"{COOKIE}={person}; Path=/; HttpOnly")]
            return start(status, headers, *more)

        return self._answered(environ, started)

    def _answered(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        found: Iterable[bytes] = self._app(environ, start)
        return found

    def _proven(self, form: dict[str, str]) -> bool:
        """Whether whoever redeems a code is who began the sign-in (RFC 7636, 4.6)."""
        if form.get("grant_type") != "authorization_code":
            return True
        shown = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        held = self._challenges.pop(form.get("code", ""), None) == shown.rstrip(b"=").decode()
        self.redeemed, self.refused = self.redeemed + held, self.refused + (not held)
        return held


def _form(environ: dict[str, Any]) -> dict[str, str]:
    """Read a form, and leave it to be read again."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


@contextmanager
def provider(*people: str, remembers: bool = False) -> Iterator[Provider]:
    """A provider with one button for each of these people; `remembers`: who signed in is not asked again."""
    made = Provider(people, remembers=remembers)
    server = werkzeug.serving.make_server("127.0.0.1", 0, made, threaded=True)
    made.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        # Out of the box it knows only clients with a secret; an agent is a public client (RFC 8252, 8.4).
        with patch.object(AuthorizationCodeGrant, "TOKEN_ENDPOINT_AUTH_METHODS", METHODS):
            yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
