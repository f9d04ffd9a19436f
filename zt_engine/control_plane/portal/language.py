"""In which language a page is: chosen, else asked for by the browser, else the person's, else the installation's."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request
from starlette.responses import Response

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.headers import cookies_of
from zt_engine.core.cookies import issued
from zt_engine.pages.book import LANGUAGES, Language
from zt_engine.pages.denied import language_of

COOKIE: Final = "zt-lang"
YEAR: Final = 31_536_000
_CHOSEN: Final = re.compile(rb"(?:^|;)[ \t]*zt-lang=(ja|en)(?=;|$)")
_ASKED: Final = re.compile(rb"(?:^|&)lang=(ja|en)(?=&|$)")


def language_asked(plane: ControlPlane, request: Request, *, person: str = "") -> Language:
    """Return the language of the answer to a request; `person` is the language of whoever is known to ask."""
    chosen = choice(request) or _kept(request)
    own = language_of(person, default=plane.settings.language)
    found = chosen or language_of(request.headers.get("accept-language", ""), default=own)
    return next((one for one in LANGUAGES if one == found), plane.settings.language)


def choice(request: Request) -> str:
    """Return the language that this very request chooses, if it does."""
    found = _ASKED.search(request.scope.get("query_string", b""))
    return found[1].decode("ascii") if found else ""


def keep(answer: Response, request: Request) -> Response:
    """Have the browser remember a choice."""
    if chosen := choice(request):
        answer.headers.append("Set-Cookie", issued(COOKIE, chosen, seconds=YEAR))
    return answer


def _kept(request: Request) -> str:
    found = _CHOSEN.search(cookies_of(request))
    return found[1].decode("ascii") if found else ""
