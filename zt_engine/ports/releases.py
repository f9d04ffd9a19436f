"""The seams of policy releases at the control plane: where bundles and releases are kept, and who judges a candidate.

A bundle is kept by the digest of its bytes and never changes. A release is kept by its number with what became of it;
its record, approvals and notice are kept as they were signed and are told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from zt_engine.core.approval import Approval
from zt_engine.core.release import Release
from zt_engine.core.weakening import Weakening

ReleaseState = Literal["waiting", "released", "watched", "withdrawn", "refused", "rolled_back"]
"""`watched`: told to everybody and never in force, because its rollout is report-only."""


class KeptRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release as the control plane keeps it, and what became of it."""

    seq: int
    state: ReleaseState
    content_digest: str
    bundle_digest: str
    revision: str
    """The revision of its bundle: what an OPA says it has."""
    way_back: str
    notice: msgspec.Raw
    """The `ReleaseNotice` as JSON: `data` of `bundle.released`."""
    author: str = ""
    submitted_by: str = ""
    submitted_at: int = 0
    released_at: int | None = None
    not_after: int | None = None
    rollback: bool = False
    """Whether it returned to what its predecessor named as its way back."""
    approvals_needed: int = 0
    """As its record says."""
    settled: bool = True
    """Whether everybody is to have it: False while it is staged and has not reached its last ring."""
    why: str = ""
    """The code why it was refused or ended, or the words of whoever withdrew it."""


class OpaClient(msgspec.Struct, frozen=True, kw_only=True):
    """What an OPA that fetches bundles said of itself last."""

    name: str
    revision: str = ""
    seen_at: int = 0
    code: str = ""
    """OPA's own code of its last failure."""
    message: str = ""
    labels: dict[str, str] = {}


class BundleStore(Protocol):
    """The bundles of the tenant, by the SHA-256 of their bytes."""

    def has(self, digest: str) -> bool:
        """Whether there is this bundle."""
        ...

    def get(self, digest: str) -> bytes | None:
        """Return the bytes of a bundle."""
        ...

    def put(self, digest: str, raw: bytes, *, now: int) -> None:
        """Keep a bundle; the same one again changes nothing. The caller has compared the digest."""
        ...

    def unused(self) -> Sequence[tuple[str, int]]:
        """Return digest and age (epoch seconds) of each bundle that no release names, oldest first."""
        ...

    def drop(self, digest: str) -> None:
        """Remove a bundle."""
        ...


class ReleaseStore(Protocol):
    """The releases of the tenant. Numbers have no gaps and only grow."""

    def lock(self) -> int:
        """Have releases changed by this transaction alone, until its end; return the number of the newest one."""
        ...

    def newest(self) -> int:
        """Return the number of the newest one, 0 if there is none."""
        ...

    def add(self, release: KeptRelease) -> None:
        """Insert one with the number after the newest; STORE_CONFLICT for any other number."""
        ...

    def put(self, release: KeptRelease) -> None:
        """Replace one that is there."""
        ...

    def get(self, seq: int) -> KeptRelease | None:
        """Return a release."""
        ...

    def last(self, state: ReleaseState, *, settled: bool = False) -> KeptRelease | None:
        """Return the newest one in a state; `settled`: of those that everybody is to have."""
        ...

    def page(self, *, before: int, limit: int) -> Sequence[KeptRelease]:
        """Return releases below a number (0: all), newest first."""
        ...

    def opa_clients(self) -> Sequence[OpaClient]:
        """Return every OPA that ever said something of itself, by name."""
        ...

    def put_opa_client(self, client: OpaClient) -> None:
        """Insert or replace."""
        ...


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that every sidecar would take: its revision, and what it lets through that was held back before."""

    revision: str
    weakens: tuple[Weakening, ...] = ()


class CandidateJudge(Protocol):
    """Verifies what a publisher sends as a sidecar would. Raises ZtError with the code of the first thing wrong."""

    @property
    def people(self) -> int:
        """How many people may approve."""
        ...

    @property
    def always(self) -> bool:
        """Whether every release needs two of them, not only one that weakens."""
        ...

    def read(self, record: str) -> Release:
        """Return a record that a bundle key signed."""
        ...

    def examine(self, release: Release, raw: bytes, active: bytes | None, *, active_seq: int, now: float) -> Examined:
        """Open a candidate, rehearse it, and compare it with the active bundle. Slow: never on a loop."""
        ...

    def check_time(self, release: Release, *, now: float) -> None:
        """Whether a release may be in force now."""
        ...

    def approved(self, release: Release, approvals: Sequence[Approval]) -> tuple[str, ...]:
        """Return the people who approved it; one signature that does not hold spoils all."""
        ...
