"""Signing in with a browser on this machine: authorization code with PKCE, answered on loopback (RFC 8252, 7.3).

The answer counts only with this request's `state`, and with the provider's own `iss` where it promises one (RFC 9207).
Anything else that knocks at the port is sent away and changes nothing.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.oidc import (
    Client,
    Provider,
    TokenRefusedError,
    ask_token,
    check_id_token,
    make_pkce,
    refusal,
)
from device_inventory.agent.wire import Wire

PATIENCE: Final = 300.0
"""Seconds a person has to sign in."""

_PATH: Final = "/callback"
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>zt agent</title>
<body style="font:1.1em/1.7 sans-serif;margin:4em auto;max-width:34em"><p lang="ja">{ja}</p><p lang="en">{en}</p>"""
_DONE: Final = (
    "この画面を閉じて、端末に戻ってください。",
    "You can close this page and go back to the terminal.",
)
_OTHER: Final = ("この画面は使われていません。", "Nothing is waiting for this page.")


def sign_in(
    wire: Wire,
    provider: Provider,
    client: Client,
    *,
    nonce: str,
    show: Callable[[str], None],
    now: Callable[[], float],
    elapsed: Callable[[], float],
    patience: float = PATIENCE,
) -> Secret:
    """Return an ID token. `show` brings the URL to the person.

    AGENT_SIGN_IN_TIMEOUT when nobody answers, AGENT_SIGN_IN_REFUSED when the person or the provider says no,
    AGENT_SIGN_IN_MIXED when another provider answers.
    """
    pkce, state = make_pkce(), secrets.token_urlsafe(24)
    with _Listener(state) as listener:
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": listener.url,
            "scope": client.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if urlsplit(provider.authorization_endpoint).query else "?"
        show(provider.authorization_endpoint + separator + urlencode(query))
        answer = listener.wait(elapsed, patience)
    promised = "iss" in answer or provider.authorization_response_iss_parameter_supported
    if promised and answer.get("iss") != provider.issuer:
        raise AgentError("AGENT_SIGN_IN_MIXED", "the answer does not name the provider that was asked")
    if "code" not in answer:
        raise refusal(answer.get("error", ""), answer.get("error_description", ""))
    form = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": answer["code"],
        "redirect_uri": listener.url,
        "code_verifier": pkce.verifier,
    }
    try:
        token = ask_token(wire, provider, form, now=now())
    except TokenRefusedError as error:
        raise refusal(error.error, error.description) from None
    return check_id_token(token, client, nonce=nonce, now=now())


class _Listener:
    """Waits on a free port of 127.0.0.1 for the one answer that carries `state`."""

    def __init__(self, state: str) -> None:
        self._answer: dict[str, str] | None = None
        listener = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                wanted = listener.take(self.path, self.headers.get_all("Host") or [], state)
                body = _page(*(_DONE if wanted else _OTHER))
                self.send_response(200 if wanted else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                """Say nothing: the request line holds the code."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.timeout = 0.5
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}{_PATH}"

    def take(self, target: str, hosts: list[str], state: str) -> bool:
        """Whether this is the answer that is waited for; it is kept then."""
        try:
            parts = urlsplit(target)
            query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            return False
        if self._answer is not None or hosts != [self.host] or parts.path != _PATH:
            return False
        if any(len(values) != 1 for values in query.values()):
            return False
        if not hmac.compare_digest(query.get("state", [""])[0].encode(), state.encode()):
            return False
        self._answer = {name: values[0] for name, values in query.items()}
        return True

    def wait(self, elapsed: Callable[[], float], patience: float) -> dict[str, str]:
        """Return the answer's parameters; AGENT_SIGN_IN_TIMEOUT."""
        until = elapsed() + patience
        while self._answer is None:
            if elapsed() >= until:
                raise AgentError("AGENT_SIGN_IN_TIMEOUT", f"nobody signed in within {patience:.0f} s")
            self._server.handle_request()
        return self._answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()


def _page(ja: str, en: str) -> bytes:
    return _PAGE.format(ja=ja, en=en).encode()
