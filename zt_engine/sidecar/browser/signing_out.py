"""Signing out: a question, a goodbye, and where it is wanted a detour over the identity provider.

The session here is over before the browser goes anywhere. What the provider does is its own affair, and the way back
from it is believed only in the browser that was sent.
"""

from __future__ import annotations

import hmac
import secrets

import structlog

from zt_engine.core.cookies import SIGN_OUT, SIGN_OUT_SECONDS, gone, issued
from zt_engine.core.errors import InputError
from zt_engine.core.session import COOKIE, sid_of
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.sessions import SignInDesk
from zt_engine.sidecar.browser.answers import page
from zt_engine.sidecar.browser.visit import Page, Visit

log = structlog.get_logger()

LOGOUT = b"/.zt/logout"
SIGNED_OUT = b"/.zt/signed-out"


class SigningOut:
    """The pages of signing out."""

    def __init__(self, desk: SignInDesk, page: SignOutPage) -> None:
        self._desk = desk
        self._page = page

    def pages(self) -> dict[tuple[bytes, bytes], Page]:
        """Return them by method and path."""
        return {(b"GET", LOGOUT): self._ask, (b"POST", LOGOUT): self._end, (b"GET", SIGNED_OUT): self._back}

    async def _ask(self, visit: Visit) -> bytes:
        return page(self._page.ask(accept_language=visit.language), self._page.security_policy)

    async def _end(self, visit: Visit) -> bytes:
        onward, state = "", secrets.token_urlsafe(32)
        if visit.request.session:
            back = visit.request.target.origin.decode()
            try:
                onward = await self._desk.end(sid_of(visit.request.session), back=back, state=state)
            except InputError as error:
                log.info("browser.session_gone", code=error.code)
        headers = [("Set-Cookie", gone(COOKIE.decode())), ("Clear-Site-Data", '"cache"')]
        if onward:
            # No redirect: of one that answers a form, Chromium demands that `form-action` names where it leads.
            headers.append(("Refresh", f"0; url={onward}"))
            headers.append(("Set-Cookie", issued(SIGN_OUT.name, state, seconds=SIGN_OUT_SECONDS)))
        done = self._page.done(accept_language=visit.language, onward=onward)
        return page(done, self._page.security_policy, *headers)

    async def _back(self, visit: Visit) -> bytes:
        """Take back a browser that was at the provider (RP-Initiated Logout 1.0, 3)."""
        known = SIGN_OUT.read(visit.sent.cookie)
        state = visit.query.get("state", "").encode()
        if not known or not hmac.compare_digest(known.encode(), state):
            raise InputError("SIGN_OUT_STATE", "this browser was not sent to sign out")
        done = self._page.done(accept_language=visit.language)
        return page(done, self._page.security_policy, ("Set-Cookie", gone(SIGN_OUT.name)))
