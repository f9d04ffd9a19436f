"""The cookies a browser is given: with which attributes each is set, and how the one of a name is read.

A session's own cookie is read by `session.session_handle`, which refuses what only counts as not sent here.
"""

from __future__ import annotations

import re
from typing import Final

FIXED: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
"""Of every cookie: no page can read it, no other host is sent it (with the prefix `__Host-`)."""


def issued(name: str, value: str, *, seconds: int) -> str:
    """Return the Set-Cookie value that gives a cookie."""
    return f"{name}={value}; {FIXED}; Max-Age={seconds}"


def gone(name: str) -> str:
    """Return the Set-Cookie value that takes a cookie away."""
    return issued(name, "", seconds=0)


class Ticket:
    """A cookie by its name; `shape` is the regular expression of a value that is read."""

    def __init__(self, name: str, shape: str) -> None:
        self.name: Final = name
        self._member = re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}=({shape})(?=;|$)".encode("ascii"))

    def read(self, cookies: bytes) -> str:
        """Return the value in a Cookie header: empty without one, and with two, of which one is not ours."""
        found = self._member.findall(cookies)
        return found[0].decode("ascii") if len(found) == 1 else ""


SIGN_IN: Final = Ticket("__Host-zt-login", r"[A-Za-z0-9_-]{1,128}")
"""Ties a sign-in to the browser that began it."""
SIGN_OUT: Final = Ticket("__Host-zt-leaving", r"[A-Za-z0-9_-]{43}")
"""Ties the way back from the provider's sign-out to the browser that was sent there."""
SIGN_OUT_SECONDS: Final = 600
