"""The refusal as a page, for proxies that drop the body of a hook's answer: the proxy asks for it in a second request.

nginx keeps only status and `WWW-Authenticate` of a refusal, so the printed server block points `error_page` of 401 and
403 here. The page keeps the status: an error page that turned a 403 into a 200 would be a bypass of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zt_engine.core.errors import InputError
from zt_engine.pages.denied import DeniedPage, spoken_by
from zt_engine.sidecar.admin import response
from zt_engine.sidecar.hooks.credentials import Credentials, Peer
from zt_engine.sidecar.hooks.signing import device_link, sign_in_link

PATH = b"/v1/pages/denied"
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ID = re.compile(r"[A-Za-z0-9-]{0,64}")
_TAG = re.compile(r"[A-Za-z0-9-]{0,48}")
NO_PAGE = response(401, b"", "text/plain", 'WWW-Authenticate: Zt-Pep-Key realm="zt"')
"""What is answered to whoever shows no credential."""


class DeniedPages:
    """Serves the page to proxies that show their credential."""

    def __init__(self, page: DeniedPage, credentials: Credentials) -> None:
        self._page = page
        self._credentials = credentials

    def __call__(
        self, path: bytes, headers: Mapping[bytes, bytes], names: tuple[bytes, ...], peer: Peer
    ) -> bytes | None:
        """Return the page as a complete answer; None for another path."""
        if path != PATH:
            return None
        values = {name.lower(): value for name, value in headers.items()}
        try:
            self._credentials.of(values.get(b"zt-pep-key", b""), hook="nginx", peer=peer)
        except InputError:
            return NO_PAGE
        challenge = text(values, b"zt-challenge")
        code, decision = text(values, b"zt-reason"), text(values, b"zt-decision")
        status = 401 if challenge else 403
        code = code if _CODE.fullmatch(code) else ""
        own = text(values, b"zt-language")
        decision = decision if _ID.fullmatch(decision) else ""
        refusal = self._page.render(
            code=code,
            decision=decision,
            status=status,
            accept=text(values, b"accept"),
            accept_language=spoken_by(text(values, b"accept-language"), own if _TAG.fullmatch(own) else ""),
            sign_in=sign_in_link(text(values, b"x-original-uri"), challenge),
            confirm=device_link(text(values, b"x-original-uri")),
        )
        extra = [
            f"Content-Language: {refusal.language}",
            f"Content-Security-Policy: {self._page.security_policy}",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            "Vary: Accept, Accept-Language",
            f"Zt-Reason: {code}",
            f"Zt-Decision: {decision}",
        ]
        if challenge:
            extra.append(f"WWW-Authenticate: {challenge}")
        return response(status, refusal.body, refusal.content_type, *extra)


def text(values: Mapping[bytes, bytes], name: bytes) -> str:
    """Return a header as ASCII text; anything else as nothing."""
    raw = values.get(name, b"")
    return raw.decode("ascii") if raw.isascii() and raw.decode("ascii").isprintable() else ""
