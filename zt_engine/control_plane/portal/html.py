"""Pages as answers: the headers that every one of them has."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from zt_engine.pages.book import Page

HTML: Final = "text/html; charset=utf-8"


def html(page: Page, status: int = 200) -> Response:
    """Return a page as an answer."""
    headers = {
        "Content-Security-Policy": page.security_policy,
        "Content-Language": page.language,
        "Cache-Control": "no-store",
        # Not `no-referrer`: with that a browser says `Origin: null` of the forms of this very site.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Vary": "Accept-Language, Cookie",
    }
    return Response(page.body, status, headers, HTML)


def see_other(path: str, *cookies: str) -> Response:
    """Send a browser to another page of this site: what was posted is not posted again by going back or reloading."""
    answer = Response(status_code=303, headers={"Location": path, "Cache-Control": "no-store"})
    for cookie in cookies:
        answer.headers.append("Set-Cookie", cookie)
    return answer
