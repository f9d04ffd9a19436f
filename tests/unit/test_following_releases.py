"""Only a release that holds decides: whatever else is told, served or kept changes nothing, and says why."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.release_support import approvers_of, notice_of, published, record_of
from tests.unit.wasm_modules import module
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.release_disk import ReleaseDisk
from zt_engine.adapters.release_fetch import BundleFetcher
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust, believed
from zt_engine.config import Policy as PolicySettings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, MANIFEST, WASM, Manifest, make_bundle, sign_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.release import ReleaseNotice, is_expired, read_release
from zt_engine.core.rollout import Ring, Staged

KEY, OTHER = BundleSigningKey.generate("site-1"), BundleSigningKey.generate("site-1")
PEOPLE = {name: Ed25519PrivateKey.generate() for name in ("sato", "mori")}
TRUST = ReleaseTrust({"site-1": KEY.public()}, approvers_of(PEOPLE), PolicySettings(), {})
SETTINGS = PolicySettings(budget_ms=50, memory_mib=16)


class Engine:
    """Counts as one until it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class World:
    """A control plane as a sidecar sees it, and what the sidecar does about it."""

    def __init__(self, folder: Path, *, light: bool = False, trust: ReleaseTrust = TRUST) -> None:
        self.clock, self.folder, self.light, self.trust = FakeClock(), folder, light, trust
        self.minimum_release = 0
        self.notices: dict[int, ReleaseNotice] = {}
        self.aborted: set[int] = set()
        self.served: dict[str, bytes] = {}
        self.urls: tuple[str, ...] = ("one", "two")
        self.answers: Callable[[str, bytearray, bytes], None] = lambda url, into, raw: into.extend(raw[len(into) :])
        self.switched: list[int] = []
        self.code = ""
        self.full = False
        self.begin()

    def begin(self) -> None:
        """Start the sidecar, on the disk of before."""
        self.follower = ReleaseFollower(
            self, tenant="default", disk=ReleaseDisk(self.folder / "release"), fetcher=BundleFetcher(self),
            stage=self, trust=lambda: self.trust, now=self.clock.now, draw=lambda: 0.5,
            **({"opener": opened} if self.light else {}),
        )  # fmt: skip
        asyncio.run(self.follower.load())

    # -- what is told and served

    def releases(self) -> list[ReleaseNotice]:
        return [notice for _, notice in sorted(self.notices.items(), reverse=True)]

    def taken_back(self, staged: Staged) -> bool:
        return staged.ref_seq in self.aborted

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        raw = self.served.get(path.removeprefix("/v1/bundles/"))
        if raw is None:
            raise UnavailableError("STREAM_REFUSED", "404")
        self.answers(url, into, raw)

    # -- what decides

    def archive(self, opened: Opened) -> None:
        if self.full:
            raise UnavailableError("LOG_UNAVAILABLE", "no space is left")

    def switch(self, opened: Opened) -> None:
        self.switched.append(opened.release.seq)
        self.code = ""

    def withdraw(self, code: str, message: str) -> None:
        self.code = code

    # -- what a test does

    def tell(self, notice: ReleaseNotice, raw: bytes = b"") -> World:
        self.notices[notice.seq] = notice
        release = read_release(notice.record, {"site-1": KEY.public()}) if raw else None
        if release is not None:
            self.served[release.bundle_digest] = raw
        return self.step()

    def step(self) -> World:
        asyncio.run(self.follower.step())
        return self

    @property
    def active(self) -> int:
        return self.follower.bundle_seq

    @property
    def codes(self) -> set[str]:
        return {problem.code for problem in self.follower.problems}


def opened(notice: ReleaseNotice, raw: bytes, trust: ReleaseTrust, *, tenant: str) -> Opened:
    """Verify the record and compile nothing."""
    release = believed(notice, trust, tenant=tenant)
    if msgspec.json.encode(release.content_digest) not in raw:
        raise BundleError("BUNDLE_RELEASE", "not the bytes")
    bundle = cast("Any", type("B", (), {"key_id": "site-1"})())
    parts = cast("Any", type("P", (), {"bundle": bundle})())
    return Opened(notice=notice, release=release, raw=raw, parts=parts, engine=cast("Any", Engine()), key=KEY.public())


def sketch(world: World, seq: int, *, key: BundleSigningKey = KEY, **members: Any) -> tuple[ReleaseNotice, bytes]:
    """A release of made-up bytes, which `opened` takes for a bundle."""
    content = hashlib.sha256(b"content %d" % seq).hexdigest()
    raw = msgspec.json.encode(content)
    staged = members.pop("staged", None)
    people = members.pop("people", ())
    release = msgspec.structs.replace(
        _RECORD, seq=seq, content_digest=content, bundle_digest=hashlib.sha256(raw).hexdigest(), size=len(raw),
        not_before=int(world.clock.now()) - 10, not_after=int(world.clock.now()) + 1000,
    )  # fmt: skip
    notice = notice_of(msgspec.structs.replace(release, **members), key, people=people, staged=staged)
    return notice, raw


_RECORD = record_of(bundle_archive.write({MANIFEST: b"{}"}), seq=1, now=0)


@pytest.fixture
def light(tmp_path: Path) -> World:
    return World(tmp_path, light=True)


