"""`/step-up/…`: the page at which a session of another host proves itself with its person's key.

Nobody is signed in here: whoever has the address uses the key, and what comes of it goes back to the host it is about,
where it counts only for the session that began.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys_proving import PAGE, Asked, Proving
from zt_engine.control_plane.portal.answers import Form, html, page_router, see_other
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import place_of, portal_of
from zt_engine.control_plane.portal.refused import page_status
from zt_engine.core.errors import InputError
from zt_engine.core.session import require_same_origin
from zt_engine.pages.keys import KeyPages

Secret = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$")]
PATH: Final = PAGE + "/{secret}"


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    place, proving = place_of(plane), Proving(plane)

    def pages() -> KeyPages:
        return KeyPages(portal_of(plane).book)

    @routes.get(PATH)
    def ask(request: Request, secret: Secret) -> Response:
        """Ask for a key."""
        asked = proving.asked(secret, now=plane.now())
        ceremony = asked.ceremony
        page = pages().prove(
            language=language_asked(plane, request), secret=secret, options=asked.options, origin=ceremony.origin,
            to=ceremony.to, instead=_instead(asked),
        )  # fmt: skip
        return html(page)

    @routes.post(PATH)
    async def prove(request: Request, secret: Secret, form: Form) -> Response:
        """Take the key's answer, and send the browser back with what it proved."""
        require_same_origin(
            origin=request.headers.get("origin", "").encode("latin-1"),
            fetch_site=request.headers.get("sec-fetch-site", "").encode("latin-1"),
            expected=place.origin,
        )
        return await run_in_threadpool(answered, request, secret, form.get("answer", "").encode())

    def answered(request: Request, secret: str, answer: bytes) -> Response:
        asked = proving.asked(secret, now=plane.now())  # to know the way back from whatever goes wrong
        try:
            return see_other(proving.prove(secret, answer, now=plane.now()))
        except InputError as error:
            language, ceremony = language_asked(plane, request), asked.ceremony
            page = pages().wrong(error.code, language=language, back=f"{ceremony.origin}{ceremony.to}")
            return html(page, page_status(error))

    return routes


def _instead(asked: Asked) -> str:
    """Return the way to the identity provider for whoever has no key at hand."""
    ceremony = asked.ceremony
    more = f"&{ceremony.asked}" if ceremony.asked else ""
    return f"{ceremony.origin}/.zt/login?to={quote(ceremony.to, safe='/')}{more}"
