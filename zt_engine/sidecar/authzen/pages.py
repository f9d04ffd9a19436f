"""Page tokens of searches: opaque, signed, bound to their caller and to everything else the first request said."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.wire import Json, encoded, malformed

LARGEST = 100
SECONDS = 600
MAC = 16
MAX_TOKEN = 2048


class Page(msgspec.Struct, frozen=True):
    """What a request says of its page: where it goes on, and how much it wants."""

    after: str | None
    """The last id that was looked at, None at the beginning."""
    limit: int


class _Token(msgspec.Struct, frozen=True, array_like=True):
    after: str | None
    until: int
    asked: bytes


class Pages:
    """Makes and reads tokens with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"authzen-page\0" + key).digest()

    def read(self, pep: Pep, path: bytes, body: Json, *, now: float) -> Page:
        """Return the page that a request wants; InputError AUTHZEN_BODY, or AUTHZEN_PAGE for a token of another."""
        page = body.get("page", {})
        if not isinstance(page, dict):
            raise malformed("`page` is no object")
        limit, text = page.get("limit", LARGEST), page.get("token", "")
        if type(limit) is not int or limit < 0:
            raise malformed("`page.limit` is no number from 0 on")
        if not isinstance(text, str) or not isinstance(page.get("properties", {}), dict):
            raise malformed("`page.token` is no string, or `page.properties` no object")
        after = None
        if text:
            token = self._open(text)
            if token is None or token.until <= now or not hmac.compare_digest(token.asked, _asked(pep, path, body)):
                raise InputError("AUTHZEN_PAGE", "`page.token` is over, or not one of this search")
            after = token.after
        return Page(after, min(limit, LARGEST))

    def write(self, pep: Pep, path: bytes, body: Json, *, after: str | None, now: float) -> str:
        """Return the token that goes on behind `after`."""
        raw = msgspec.msgpack.encode(_Token(after, int(now) + SECONDS, _asked(pep, path, body)))
        return base64.urlsafe_b64encode(self._mac(raw) + raw).rstrip(b"=").decode("ascii")

    def _open(self, text: str) -> _Token | None:
        if len(text) > MAX_TOKEN or not text.isascii():
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(raw[:MAC], self._mac(raw[MAC:])):
            return None
        return msgspec.msgpack.decode(raw[MAC:], type=_Token)

    def _mac(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, raw, "sha256")[:MAC]


def _asked(pep: Pep, path: bytes, body: Json) -> bytes:
    """Name a search without its page: every other value has to be repeated."""
    rest = {name: value for name, value in body.items() if name != "page"}
    return hashlib.sha256(encoded([pep.name, path.decode("ascii"), rest])).digest()
