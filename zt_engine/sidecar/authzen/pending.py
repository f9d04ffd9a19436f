"""What the listener, the answers and the log pass between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.authzen.evaluation import RuleMemory
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.outcomes import Outcome

ONE, NONE = -1, -2
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


class Warm(msgspec.Struct, gc=False):
    """What a request came to and who asked, with everything of its answer and record that repeating does not change."""

    memory: Memory | RuleMemory
    pep: Pep
    middle: bytes = b""
    """Of the line of the log: what stands between the request's id and its time. Empty: nothing is written out yet."""
    before: bytes = b""
    after: bytes = b""
    """Of the body: what stands before the decision's id, and behind it."""
    length: int = 0
    """Of both."""


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
    """One answer, waiting for the end of its turn, with its record or its records."""

    response: bytes
    outcome: Outcome | None = None
    line: bytes = b""
    warm: Warm | None = None
    """What was repeated."""
    number: bytes = b""
    records: tuple[Record, ...] = ()
    denied: Denied | None = None
    """What leaves if the log cannot be written; None, and nothing repeated: this was no decision."""
    again: Callable[[], Pending] | None = None
    """Decides again, for records that must be made anew."""


class Denied(msgspec.Struct, frozen=True, gc=False):
    """The shape of an answer that is denied as a whole."""

    context: bool
    number: bytes
    items: int = ONE
    """How many decisions it has: one alone, a list of so many, or none, as a search has."""
