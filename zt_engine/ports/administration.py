"""The seams of the administrators' side: whose credential this is, and whether a record reads as sidecars read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from zt_engine.core.approval import Approval
from zt_engine.core.identity import SubjectRecord

Role = Literal["connector", "viewer", "helpdesk", "approver", "security", "owner"]
RecordKind = Literal["overlay", "grant", "revocation", "continuity"]


class Claimant(msgspec.Struct, frozen=True, kw_only=True):
    """Who a credential of an administrator belongs to."""

    name: str
    actor: str
    """As audit events name them: `admin:NAME` or `person:ISSUER|SUB`."""
    role: Role
    service: str = ""
    """The one service they answer for; they may then publish what is its own, and nothing else."""
    aliases: frozenset[str] = frozenset()
    """Every other name they go by in records: nobody is a second person to themselves."""


class AdministratorVerifier(Protocol):
    """Admin keys, and tokens of administrators. Called from several threads."""

    def verify(self, token: bytes, *, now: float) -> Claimant:
        """Return whose credential this is, or raise InputError AUTH_REFUSED or a TOKEN_ code."""
        ...


class RecordReader(Protocol):
    """Reads what administrators write with the eyes of a sidecar. Raises ConfigError with every fault."""

    def subject(self, raw: bytes) -> SubjectRecord:
        """Return a subject's record."""
        ...

    def check(self, kind: RecordKind, raw: bytes) -> None:
        """Refuse a record that sidecars would refuse, and a loosening whose approvals do not hold."""
        ...

    def lowering(self, record: Mapping[str, object], approvals: Sequence[Approval]) -> tuple[str, ...]:
        """Return who approves that the threat level goes down, two people or more; nobody, where nobody could."""
        ...
