"""Signing in to the pages themselves: `/.zt/login`, `callback`, `logout` of the control plane's origin."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Annotated, Final
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import actor_of
from zt_engine.control_plane.portal.answers import html, page_router, see_other
from zt_engine.control_plane.portal.headers import cookies_of
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import place_of, portal_of, sign_ins_of
from zt_engine.control_plane.portal.refused import LOGIN, page_of
from zt_engine.control_plane.sessions import Finished
from zt_engine.core.cookies import SIGN_IN, SIGN_OUT, SIGN_OUT_SECONDS, gone, issued
from zt_engine.core.errors import InputError
from zt_engine.core.session import (
    COOKIE,
    SessionRecord,
    language_of_person,
    require_same_origin,
    session_handle,
    sid_of,
)
from zt_engine.core.wish import unmet
from zt_engine.pages.portal import SIGNED_OUT

log = structlog.get_logger()

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
        """Send a browser to the identity provider; two tabs of it keep one ticket, so that both come back."""
        if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
            raise InputError("AUTH_REQUIRED", "a page's script cannot sign anybody in")
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
            ticket=SIGN_IN.read(cookies_of(request)),
            address=request.client.host if request.client is not None else "",
            now=plane.now(),
        )
        return see_other(begun.location, issued(SIGN_IN.name, begun.ticket, seconds=begun.seconds))

    @routes.get("/.zt/callback")
    def callback(
        request: Request, state: Short = "", code: Text = "", iss: Short | None = None, error: Short = ""
    ) -> Response:
        """Take a browser back. One that keeps no cookies is told so, and not sent round once more."""
        if f"{SIGN_IN.name}=".encode() not in cookies_of(request):
            raise InputError("SIGN_IN_COOKIES", "the browser kept no cookie of the sign-in")
        before = _handle(request)
        try:
            done = sign_ins_of(plane).finish(
                state=state if _SECRET.fullmatch(state) else "",
                ticket=SIGN_IN.read(cookies_of(request)),
                host=place.host,
                device_id="",
                code=code,
                issuer=iss,
                error=error[:128],
                replaces=sid_of(before) if before else "",
                now=plane.now(),
            )
        except InputError as refused:
            if refused.code == "SIGN_IN_STATE" and _signed_in(plane, before):
                # The back button, or an answer that was opened twice: they are signed in.
                return see_other("/")
            raise
        cookie = issued(COOKIE.decode(), done.handle, seconds=done.seconds)
        missing = _missing(plane, done)
        if missing:
            page = page_of(plane, request, "SIGN_IN_UNMET", status=403, onward=_onward(done))
            page.headers.append("Set-Cookie", cookie)
            return page
        # The ticket stays until its time: another tab may be on its way.
        return see_other(done.to, cookie)

    @routes.get("/.zt/logout")
    def ask(request: Request) -> Response:
        """Ask whether to sign out: a link of another site signs nobody out."""
        held = _held(plane, _handle(request))
        return _shown(plane, request, "ask", held=held)

    @routes.post("/.zt/logout")
    async def logout(request: Request) -> Response:
        """Sign out here, and then at the provider where the settings say so."""
        require_same_origin(
            origin=request.headers.get("origin", "").encode("latin-1"),
            fetch_site=request.headers.get("sec-fetch-site", "").encode("latin-1"),
            expected=place.origin,
        )
        return await run_in_threadpool(_ended, plane, request)

    @routes.get("/.zt/signed-out")
    def back(request: Request, state: Short = "") -> Response:
        """Take back a browser that was at the provider to sign out there; no other one."""
        known = SIGN_OUT.read(cookies_of(request))
        if not known or not hmac.compare_digest(known.encode(), state.encode()):
            raise InputError("SIGN_OUT_STATE", "this browser was not sent to sign out")
        answer = _shown(plane, request, "done")
        answer.headers.append("Set-Cookie", gone(SIGN_OUT.name))
        return answer

    return routes


def _ended(plane: ControlPlane, request: Request) -> Response:
    handle, state, onward = _handle(request), secrets.token_urlsafe(32), ""
    held = _held(plane, handle)
    if held is not None:
        actor = actor_of(held.issuer, held.subject)
        place = place_of(plane)
        onward = (
            sign_ins_of(plane).sign_out(
                held.sid, back=place.origin.decode(), state=state, reason="signed out", actor=actor, now=plane.now()
            )
            or ""
        )
    answer = _shown(plane, request, "done", onward=onward, held=held)
    answer.headers.append("Set-Cookie", gone(COOKIE.decode()))
    answer.headers["Clear-Site-Data"] = '"cache"'
    if onward:
        # No redirect: of one that answers a form, Chromium demands that `form-action` names where it leads.
        answer.headers["Refresh"] = f"0; url={onward}"
        answer.headers.append("Set-Cookie", issued(SIGN_OUT.name, state, seconds=SIGN_OUT_SECONDS))
    return answer


def _missing(plane: ControlPlane, done: Finished) -> tuple[str, ...]:
    """Return what the sign-in was begun for and did not bring; how strong it is, no page of these asks."""
    record = _held(plane, done.handle.encode())
    missing = () if record is None else unmet(done.wish, record, {}, now=plane.now())
    if missing and record is not None:
        log.warning(
            "sign_in.step_up_unmet", code="SIGN_IN_UNMET", missing=missing, auth_time=record.auth_time,
            issuer=record.issuer, session=record.sid[:12], hint="it has to heed `max_age` and say `auth_time`",
        )  # fmt: skip
    return missing


def _onward(done: Finished) -> str:
    return f"{LOGIN}?{urlencode({'to': done.to, 'max_age': done.wish.max_age})}"


def _held(plane: ControlPlane, handle: bytes) -> SessionRecord | None:
    """Return the session of a handle, if it is one of this very host."""
    if not handle:
        return None
    with plane.store.reading(plane.settings.tenant) as tx:
        found = tx.sessions.get(sid_of(handle))
    return found.record if found is not None and found.record.host == place_of(plane).host else None


def _signed_in(plane: ControlPlane, handle: bytes) -> bool:
    record = _held(plane, handle)
    return record is not None and record.until > plane.now()


def _shown(
    plane: ControlPlane, request: Request, what: str, *, onward: str = "", held: SessionRecord | None = None
) -> Response:
    language = language_asked(plane, request, person="" if held is None else language_of_person(held.claims))
    texts = SIGNED_OUT[language]
    page = portal_of(plane).book.render(
        "portal_sign_out.html",
        language=language,
        t=texts,
        text=texts[what],
        hint=texts[f"{what}_hint"],
        asks=what == "ask",
        further=onward,
    )
    return html(page)


def _handle(request: Request) -> bytes:
    """Return the handle of a session; a cookie that is none keeps nobody from a new one."""
    try:
        return session_handle(cookies_of(request))
    except InputError:
        return b""
