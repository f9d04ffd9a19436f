"""A browser's session: what its cookie proves, and what is known of it.

The cookie is a handle, 256 random bits, and nothing else. Whoever keeps or carries sessions knows them by the handle's
digest, so neither the change stream nor a stolen database is a pocket full of cookies. Nothing is signed or encrypted
with a key that would have to be everywhere: a handle that nobody knows proves nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.jose import to_base64url

COOKIE = b"__Host-zt-session"
"""The prefix makes browsers refuse it for a sub-domain, another path or plain HTTP (RFC 6265bis, 4.1.3.2)."""
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
MAX_COOKIE_BYTES = 16_384
MAX_RETURN = 4096
LOCALE = "locale"
"""The claim with the language of a person's profile. It chooses words and decides nothing."""

_HANDLE = re.compile(rb"[A-Za-z0-9_-]{43}")
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,4}")
_MEMBER = re.compile(rb"(?:^|;)[ \t]*" + re.escape(COOKIE) + rb"=([^;]*)")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Words = Annotated[str, msgspec.Meta(max_length=512)]


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session as sidecars know it. `version` grows with every change; an ended session is no record any more."""

    sid: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]
    """base64url SHA-256 of the handle in the cookie."""
    version: Annotated[int, msgspec.Meta(ge=1)]
    host: _Text
    """The only host the cookie counts at; with its `__Host-` name a browser sends it nowhere else anyway."""
    issuer: _Text
    subject: _Text
    client_id: _Text
    claims: Mapping[str, object]
    """Those of the ID token that subject fields may come from."""
    acr: _Words = ""
    amr: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=32)] = ()
    auth_time: int | None = None
    provider_session: _Words = ""
    """`sid` of the identity provider, by which it ends sessions."""
    device_id: _Words = ""
    """The device whose certificate was shown when the session began: from any other, and without it, nothing opens."""
    until: Annotated[int, msgspec.Meta(ge=0)]
    """The instant after which it proves nothing, unless it was refreshed."""

    def __repr__(self) -> str:
        return f"SessionRecord({self.sid[:8]!r}, {self.subject!r}, until={self.until})"


def language_of_person(claims: Mapping[str, object]) -> str:
    """Return the language that the provider says is somebody's (`locale`, OpenID Connect Core, 5.1); empty for none."""
    said = claims.get(LOCALE)
    return said.replace("_", "-") if isinstance(said, str) and _TAG.fullmatch(said) else ""


def sid_of(handle: bytes) -> str:
    """Return the digest by which a handle's session is known."""
    return to_base64url(hashlib.sha256(handle).digest())


def session_handle(cookies: bytes) -> bytes:
    """Return the handle in a Cookie header, empty without one.

    Raises InputError SESSION_MALFORMED for what is no handle, SESSION_DOUBLED for two: of two cookies of one name only
    one is ours, and a page cannot set either.
    """
    if COOKIE not in cookies:
        return b""
    if len(cookies) > MAX_COOKIE_BYTES:
        raise InputError("SESSION_MALFORMED", "the cookies are longer than a session takes")
    found = _MEMBER.findall(cookies)
    if len(found) > 1:
        raise InputError("SESSION_DOUBLED", "two session cookies came")
    if not found:
        return b""
    handle = bytes(found[0])
    if _HANDLE.fullmatch(handle) is None:
        raise InputError("SESSION_MALFORMED", "the session cookie is no handle")
    return handle


def require_same_origin(*, origin: bytes, fetch_site: bytes, expected: bytes) -> None:
    """Require that a request that changes something comes from a page of this very origin; else SESSION_CROSS_SITE.

    A browser says so itself: `Sec-Fetch-Site`, or `Origin` where it is older. One that says neither is refused.
    """
    if fetch_site:
        if fetch_site in (b"same-origin", b"none") and origin in (b"", expected):
            return
        # A page with `Referrer-Policy: no-referrer` keeps even from its own site which it is: the browser then writes
        # `null` there (Fetch, "append a request Origin header"). An opaque origin is never `same-origin`.
        if (fetch_site, origin) == (b"same-origin", b"null"):
            return
    elif origin == expected:
        return
    raise InputError("SESSION_CROSS_SITE", "a request that changes something came from another site's page")


def check_return(to: str) -> None:
    """Require a path of the very host a browser came from; raises InputError SIGN_IN_RETURN for anything else.

    Browsers take two slashes, a backslash and control characters for other things than a path.
    """
    plain = to.isascii() and to.isprintable() and " " not in to and "\\" not in to
    if not plain or not to.startswith("/") or to.startswith(("//", "/.zt/")) or len(to) > MAX_RETURN:
        raise InputError("SIGN_IN_RETURN", "this is no page of this site to return to")
