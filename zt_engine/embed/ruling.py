"""What an application asks, and what it is answered."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as the application's server read it from the wire."""

    method: str
    target: bytes
    """The request target as it was sent: path and query, undecoded (RFC 9112, 3.2)."""
    headers: tuple[tuple[bytes, bytes], ...]
    """In order, repeats included. Host has to be there."""
    scheme: str
    address: str
    """The client's IP address."""
    certificate: bytes = b""
    """PEM of a client certificate that the server has verified."""
    request_id: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))

    def __repr__(self) -> str:
        return f"Asked({self.request_id!r}, {self.method!r})"


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about one request, with the answer that a client gets when it is refused."""

    allowed: bool
    status: int
    """200, 401 when a stronger or fresher sign-in would help, else 403."""
    reason: str
    """The first code of a denial; empty when allowed."""
    decision_id: str
    request_id: str
    subject: str
    device: str
    groups: tuple[str, ...]
    label: str
    """Code of the label that was decided about: nothing above it may be served."""
    trust: int
    obligations: Mapping[str, str]
    """Id to value, empty where it has none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the answer to the client, when refused."""
    body: bytes = b""

    def __bool__(self) -> bool:
        raise TypeError("ask `ruling.allowed`: a ruling is always something")


class Decides(Protocol):
    """Whoever decides; `zt_engine.Engine` does."""

    def submit(self, asked: Asked) -> Future[Ruling]:
        """Decide a request; the future never fails: whatever breaks is a ruling that denies."""
        ...

    def late(self, asked: Asked, ruling: Ruling, labels: tuple[str, ...]) -> Future[Ruling | None]:
        """Judge the labels of a response to an allowed request: a denial (LATE_DENY) when one is above the granted."""
        ...
