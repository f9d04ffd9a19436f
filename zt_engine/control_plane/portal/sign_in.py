"""Signing in to the pages themselves: `/.zt/login`, `/.zt/callback` and `/.zt/logout` of the control plane's origin."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.answers import html, page_router, see_other
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import place_of, portal_of, sign_ins_of
from zt_engine.core.errors import InputError
from zt_engine.core.session import COOKIE, require_same_origin, session_handle, sid_of
from zt_engine.pages.portal import SIGNED_OUT

TICKET: Final = "__Host-zt-login"
FIXED: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_TICKET: Final = re.compile(r"(?:^|;)[ \t]*__Host-zt-login=([A-Za-z0-9_-]{1,128})(?=;|$)")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
Text = Annotated[str, Query(max_length=4096)]
Short = Annotated[str, Query(max_length=512)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    place = place_of(plane)

    @routes.get("/.zt/login")
    def login(
        request: Request, to: Text = "/", acr_values: Short = "", max_age: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        """Send a browser to the identity provider."""
        if place.scheme != "https":
            raise InputError("SIGN_IN_PLAIN", "browsers keep no session over plain HTTP")
        begun = sign_ins_of(plane).begin(
            scheme=place.scheme,
            host=place.host,
            authority=place.authority,
            to=to,
            acr_values=acr_values,
            max_age=max_age,
            device_id="",
            now=plane.now(),
        )
        return see_other(begun.location, f"{TICKET}={begun.ticket}; {FIXED}; Max-Age={begun.seconds}")

    @routes.get("/.zt/callback")
    def callback(
        request: Request, state: Short = "", code: Text = "", iss: Short | None = None, error: Short = ""
    ) -> Response:
        """Take a browser back. One that keeps no cookies is told so, and not sent round once more."""
        tickets = _TICKET.findall(_cookies(request))
        if not tickets:
            raise InputError("SIGN_IN_COOKIES", "the browser kept no cookie of the sign-in")
        done = sign_ins_of(plane).finish(
            state=state if _SECRET.fullmatch(state) else "",
            ticket=tickets[0] if len(tickets) == 1 else "",
            host=place.host,
            device_id="",
            code=code,
            issuer=iss,
            error=error[:128],
            now=plane.now(),
        )
        session = f"{COOKIE.decode()}={done.handle}; {FIXED}; Max-Age={done.seconds}"
        return see_other(done.to, session, f"{TICKET}=; {FIXED}; Max-Age=0")

    @routes.get("/.zt/logout")
    def ask(request: Request) -> Response:
        """Ask whether to sign out: a link of another site signs nobody out."""
        return _shown(plane, request, "ask")

    @routes.post("/.zt/logout")
    async def logout(request: Request) -> Response:
        """Sign out."""
        require_same_origin(
            origin=request.headers.get("origin", "").encode("latin-1"),
            fetch_site=request.headers.get("sec-fetch-site", "").encode("latin-1"),
            expected=place.origin,
        )
        handle = session_handle(_cookies(request).encode("latin-1"))
        if handle:
            await run_in_threadpool(
                sign_ins_of(plane).end, sid_of(handle), reason="signed out", actor="visitor", now=plane.now()
            )
        answer = _shown(plane, request, "done")
        answer.headers.append("Set-Cookie", f"{COOKIE.decode()}=; {FIXED}; Max-Age=0")
        answer.headers["Clear-Site-Data"] = '"cache"'
        return answer

    return routes


def _shown(plane: ControlPlane, request: Request, what: str) -> Response:
    language = language_asked(plane, request)
    texts = SIGNED_OUT[language]
    page = portal_of(plane).book.render(
        "portal_sign_out.html",
        language=language,
        t=texts,
        text=texts[what],
        hint=texts[f"{what}_hint"],
        asks=what == "ask",
    )
    return html(page)


def _cookies(request: Request) -> str:
    return "; ".join(value.decode("latin-1") for key, value in request.scope["headers"] if key == b"cookie")
