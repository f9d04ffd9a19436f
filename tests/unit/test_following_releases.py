"""Only a release that holds decides: whatever else is told, served or kept changes nothing, and says why."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.release_world import OTHER, PEOPLE, TRUST, World, sketch
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.core.errors import UnavailableError
from zt_engine.core.release import is_expired
from zt_engine.core.rollout import Ring, Staged


@pytest.fixture
def light(tmp_path: Path) -> World:
    return World(tmp_path, light=True)


# -- in order, and only forward


def test_the_newest_release_decides_and_an_older_or_equal_one_never_does(light: World) -> None:
    light.tell(*sketch(light, 3)).tell(*sketch(light, 2)).tell(*sketch(light, 3))

    assert (light.active, light.switched) == (3, [3])


def test_a_release_below_the_watermark_s_minimum_is_refused(light: World) -> None:
    light.minimum_release = 5

    light.tell(*sketch(light, 4))

    assert (light.active, light.codes) == (0, {"BUNDLE_OLD_SEQ"})


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"tenant": "another"}, "BUNDLE_TENANT"),
        ({"not_before": 1_790_000_100}, "BUNDLE_NOT_YET"),
        ({"not_after": 1_789_999_999}, "BUNDLE_EXPIRED"),
        ({"not_after": None}, "BUNDLE_RELEASE"),
        ({"approvals_needed": 2}, "APPROVAL_MISSING"),
        ({"approvals_needed": 2, "people": [PEOPLE["sato"], PEOPLE["sato"]]}, "APPROVAL_MISSING"),
        ({"approvals_needed": 2, "people": [PEOPLE["sato"], Ed25519PrivateKey.generate()]}, "APPROVAL_MISSING"),
        ({"key": OTHER}, "BUNDLE_SIGNATURE"),
        ({"key": BundleSigningKey.generate("nobody")}, "BUNDLE_KEY_UNKNOWN"),
    ],
)
def test_a_record_that_does_not_hold_leaves_the_one_in_force(light: World, members: Any, code: str) -> None:
    light.tell(*sketch(light, 1))
    notice, _ = sketch(light, 2, **members)

    light.tell(notice)

    assert (light.active, light.codes, light.switched) == (1, {code}, [1])


def test_two_people_who_approve_the_content_suffice_whatever_its_number(light: World) -> None:
    light.tell(*sketch(light, 1, approvals_needed=2, people=list(PEOPLE.values())))

    assert light.active == 1


def test_an_approval_of_other_content_spoils_the_release(light: World) -> None:
    notice, raw = sketch(light, 1, approvals_needed=2, people=list(PEOPLE.values()))
    foreign, _ = sketch(light, 2, approvals_needed=2, people=list(PEOPLE.values()))

    light.tell(msgspec.structs.replace(notice, approvals=foreign.approvals))

    assert (light.active, light.codes) == (0, {"APPROVAL_SIGNATURE"})


def test_what_came_too_early_is_taken_up_when_its_time_has_come(light: World) -> None:
    light.tell(*sketch(light, 1, not_before=int(light.clock.now()) + 60))
    assert light.codes == {"BUNDLE_NOT_YET"}

    light.clock.advance(61)
    light.step()

    assert (light.active, light.codes) == (1, set())


def test_a_release_past_its_end_denies_and_a_newer_one_opens_again(light: World) -> None:
    light.tell(*sketch(light, 1))

    light.clock.advance(1001)
    light.step()
    assert (light.active, light.code) == (0, "BUNDLE_EXPIRED")
    light.tell(*sketch(light, 2))

    assert (light.active, light.code) == (2, "")


def test_a_release_whose_key_is_believed_no_more_decides_nothing(light: World) -> None:
    light.tell(*sketch(light, 1))

    light.trust = msgspec.structs.replace(TRUST, keys={"site-1": OTHER.public()})
    asyncio.run(light.follower.believe())

    assert (light.active, light.code) == (0, "BUNDLE_KEY_WITHDRAWN")
    light.trust = TRUST
    light.step()
    assert light.active == 1


def test_a_rollout_that_is_taken_back_leaves_the_release_before_it(light: World) -> None:
    staged = Staged(ref_seq=7, rings=(Ring(name="all", percent=100),))
    light.tell(*sketch(light, 1)).tell(*sketch(light, 2, staged=staged))
    assert light.active == 2

    light.aborted.add(7)
    del light.notices[2]
    light.step()

    assert (light.active, light.switched) == (1, [1, 2, 1])
    light.aborted.clear()
    light.begin()
    assert light.active == 1
    light.tell(*sketch(light, 3))
    assert light.active == 3


def test_whoever_tells_of_rollouts_takes_a_sidecar_one_release_back_and_no_further(light: World) -> None:
    """A plan is the control plane's word: one that fell into wrong hands stages everything and aborts all of it."""
    for seq in (1, 2, 3):
        light.tell(*sketch(light, seq, staged=Staged(ref_seq=seq, rings=(Ring(name="all", percent=100),))))

    light.aborted.add(3)
    del light.notices[3]
    assert light.step().active == 2
    light.aborted.add(2)
    light.step()

    assert (light.active, light.code) == (0, "RELEASE_TAKEN_BACK")
    assert light.step().active == 0
    assert 1 not in light.switched[1:]


