"""What a browser says in the headers of a request for a page."""

from __future__ import annotations

from fastapi import Request


def sent(request: Request, name: bytes, *, joined: bytes = b",") -> bytes:
    """Return a header; several of one name are one that is joined, which is no origin and no site."""
    return joined.join(value for key, value in request.scope["headers"] if key == name)


def cookies_of(request: Request) -> bytes:
    """Return every cookie, in however many headers they came."""
    return sent(request, b"cookie", joined=b"; ")
