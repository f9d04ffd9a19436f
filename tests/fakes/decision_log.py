"""A decision log that keeps its lines in memory."""

from __future__ import annotations

from zt_engine.core.decision_log import Chain
from zt_engine.core.errors import UnavailableError


class FakeDecisionLog:
    """Obeys the contract of the port; `broken` makes every write fail, as a full disk does."""

    def __init__(self) -> None:
        self.state = "ok"
        self.broken = False
        self.lines: list[bytes] = []
        self.inputs: dict[str, bytes] = {}
        self.archived: dict[tuple[str, str], bytes] = {}
        self.synced = 0
        self.generation = 0
        self._chain = Chain()
        self._new_inputs: dict[str, bytes] = {}
        self._sync = False

    def append(self, body: bytes, *, sync: bool = False) -> None:
        if b"\n" in body:
            raise ValueError("a line of the decision log holds no newline")
        self._sync = self._sync or sync
        self._chain.append(body)

    def has_input(self, digest: str) -> bool:
        return digest in self.inputs or digest in self._new_inputs

    def store_input(self, digest: str, canonical: bytes) -> None:
        if b"\n" in canonical:
            raise ValueError("a canonical input is one line")
        if not self.has_input(digest):
            self._new_inputs[digest] = canonical

    def archive(self, kind: str, digest: str, content: bytes) -> None:
        self.archived.setdefault((kind, digest), content)

    def discard(self) -> None:
        self._chain.rollback()
        self._new_inputs, self._sync = {}, False

    def flush(self) -> None:
        pending, inputs, sync = self._chain.pending, self._new_inputs, self._sync
        self._new_inputs, self._sync = {}, False
        if self.broken and (pending or inputs):
            self._chain.rollback()
            self.state = "unavailable"
            raise UnavailableError("LOG_UNAVAILABLE", "the fake is broken")
        self._chain.commit()
        self.lines += pending
        self.inputs |= inputs
        if sync:
            self.synced = len(self.lines)
