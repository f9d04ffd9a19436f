"""One request at `/.zt/` as the pages there see it: everything about who asks, and from where, is proven."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.request import AccessRequest
from zt_engine.pages.denied import spoken_by
from zt_engine.sidecar.browser.wire import Raw
from zt_engine.sidecar.hooks.reading import Sent

MAX_VALUE = 1024


class RetoldError(InputError):
    """A refusal whose code stands in the address: shown to the person, and nothing that happened in this request."""


class Visit(msgspec.Struct, frozen=True):
    """What a page is asked. `request` has host, certificate and session, each as the hook proves it."""

    request: AccessRequest
    sent: Sent
    query: Mapping[str, str]
    """The query, which proves nothing."""
    raw: Raw
    person: str = ""
    """The language of whoever's session it is, as far as the identity provider says it."""

    @property
    def language(self) -> str:
        """What the browser says in `Accept-Language`, and behind all of that the person's own."""
        return spoken_by(value_of(self.raw, b"accept-language"), self.person)

    @property
    def accept(self) -> str:
        """What the browser says in `Accept`."""
        return value_of(self.raw, b"accept")


Page = Callable[[Visit], Awaitable[bytes]]
"""Answers one visit (`answers.answer`); whatever it raises as ZtError becomes a page that says what to do."""
Pages = Mapping[tuple[bytes, bytes], Page]
"""By method and path. What is not GET comes from a page of the very origin, or is refused before anybody is asked."""


def value_of(raw: Raw, name: bytes) -> str:
    """Return one header, at most `MAX_VALUE` of it, empty where there is none."""
    found = next((value for key, value in raw.headers.items() if key.lower() == name), b"")
    return found[:MAX_VALUE].decode("latin-1")
