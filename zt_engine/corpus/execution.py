"""What a backend executed, as the program behind it would read the request, and the allow that has to exist for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

MARK = "Corpus-Probe"
"""The header that says which probe a request belongs to. No proxy and no gate has a reason to touch it."""
RECORD = b"corpus-execution:"
"""What a line of a backend's answer begins with, in its head or in its body, that is a record."""

IDENTITY_HEADER = "Zt-Subject"
"""The header that says who asks, unless a runner and its backend are told another one."""
IDENTITY = (
    "zt-subject", "zt-device", "zt-groups", "zt-max-label", "zt-trust", "zt-obligations", "zt-assertion", "zt-decision",
)  # fmt: skip


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One request that reached a backend, in the readings one kind of stack may have of it."""

    stack: str
    probe: str = ""
    target: str = ""
    """The request target as it arrived."""
    methods: tuple[str, ...] = ()
    """The method, and what override headers make of it."""
    hosts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    """Decoded paths: the stack's own, and those that code on this stack commonly derives."""
    identity: Mapping[str, str] = {}
    """Lower-case name -> value as this stack reads it; what is absent is empty."""

    def said(self, name: str) -> str:
        """Return an identity value, empty when there is none."""
        return self.identity.get(name, "")


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """One allow of the decision service."""

    decision: str
    method: str
    host: str
    path_digest: str
    subject: str = ""
    device: str = ""
    label: str = ""
    trust: str = ""


class Witness(Protocol):
    """Who knows what was allowed. Without one, only what a probe may execute is compared."""

    def allow(self, decision: str) -> Allow | None:
        """Return the allow of this id, or None."""

    def allow_of_path(self, digest: str) -> Allow | None:
        """Return the last allow for a path, or None."""

    def digest(self, path: bytes) -> str:
        """Return how the decision service writes a canonical path down."""


def executions(answer: bytes) -> Iterable[Execution]:
    """Read the records out of what a stack answered."""
    decode = msgspec.json.Decoder(Execution).decode
    for line in answer.split(b"\n"):
        if line.startswith(RECORD):
            yield decode(line[len(RECORD) :].strip())
