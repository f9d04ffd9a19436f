"""What is said when an enrollment cannot go on, with the one thing to do next."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from starlette.responses import Response

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.html import html
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import portal_of
from zt_engine.control_plane.portal.refused import page_status
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.core.errors import ZtError
from zt_engine.pages.enroll_texts import TEXTS
from zt_engine.pages.portal import MESSAGE
from zt_engine.pages.registry import registry

_STATUS: Final = {
    "INVITE_UNKNOWN": 404,
    "ENROLL_CLOSED": 404,
    "INVITE_FOREIGN": 403,
    "INVITE_WITHDRAWN": 410,
    "INVITE_EXPIRED": 410,
    "ENROLLMENT_EXPIRED": 410,
    "AGENT_ENROLLMENT_REFUSED": 403,
    "AUTH_DEVICE_STATUS": 403,
    "INVITE_GUESSES": 429,
    "SIGN_IN_WEAK": 403,
}
_NEXT: Final = {
    "INVITE_UNKNOWN": ("/enroll", "paste_again"),
    "INVITE_GUESSES": ("/enroll", "paste_again"),
    "INVITE_FOREIGN": ("/.zt/logout", "other_account"),
    "AUTH_DEVICE_STATUS": ("/my", "details"),
}
"""Where whoever is told a code goes next, and what the way is called."""


def refused(plane: ControlPlane, request: Request, error: ZtError, *, who: Visitor | None, again: str = "") -> Response:
    """Return the page about an error. `again` is the way to sign in once more, where that is what helps."""
    language = language_asked(plane, request)
    entry, texts = registry().get(error.code), MESSAGE[language]
    target, name = (again, "sign_in_again") if again else _NEXT.get(error.code, ("/", "home"))
    page = portal_of(plane).book.render(
        "portal_message.html",
        language=language,
        visitor=who,
        t=texts,
        text=entry.text(language) if entry is not None else error.code,
        hint=(entry.hint(language) if entry is not None else "") or texts["fallback"],
        command="",
        action=(target, TEXTS[language][name]),
        code=error.code,
    )
    return html(page, _STATUS.get(error.code) or page_status(error))
