"""A body that is written straight to its connection: what thousands are sent is framed once, and waits for nobody.

A server that can do so puts a `Sink` into the scope of a request (`zt_engine.adapters.direct_answer`); without one a
body goes the way of every other.
"""

from __future__ import annotations

from typing import Final, Protocol

from starlette.types import Scope

EXTENSION: Final = "zt.sink"


class Sink(Protocol):
    """The connection of one response, whose head was sent."""

    @property
    def waiting(self) -> int:
        """How many bytes the other side has not taken yet."""
        ...

    def write(self, framed: bytes) -> None:
        """Send what `framed` made; never waits."""
        ...

    def end(self, *, at_once: bool = False) -> None:
        """End the body and the connection; `at_once` without sending what waits."""
        ...


def framed(content: bytes) -> bytes:
    """Return a piece of a body as HTTP/1.1 sends it in chunks."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def sink_of(scope: Scope) -> Sink | None:
    """Return the sink of a request, if the server has such a thing."""
    found: Sink | None = scope.get("extensions", {}).get(EXTENSION)
    return found