@pytest.fixture
def real(tmp_path: Path) -> World:
    return World(tmp_path, trust=msgspec.structs.replace(TRUST, settings=SETTINGS))


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


# -- bundles that are not what they should be


def rebuilt(raw: bytes, change: Callable[[dict[str, bytes]], object], **members: Any) -> bytes:
    """A bundle whose manifest fits the changed files."""
    files = bundle_archive.read(raw)
    zt = msgspec.json.decode(files[MANIFEST], type=Manifest).metadata.zt
    for name in (MANIFEST, SIGNATURES):
        files.pop(name, None)
    change(files)
    said: dict[str, Any] = {
        "pack": zt.pack, "version": zt.version, "input_version": zt.input_version, "layers": zt.layers,
        "reads": zt.reads, "builtins": zt.builtins,
    }  # fmt: skip
    return make_bundle(files, **{**said, **members})


def bad(change: Callable[[dict[str, bytes]], object], **members: Any) -> Callable[[bytes], bytes]:
    return lambda raw: sign_bundle(rebuilt(raw, change, **members), KEY)


def spoilt(change: Callable[[dict[str, bytes]], object]) -> Callable[[bytes], bytes]:
    """The files changed under the old signature."""

    def spoil(raw: bytes) -> bytes:
        files = bundle_archive.read(sign_bundle(raw, KEY))
        change(files)
        return bundle_archive.write(files)

    return spoil


def renamed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """The archive with one name in its headers replaced, and its checksum left wrong or right alike."""

    def rename(raw: bytes) -> bytes:
        tar = gzip.decompress(sign_bundle(raw, KEY))
        return gzip.compress(tar.replace(old.ljust(100, b"\0"), new.ljust(100, b"\0")), mtime=0)

    return rename


def linked(raw: bytes) -> bytes:
    tar = bytearray(gzip.decompress(sign_bundle(raw, KEY)))
    tar[156] = ord("2")
    return gzip.compress(bytes(tar), mtime=0)


BAD: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "unsigned": (lambda raw: raw, "BUNDLE_UNSIGNED"),
    "another key": (lambda raw: sign_bundle(raw, OTHER), "BUNDLE_SIGNATURE"),
    "a missing file": (spoilt(lambda files: files.pop("main/main.rego")), "BUNDLE_FILE_MISSING"),
    "an extra file": (spoilt(lambda files: files.update({"x.rego": b""})), "BUNDLE_FILE_EXTRA"),
    "a path above": (renamed(b"main/main.rego", b"../main.rego"), "BUNDLE_MALFORMED"),
    "a link": (linked, "BUNDLE_MALFORMED"),
    "zeros without end": (lambda _: gzip.compress(bytes(64 << 20), mtime=0), "BUNDLE_TOO_LARGE"),
    "no catalogue": (bad(lambda files: files.pop(CATALOGUE)), "BUNDLE_FILE_MISSING"),
    "a catalogue that does not read": (bad(lambda files: files.update({CATALOGUE: b"{}"})), "CATALOGUE_"),
    "an unknown builtin": (bad(lambda files: None, builtins=("http.send",)), "BUNDLE_BUILTIN_UNSUPPORTED"),
    "another input": (bad(lambda files: None, input_version=9), "BUNDLE_INPUT_VERSION"),
    "no module": (bad(lambda files: files.update({WASM: b"\0asm"})), "WASM_INVALID"),
    "a module that traps": (
        bad(lambda files: files.update({WASM: module(start="(func $boom unreachable) (start $boom)")})),
        "WASM_INVALID",
    ),
    "a module that never ends": (bad(lambda files: files.update({WASM: module(start="(start $spin)")})), "WASM_INVALID"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", BAD)
def test_a_bundle_that_is_not_what_it_should_be_leaves_the_one_in_force(real: World, opa: str, wrong: str) -> None:
    now = real.clock.now()
    real.tell(*published(compiled(opa), KEY, seq=1, now=now))
    make, code = BAD[wrong]
    raw = make(compiled(opa))
    try:
        release = record_of(raw, seq=2, now=now)
    except (BundleError, KeyError):
        release = msgspec.structs.replace(record_of(compiled(opa), seq=2, now=now), **_named(raw))

    real.tell(notice_of(release, KEY), raw)

    assert (real.active, real.switched) == (1, [1])
    assert len(real.codes) == 1
    assert real.codes.pop().startswith(code)


def _named(raw: bytes) -> dict[str, Any]:
    return {"bundle_digest": hashlib.sha256(raw).hexdigest(), "size": len(raw)}


def test_a_rule_that_never_ends_is_found_by_trying_it(real: World, opa: str) -> None:
    endless = '"threshold": count([1 | numbers.range(1, 100000000)[_]])'

    raw = compiled(opa, edits=(('"threshold": 0', endless),))
    real.tell(*published(raw, KEY, seq=1, now=real.clock.now()))

    assert (real.active, real.codes) == (0, {"BUNDLE_SMOKE"})


def test_the_record_of_another_bundle_is_refused(real: World, opa: str) -> None:
    raw = sign_bundle(compiled(opa), KEY)
    foreign = msgspec.structs.replace(record_of(raw, seq=1, now=real.clock.now()), content_digest="0" * 64)

    real.tell(notice_of(foreign, KEY), raw)

    assert (real.active, real.codes) == (0, {"BUNDLE_RELEASE"})


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