# -- fetching


def test_a_fetch_goes_on_where_it_broke_off_at_the_next_address(light: World) -> None:
    asked: list[tuple[str, int]] = []

    def cut(url: str, into: bytearray, raw: bytes) -> None:
        asked.append((url, len(into)))
        if url == "one":
            into += raw[:10]
            raise UnavailableError("STREAM_DOWN", "cut")
        into += raw[len(into) :]

    light.answers = cut
    light.tell(*sketch(light, 1))

    assert (light.active, asked) == (1, [("one", 0), ("two", 10)])


def test_other_bytes_than_the_record_s_are_never_taken_from_any_address(light: World) -> None:
    light.answers = lambda url, into, raw: into.extend(b"x" * len(raw))
    notice, raw = sketch(light, 1)

    light.tell(notice, raw)
    assert (light.active, light.codes) == (0, {"RELEASE_FETCH"})
    light.answers = lambda url, into, raw: into.extend(raw if url == "two" else b"")
    light.step()

    assert (light.active, light.codes) == (1, set())


# -- the disk


def test_a_restart_takes_up_what_was_in_force_and_an_older_one_after_it_no_more(light: World) -> None:
    light.tell(*sketch(light, 2))
    light.notices.clear()

    light.begin()
    light.tell(*sketch(light, 1))

    assert (light.active, light.switched) == (2, [2, 2])


@pytest.mark.parametrize("name", ["active.json", "*.tar.gz"])
def test_a_release_that_was_changed_on_the_disk_denies_until_it_is_fetched_again(light: World, name: str) -> None:
    light.tell(*sketch(light, 2))
    path = next((light.folder / "release").glob(name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told, light.notices = light.notices, {}

    light.begin()
    assert (light.active, light.code) == (0, "RELEASE_KEPT")
    light.notices = told
    light.step()

    assert light.active == 2


def test_a_full_disk_refuses_the_switch_whole_and_it_happens_once_there_is_space(light: World) -> None:
    light.tell(*sketch(light, 1))
    light.full = True
    light.tell(*sketch(light, 2))
    assert (light.active, light.codes) == (1, {"LOG_UNAVAILABLE"})
    light.full = False
    folder = light.folder / "release"
    os.chmod(folder, 0o500)
    if os.geteuid() != 0:
        light.step()
        assert (light.active, light.codes) == (1, {"RELEASE_DISK"})
    os.chmod(folder, 0o700)

    light.step()

    assert (light.active, light.switched) == (2, [1, 2])


@pytest.mark.parametrize("broken", range(4))
def test_a_crash_while_it_is_written_leaves_one_release_or_the_other(
    light: World, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    light.tell(*sketch(light, 1))
    replace, count = os.replace, iter(range(9))

    def crash(*arguments: Any) -> None:
        if next(count) == broken:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(os, "replace", crash)
    try:
        light.tell(*sketch(light, 2))
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    light.notices.clear()
    light.begin()

    assert light.active == (1 if broken < 3 else 2)


# -- invariant 9


KINDS: Mapping[str, Mapping[str, Any]] = {
    "good": {},
    "forged": {"key": OTHER},
    "foreign": {"tenant": "another"},
    "over": {"not_after": 1_789_999_990},
    "unapproved": {"approvals_needed": 2},
    "endless": {"not_after": None},
}
MOVES = st.one_of(
    st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 6)),
    st.tuples(st.just("time"), st.integers(1, 600)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("minimum"), st.integers(0, 6)),
)


@given(moves=st.lists(MOVES, max_size=12))
def test_invariant_09_no_unsigned_older_expired_or_foreign_release_is_ever_activated(
    moves: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("releases"), light=True)
    good: set[str] = set()
    highest = 0
    for kind, number in moves:
        before = len(world.switched)
        match kind:
            case "time":
                world.clock.advance(number)
            case "restart":
                world.begin()
            case "minimum":
                world.minimum_release = max(number, world.minimum_release)
            case _:
                members = dict(KINDS[kind])
                notice, raw = sketch(world, number, **members)
                if kind == "good":
                    good.add(notice.record)
                    world.tell(notice, raw)
                else:
                    world.tell(notice)
        world.step()

        for seq in world.switched[before:]:
            assert seq >= highest
            highest = seq
        active = world.follower.active
        if world.active and active is not None:
            assert active.notice.record in good
            assert active.release.tenant == "default"
            assert not is_expired(active.release, now=world.clock.now())
