"""What somebody is shown whom a page does not serve: the way to sign in, or what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from device_inventory.device import DeviceRecordError
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.html import html, see_other
from zt_engine.control_plane.portal.language import keep, language_asked
from zt_engine.control_plane.portal.parts import portal_of
from zt_engine.control_plane.problem import status_of
from zt_engine.core.errors import ZtError
from zt_engine.pages.book import Language
from zt_engine.pages.portal import MESSAGE, told
from zt_engine.pages.registry import registry

LOGIN: Final = "/.zt/login"
_SIGN_IN: Final = frozenset({"SESSION_NOT_FOUND", "SESSION_FOREIGN"})
"""Whoever comes with this and only looks is sent to sign in."""
_AGAIN: Final = frozenset(
    {
        "DEVICE_REVOKED",
        "KEYS_UNAVAILABLE",
        "PERSON_INACTIVE",
        "SESSION_DOUBLED",
        "SESSION_MALFORMED",
        "SUBJECT_REVOKED",
    }
)
_STATUS: Final[Mapping[str, int]] = {
    "FORM_STALE": 403,
    "SIGN_IN_OFF": 404,
    "SIGN_IN_PROVIDER": 503,
    "SUBJECT_REVOKED": 403,
    "DEVICE_REVOKED": 403,
}


def refused(plane: ControlPlane, request: Request, error: ZtError | DeviceRecordError) -> Response:
    """Answer whoever is no visitor, or lacks a permission."""
    if error.code in _SIGN_IN and request.method in ("GET", "HEAD"):
        return see_other(sign_in_path(request))
    return page_of(plane, request, error.code, status=page_status(error))


def page_of(
    plane: ControlPlane, request: Request, code: str, *, status: int, visitor: object = None,
    language: Language | None = None, onward: str = "",
) -> Response:  # fmt: skip
    """Return the page that says what is wrong, and the one thing to do next; `onward` is where to sign in for it."""
    language = language or language_asked(plane, request)
    texts, entry = MESSAGE[language], registry().get(code)
    signs_in = code.startswith(("SESSION_", "SIGN_IN_", "TOKEN_")) or code in _AGAIN
    target = onward or (f"{LOGIN}?to=/" if signs_in else "/")
    if code == "FORM_STALE":  # every page that is posted to can be opened
        target = quote(request.scope["path"], safe="/~%")
    text, hint = told(code, language)
    page = portal_of(plane).book.render(
        "portal_message.html",
        language=language,
        visitor=visitor,
        t=texts,
        text=text,
        hint=hint,
        command=entry.command if entry is not None and entry.kind in ("auth", "report", "device") else "",
        action=(target, texts["again" if signs_in else "open" if code == "FORM_STALE" else "home"]),
        code=code,
    )
    return keep(html(page, status), request)


def error_pages(plane: ControlPlane) -> Callable[[Request, str, int], Response]:
    """Return what shows a person an error that no page of its own has met."""

    def shown(request: Request, code: str, status: int) -> Response:
        return page_of(plane, request, code, status=403 if status == 401 else status)

    return shown


def page_status(error: ZtError | DeviceRecordError) -> int:
    """Return the status of a page about an error. A browser is never asked for a credential by its status."""
    found = _STATUS.get(error.code) or status_of(error)
    return 403 if found == 401 or (error.code.startswith(("SESSION_", "SIGN_")) and found == 422) else found


def sign_in_path(request: Request) -> str:
    """Return the way to sign in and come back to the page that was asked for."""
    query = request.scope.get("query_string", b"").decode("latin-1")
    path = quote(request.scope["path"], safe="/~%")  # what is still escaped there stays so
    to = f"{path}?{query}" if query else path
    return f"{LOGIN}?to={quote(to, safe='/')}"
