"""The seams of OPA clients at the control plane: who they are, and where their decision logs go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class OpaClientVerifier(Protocol):
    """Tells OPA clients by their tokens."""

    def verify(self, token: bytes) -> str:
        """Return the client's name, or raise InputError AUTH_REFUSED."""
        ...


class OpaLogs(Protocol):
    """Keeps the decision logs of OPA clients, each within its quota."""

    def append(self, client: str, lines: Sequence[bytes], *, now: int) -> None:
        """Add lines that hold no line break; they are on the disk on return. UnavailableError OPA_LOG_FULL."""
        ...
