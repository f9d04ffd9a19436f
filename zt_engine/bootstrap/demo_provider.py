"""The demo's identity provider: OpenID Connect by the letter, with one person who is always signed in.

Authorization code with PKCE (RFC 7636) and the issuer in the answer (RFC 9207), on loopback. It asks nobody for a
password, so nothing but a demo may ever believe it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.ports import Clock

CLIENT = "zt-agent"
LONGEST_FORM = 16 * 1024


class DemoProvider:
    """Serves one issuer on a free loopback port. A context manager; `person` is who signs in next."""

    def __init__(self, clock: Clock, *, person: str) -> None:
        self.person = person
        self._clock = clock
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                match url.path:
                    case "/.well-known/openid-configuration":
                        self._json(200, provider.metadata())
                    case "/jwks":
                        self._json(200, json.loads(provider.keys.jwks()))
                    case "/authorize":
                        self._redirect(provider.authorize(query))
                    case _:
                        self._json(404, {"error": "not_found"})

            def do_POST(self) -> None:
                size = min(int(self.headers.get("Content-Length") or 0), LONGEST_FORM)
                form = {name: values[0] for name, values in parse_qs(self.rfile.read(size).decode()).items()}
                answer = provider.token(form) if self.path == "/token" else None
                self._json(400 if answer is None else 200, answer or {"error": "invalid_grant"})

            def _json(self, status: int, document: Mapping[str, object]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _redirect(self, target: str | None) -> None:
                if target is None:
                    self._json(400, {"error": "invalid_request"})
                    return
                self.send_response(302)
                self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                """Say nothing: the demo prints what happened."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.keys = DevIssuer(self.issuer, audience=CLIENT)

    def metadata(self) -> Mapping[str, object]:
        """Return the provider's description (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.keys.algorithm],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def authorize(self, query: Mapping[str, str]) -> str | None:
        """Return where the browser goes next: back, with a code. None: not a request to answer."""
        back = query.get("redirect_uri", "")
        if query.get("client_id") != CLIENT or query.get("code_challenge_method") != "S256":
            return None
        if urlsplit(back).hostname not in ("127.0.0.1", "::1"):
            return None
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**query, "person": self.person}
        return back + "?" + urlencode({"code": code, "state": query.get("state", ""), "iss": self.issuer})

    def token(self, form: Mapping[str, str]) -> Mapping[str, object] | None:
        """Return an ID token for a code that is used for the first time by whoever asked for it."""
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked.get("code_challenge"):
            return None
        now = self._clock.now()
        claims = self.keys.claims(asked["person"], now=now)
        claims.update(nonce=asked.get("nonce", ""), auth_time=int(now), acr="phr", amr=["hwk"])
        return {
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.keys.sign(claims, header={"typ": "JWT"}).decode(),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
