"""What an audit of a decision log found."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something an auditor should know, with `file:line`."""

    code: str
    where: str
    message: str = ""


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """One chain: lines `first` to `count - 1` are there, those before `anchored` are proven."""

    chain: str
    sidecar: str
    segments: int
    first: int
    count: int
    anchored: int

    @property
    def present(self) -> int:
        return self.count - self.first

    @property
    def proven(self) -> int:
        return max(0, min(self.anchored, self.count) - self.first)


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result; `faults` empty means that what is anchored is what was written."""

    chains: tuple[ChainReport, ...]
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def records(self) -> int:
        return sum(chain.present for chain in self.chains)

    @property
    def anchored(self) -> int:
        return sum(chain.proven for chain in self.chains)

    @property
    def unanchored(self) -> int:
        return self.records - self.anchored
