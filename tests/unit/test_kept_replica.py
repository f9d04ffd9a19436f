"""What a sidecar kept is signed anew when a key has left: each sidecar at a time of its own, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stream_support import CLOCKS, KEY, OTHER_KEY, TENANT, Follower, batch, changed, level, person, snapshot
from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.bootstrap.kept_replica import AGAIN_SECONDS, LEAST_SECONDS, SPREAD_SECONDS, KeptReplica
from zt_engine.core.errors import UnavailableError


class Client:
    """Answers with a snapshot, or not at all."""

    def __init__(self) -> None:
        self.asked = self.least = 0
        self.parts: list[bytes] = []

    async def snapshot(self, *, least: int) -> AsyncIterator[bytes]:
        self.asked += 1
        self.least = least
        if not self.parts:
            raise UnavailableError("STREAM_DOWN", "nobody answers")
        for part in self.parts:
            yield part


class Sidecar:
    """One that follows the stream and keeps it in a folder."""

    def __init__(self, folder: Path, *, member: str = "m", drawn: float = 0.5) -> None:
        self.disk = ReplicaDisk(folder, member=member)
        self.follower = Follower()
        self.sync = self.follower.sync
        self.client = Client()
        self.elapsed = 0.0
        self.kept = KeptReplica(
            self.disk, self.client, self.sync, tenant=TENANT,  # type: ignore[arg-type]
            draw=lambda: drawn, elapsed=lambda: self.elapsed,
        )  # fmt: skip

    def begin(self) -> None:
        self.kept.load(lambda: CLOCKS)
        assert self.disk.acquire()
        self.sync.keep = self.disk

    def turned(self, elapsed: float) -> int:
        """How often it has asked after a turn at this time."""
        self.elapsed = elapsed
        asyncio.run(self.kept.turn())
        return self.client.asked

    def rotated(self) -> None:
        """Have the key that signed everything leave, for another."""
        self.sync.keys = {OTHER_KEY.key_id: OTHER_KEY.public()}
        self.disk.keys_left({KEY.key_id: KEY.jwk})
        self.written()

    def written(self) -> None:
        """Wait until the disk has what was given to it."""
        self.disk._jobs.close()


def one_that_kept(folder: Path, **how: object) -> Sidecar:
    sidecar = Sidecar(folder, **how)  # type: ignore[arg-type]
    sidecar.begin()
    for part in snapshot(5, [level(0), changed()], [person()]):
        sidecar.follower.take("snapshot", part)
    sidecar.follower.take("batch", batch(6, level(1)))
    return sidecar


def started(folder: Path, **how: object) -> int:
    """How far one comes that starts with the next key alone."""
    after = Sidecar(folder, **how)  # type: ignore[arg-type]
    after.sync.keys = {OTHER_KEY.key_id: OTHER_KEY.public()}
    after.kept.load(lambda: CLOCKS)
    after.disk.close()
    assert set(after.sync.keys) == {OTHER_KEY.key_id}  # for what comes, the one that left counts for nothing
    return after.sync.position.seq


def test_what_a_key_that_left_has_signed_is_taken_up_at_a_start_and_by_the_same_member_only(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path)
    sidecar.rotated()
    sidecar.disk.close()

    assert started(tmp_path) == 6
    assert started(tmp_path, member="another") == 0


def test_what_another_key_signed_is_not_taken_up_because_one_has_left(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path)
    sidecar.disk.keys_left({"another": {**KEY.jwk}})  # an id that is not this key's
    sidecar.disk.close()

    assert started(tmp_path) == 0


@pytest.mark.parametrize("drawn", [0.0, 0.25, 1.0])
def test_a_snapshot_is_asked_for_in_a_time_of_its_own_after_a_key_has_left(tmp_path: Path, drawn: float) -> None:
    sidecar = one_that_kept(tmp_path, drawn=drawn)
    assert sidecar.turned(1000.0) == 0
    sidecar.rotated()
    due = 1001.0 + LEAST_SECONDS + SPREAD_SECONDS * drawn

    assert sidecar.turned(1001.0) == 0
    assert sidecar.turned(due - 0.1) == 0
    assert sidecar.turned(due) == 1
    sidecar.disk.close()


def test_once_everything_is_signed_anew_the_key_that_left_is_forgotten(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path, drawn=0.0)
    sidecar.rotated()
    sidecar.client.parts = snapshot(6, [level(1), changed()], [person()], key=OTHER_KEY)
    sidecar.turned(0.0)

    assert sidecar.turned(LEAST_SECONDS) == 1
    sidecar.written()
    assert sidecar.disk.former == {}
    assert KEY.key_id not in (tmp_path / "former-keys.json").read_text()
    assert sidecar.turned(10 * AGAIN_SECONDS) == 1
    sidecar.disk.close()
    assert started(tmp_path) == 6


def test_a_snapshot_that_was_made_for_others_since_the_key_left_will_do(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path, drawn=0.0)
    sidecar.rotated()
    sidecar.turned(0.0)
    sidecar.follower.take("batch", batch(7, level(2), key=OTHER_KEY))
    sidecar.follower.take("batch", batch(8, level(3), key=OTHER_KEY))
    sidecar.client.parts = snapshot(7, [level(2), changed()], [person()], key=OTHER_KEY)

    sidecar.turned(LEAST_SECONDS)
    sidecar.disk.close()
    assert sidecar.client.least == 6  # not the place it has come to by now
    assert sidecar.disk.former == {}
    assert started(tmp_path) == 8


def test_what_replaced_everything_meanwhile_is_not_replaced_by_something_older(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path, drawn=0.0)
    sidecar.rotated()
    sidecar.turned(0.0)
    for part in snapshot(20, [level(2), changed()], [person()], key=OTHER_KEY):
        sidecar.follower.take("snapshot", part)
    sidecar.client.parts = snapshot(7, [level(2), changed()], [person()], key=OTHER_KEY)

    sidecar.turned(LEAST_SECONDS)
    sidecar.disk.close()
    assert started(tmp_path) == 20


def test_a_snapshot_by_the_key_that_left_or_none_changes_nothing_and_is_asked_for_again(tmp_path: Path) -> None:
    sidecar = one_that_kept(tmp_path, drawn=0.0)
    sidecar.rotated()
    before = (tmp_path / "snapshot.jws").read_bytes()
    sidecar.turned(0.0)
    sidecar.turned(LEAST_SECONDS)
    sidecar.client.parts = snapshot(6, [level(4)])

    assert sidecar.turned(LEAST_SECONDS + AGAIN_SECONDS) == 2
    sidecar.written()
    assert (tmp_path / "snapshot.jws").read_bytes() == before
    assert set(sidecar.disk.former) == {KEY.key_id}
    sidecar.disk.close()
    assert started(tmp_path) == 6
