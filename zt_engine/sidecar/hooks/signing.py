"""The ways that a refusal shows: to sign in, to have the device confirmed, and back to what was asked for."""

from __future__ import annotations

import re
from urllib.parse import urlencode

MAX_TARGET = 2048
_TOO_WEAK = 'error="insufficient_user_authentication"'
_WANTED = re.compile(r'(acr_values|max_age)="([^"]{1,256})"')


def way_back(to: str) -> str:
    """Return a target of this host that is no page of ours, `/` for anything else."""
    own = to.startswith("/") and not to.startswith(("//", "/\\", "/.zt/")) and len(to) <= MAX_TARGET
    return to if own else "/"


def sign_in_link(to: str, challenge: str) -> str:
    """Return the way to sign in as a challenge asks for (RFC 9470), and to come back.

    Whose sign-in was too weak or is too old may use a key; who has none is sent on to sign in.
    """
    page = "/.zt/step-up?" if _TOO_WEAK in challenge else "/.zt/login?"
    return page + urlencode({"to": way_back(to), **dict(_WANTED.findall(challenge))})


def device_link(to: str) -> str:
    """Return the way to have the device confirmed by the agent on it, and to come back."""
    return "/.zt/device?" + urlencode({"to": way_back(to)})
