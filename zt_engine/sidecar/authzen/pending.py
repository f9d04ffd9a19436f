"""What the listener, the answers and the log pass between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from zt_engine.sidecar.outcomes import Outcome

Record = tuple[Outcome, bytes]
"""A decision and its line of the log."""


class Journal(Protocol):
    """The decision log, as `ports.DecisionLog`, that somebody else may write as well."""

    @property
    def generation(self) -> int: ...

    def append(self, body: bytes, *, sync: bool = False) -> None: ...

    def store_input(self, digest: str, canonical: bytes) -> None: ...

    def discard(self) -> None: ...

    def flush(self) -> None: ...


class Asked(NamedTuple):
    """One request, read; nothing of it is proven yet."""

    path: bytes
    method: bytes
    headers: dict[bytes, bytes]
    """By names in lower case; those that count come once."""
    body: bytes
    names: tuple[str, ...]
    """The names of the client certificate, verified by TLS."""
    raw: bytes = b""
    """All its bytes, when they came as one and the connection goes on."""


class Pending(msgspec.Struct, gc=False):
    """One answer, waiting for the end of its turn."""

    response: bytes
    unlogged: Callable[[], bytes] | None = None
    """Makes the answer that leaves if the log cannot be written."""
    records: tuple[Record, ...] = ()
    redo: Callable[[], Pending] | None = None
    """Decides again, for records that must be made anew."""
