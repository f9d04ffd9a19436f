"""The ways that a refusal shows: to sign in, to have the device confirmed, and back to what was asked for."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from zt_engine.core.errors import InputError
from zt_engine.core.session import check_return
from zt_engine.core.wish import Wish

MAX_TARGET = 2048
"""It stands twice in a page, among other things; signing in itself takes longer ones."""
_TOO_WEAK = 'error="insufficient_user_authentication"'
_WANTED = re.compile(r'(acr_values|max_age)="([^"]{1,256})"')


def way_back(to: str) -> str:
    """Return a target that signing in leads back to, `/` for anything else."""
    try:
        check_return(to)
    except InputError:
        return "/"
    return to if len(to) <= MAX_TARGET else "/"


def sign_in_link(to: str, challenge: str) -> str:
    """Return the way to sign in as a challenge asks for (RFC 9470), and to come back.

    Whose sign-in was too weak or is too old may use a key; who has none is sent on to sign in.
    """
    page = "/.zt/step-up?" if _TOO_WEAK in challenge else "/.zt/login?"
    return page + urlencode({"to": way_back(to), **dict(_WANTED.findall(challenge))})


def wished_link(to: str, wish: Wish) -> str:
    """Return the way to ask the identity provider once more for what it did not say, and to come back."""
    age = {} if wish.max_age is None else {"max_age": wish.max_age}
    acr = {"acr_values": wish.acr_values} if wish.acr_values else {}
    return "/.zt/login?" + urlencode({"to": way_back(to), **acr, **age})


def device_link(to: str) -> str:
    """Return the way to have the device confirmed by the agent on it, and to come back."""
    return "/.zt/device?" + urlencode({"to": way_back(to)})
