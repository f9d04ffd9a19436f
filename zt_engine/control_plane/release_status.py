"""Who has a release, who has not, since when, why: sidecars by what they acknowledge, OPAs by their status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from zt_engine.control_plane.rollouts import Held
from zt_engine.control_plane.sidecars import SILENT_SECONDS
from zt_engine.core.rollout import Place, Rollout, belongs
from zt_engine.ports.inventory import SidecarRecord
from zt_engine.ports.releases import KeptRelease, OpaClient

OPA_SILENT_SECONDS: Final = 900
"""An OPA says something only when something happens; one that polls for long says it this often at least."""
Why = Literal["never_heard", "disconnected", "refused", "behind"]


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has not got a release."""

    name: str
    kind: Literal["sidecar", "opa"]
    since: int
    why: Why
    refusals: tuple[str, ...] = ()
    has: str = ""
    """The number of the release, or the revision, that is active there."""
    seen_at: int = 0


def release_status(
    kept: KeptRelease,
    *,
    sidecars: Sequence[SidecarRecord],
    clients: Sequence[OpaClient],
    now: float,
    held: Held | None = None,
) -> dict[str, Any]:
    """Return who has a release and who has not. Whoever has a later one has got further.

    `held` is its rollout: whoever is in no ring that was reached is to have it `later`.
    """
    later: list[str] = []
    has: list[dict[str, Any]] = []
    missing: list[Missing] = []
    released = kept.released_at or kept.submitted_at
    for one in sidecars:
        if one.revoked_at is not None:
            continue
        if one.bundle_seq > kept.seq or (one.bundle_seq == kept.seq and one.bundle_digest == kept.bundle_digest):
            has.append({"name": one.id, "kind": "sidecar", "has": str(one.bundle_seq)})
            continue
        if held is not None and not _turn(held, one):
            later.append(one.id)
            continue
        missing.append(
            Missing(
                name=one.id,
                kind="sidecar",
                since=max(released, one.joined_at),
                why=_why(one.seen_at, SILENT_SECONDS, refused=bool(one.refusals), now=now),
                refusals=one.refusals,
                has=str(one.bundle_seq or ""),
                seen_at=one.seen_at,
            )
        )
    for client in clients:
        if client.revision == kept.revision:
            has.append({"name": client.name, "kind": "opa", "has": client.revision})
            continue
        if held is not None and held.state == "running":  # an OPA gets what everybody is to have
            later.append(client.name)
            continue
        missing.append(
            Missing(
                name=client.name,
                kind="opa",
                since=released,
                why=_why(client.seen_at, OPA_SILENT_SECONDS, refused=bool(client.code), now=now),
                refusals=(client.code,) if client.code else (),
                has=client.revision,
                seen_at=client.seen_at,
            )
        )
    return {
        "seq": kept.seq,
        "state": kept.state,
        "revision": kept.revision,
        "released_at": kept.released_at,
        "has": has,
        "missing": msgspec.to_builtins(missing),
        "later": later,
        "rollout": None if held is None else _rollout(held, sidecars, {one["name"] for one in has}),
    }


def _turn(held: Held, sidecar: SidecarRecord) -> bool:
    if held.state == "complete":
        return True
    rollout = Rollout(staged=held.staged, reached=frozenset(held.reached), aborted=held.state == "aborted")
    return held.staged.mode == "enforce" and rollout.among(_place(sidecar))


def _rollout(held: Held, sidecars: Sequence[SidecarRecord], having: set[str]) -> dict[str, Any]:
    """Return its rings, each with everybody of those before it, as far as they joined."""
    rings: list[dict[str, Any]] = []
    inside: set[str] = set()
    for ring in held.staged.rings:
        known = (one for one in sidecars if one.revoked_at is None)
        inside |= {one.id for one in known if belongs(_place(one), ring, held.staged.ref_seq)}
        reached = held.staged.mode == "enforce" and ring.name in held.reached
        rings.append({"name": ring.name, "reached": reached, "sidecars": len(inside), "has": len(inside & having)})
    return {"ref_seq": held.staged.ref_seq, "state": held.state, "mode": held.staged.mode, "rings": rings}


def _place(sidecar: SidecarRecord) -> Place:
    return Place(sidecar=sidecar.id, site=sidecar.site, labels=sidecar.labels)


def _why(seen_at: int, silent: int, *, refused: bool, now: float) -> Why:
    if not seen_at:
        return "never_heard"
    if now - seen_at > silent:
        return "disconnected"
    return "refused" if refused else "behind"
