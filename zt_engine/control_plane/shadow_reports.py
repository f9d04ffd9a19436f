"""What shadows said of rollouts, each sidecar its newest word; gone with the rollout it was about."""

from __future__ import annotations

from typing import Final

import msgspec

from zt_engine.core.guards import ShadowReport
from zt_engine.ports.inventory import Transaction

STALE_SECONDS: Final = 600
"""A report that is older says nothing about now."""


class _Kept(msgspec.Struct):
    at: int
    report: ShadowReport


def keep_report(tx: Transaction, sidecar: str, told: ShadowReport, *, now: int) -> None:
    """Put a report in place of what this sidecar said before."""
    tx.situation.put(_kind(told.ref_seq), sidecar, msgspec.json.encode(_Kept(now, told)))


def reports_of(tx: Transaction, ref_seq: int, *, now: int) -> list[tuple[str, ShadowReport]]:
    """Return what the shadow of each sidecar has seen, as long as it goes on saying so and was not cut off."""
    cut_off = {one.id for one in tx.sidecars.all() if one.revoked_at is not None}
    found = []
    for sidecar, body in tx.situation.all(_kind(ref_seq)).items():
        kept = msgspec.json.decode(body, type=_Kept)
        if now - kept.at <= STALE_SECONDS and sidecar not in cut_off:
            found.append((sidecar, kept.report))
    return found


def forget_reports(tx: Transaction, ref_seq: int) -> None:
    """Remove what was said of a rollout that is remembered no more."""
    for sidecar in tx.situation.all(_kind(ref_seq)):
        tx.situation.put(_kind(ref_seq), sidecar, None)


def _kind(ref_seq: int) -> str:
    return f"shadow:{ref_seq}"
