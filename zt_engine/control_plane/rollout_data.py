"""What a snapshot says of staged rollouts, to whoever knows nothing yet or was away."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from zt_engine.control_plane.rollouts import RELEASE, Held, aborted_data, event_data, newest, under_way
from zt_engine.core.rollout import Staged
from zt_engine.ports.inventory import Transaction


def staged_data(tx: Transaction) -> Iterator[tuple[str, bytes]]:
    """Yield what a snapshot says of rollouts, behind everything else it says.

    Whoever was away while a release was taken back still has it, and nothing else would tell them.
    """
    for held in reversed(newest(tx)):
        if held.state == "running" and held.type != RELEASE:
            yield held.type, event_data(held.staged, bytes(held.record), held.reached)
        elif held.state == "aborted" and held.type == RELEASE and _rolled_back(tx, held):
            yield "rollout.aborted", aborted_data(held.staged.ref_seq, held.why)


def release_notice(tx: Transaction, notice: bytes, *, settled: bool) -> bytes:
    """Return the notice of a release as a snapshot tells it: if it was staged, with the rings reached."""
    told = msgspec.json.decode(notice)
    if told.get("staged") is None:
        return notice
    staged = msgspec.convert(told["staged"], Staged)
    running = [held.reached for held in under_way(tx) if held.staged.ref_seq == staged.ref_seq]
    reached = tuple(ring.name for ring in staged.rings) if settled else next(iter(running), ())
    return msgspec.json.encode({**told, "reached": reached})


def _rolled_back(tx: Transaction, held: Held) -> bool:
    release = tx.releases.get(int(held.object.partition(":")[2]))
    return release is not None and release.state == "rolled_back"
