"""Routes that are pages: what they post is a form of this session's own, and whatever goes wrong is a page as well."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from device_inventory.device import DeviceRecordError
from zt_engine.control_plane.access import CALLER
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.html import html, see_other
from zt_engine.control_plane.portal.language import keep
from zt_engine.control_plane.portal.refused import page_of, page_status
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.core.errors import InputError, ZtError

__all__ = ["Form", "Posted", "html", "page_router", "see_other"]

_FORM: Final = "zt.form"
_KIND: Final = "application/x-www-form-urlencoded"
_HTTP: Final[Mapping[int, str]] = {404: "REQUEST_NOT_FOUND", 405: "REQUEST_METHOD", 413: "REQUEST_TOO_LARGE"}

Posted = Mapping[str, str]
"""What a form holds: each name once."""


def form(request: Request) -> Posted:
    """Return what was posted, which was checked before."""
    found: Posted = request.scope.get(_FORM, {})
    return found


Form = Annotated[Posted, Depends(form)]
"""The form of a page's POST: `def post(form: Form, who: ...)`."""


def page_router(plane: ControlPlane) -> APIRouter:
    """Return a router whose routes are pages. They are no part of the API that is described."""

    class PageRoute(APIRoute):
        """One page."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """Return the handler, with the form read before and errors made pages."""
            handler = super().get_route_handler()

            async def paged(request: Request) -> Response:
                return keep(await _answered(plane, request, handler), request)

            return paged

    return APIRouter(route_class=PageRoute, include_in_schema=False)


async def _answered(
    plane: ControlPlane, request: Request, handler: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    who = request.scope.get(CALLER)
    try:
        _check_query(request)
        if request.method == "POST":
            await _read_form(request, who)
        return await handler(request)
    except (ZtError, DeviceRecordError) as error:
        code, status = error.code, page_status(error)
    except RequestValidationError:
        code, status = "REQUEST_INVALID", 422
    except HTTPException as error:
        code, status = _HTTP.get(error.status_code, "REQUEST_MALFORMED"), error.status_code
    visitor = who if isinstance(who, Visitor) else None
    language = None if visitor is None else visitor.language
    return page_of(plane, request, code, status=status, visitor=visitor, language=language)


def _check_query(request: Request) -> None:
    """Require each parameter once (RFC 6749, 3.1): of two, another reader may take the other."""
    try:
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise InputError("REQUEST_MALFORMED", "the query is no query") from None
    if len(dict(pairs)) != len(pairs):
        raise InputError("REQUEST_MALFORMED", "a parameter occurs twice")


async def _read_form(request: Request, who: object) -> None:
    """Read a form, each name once; FORM_STALE when it was not shown to this session, whoever posts it.

    A script posts JSON, and says the same in the header `zt-csrf`.
    """
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found: dict[str, str] = {}
    if kind == _KIND:
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=64, errors="strict")
        except ValueError:
            raise InputError("REQUEST_MALFORMED", "the body is no form") from None
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InputError("REQUEST_MALFORMED", "a field occurs twice")
        shown = found.pop("csrf", "")
    else:
        shown = request.headers.get("zt-csrf", "")
    if isinstance(who, Visitor) and not hmac.compare_digest(shown.encode(), who.csrf.encode()):
        raise InputError("FORM_STALE", "the form is not one of this session")
    request.scope[_FORM] = found
