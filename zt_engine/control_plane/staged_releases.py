"""What becomes of a release by its rollout: everybody has it, or it is taken back.

INVARIANT: what a release took the place of stays in force until everybody has the release, so that taking it back leads
to just that, and nobody gets two steps back by one approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from zt_engine.control_plane.ledger import write_down
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.releases import KeptRelease, ReleaseState

SUPERSEDED: Final = "RELEASE_SUPERSEDED"
_ENDS: Final[Mapping[ReleaseState, ReleaseState]] = {
    "released": "rolled_back",
    "waiting": "refused",
    "watched": "withdrawn",
}


def settle(tx: Transaction, seq: int, *, actor: str, now: int) -> None:
    """A staged release has reached everybody: nothing older is taken from now on."""
    kept = tx.releases.get(seq)
    if kept is None:
        return
    tx.releases.put(replace(kept, settled=True))
    if kept.rollback:
        older = tx.releases.page(before=seq, limit=1000)
        left = next((one for one in older if one.state == "released"), None)
        if left is not None and left.content_digest == kept.way_back:
            _end(tx, left, "rolled_back", why=f"release {seq}", actor=actor, now=now)


def take_back(tx: Transaction, seq: int, *, why: str, actor: str, now: int) -> None:
    """A rollout was aborted: what was in force before is again, and what waits was compared with something else."""
    kept = tx.releases.get(seq)
    if kept is None or kept.state not in _ENDS:
        return
    _end(tx, kept, _ENDS[kept.state], why=why, actor=actor, now=now)
    while kept.state == "released" and (waiting := tx.releases.last("waiting")) is not None:
        _end(tx, waiting, "refused", why=SUPERSEDED, actor="system", now=now)


def _end(tx: Transaction, kept: KeptRelease, state: ReleaseState, *, why: str, actor: str, now: int) -> None:
    tx.releases.put(replace(kept, state=state, why=why))
    write_down(
        tx,
        actor=actor,
        action=f"release.{state}",
        object_=f"release:{kept.seq}",
        reason=why,
        before={"state": kept.state},
        after={"state": state, "content_digest": kept.content_digest},
        now=now,
    )
