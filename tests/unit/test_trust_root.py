"""What the offline root signs: who may loosen, by how much, and that nobody else can, whatever they own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.unit.test_stream_sidecars import Lab
from tests.world import NOW
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.trust_document import TrustFile, TrustHandout, approvers_of, bundle_keys_of, open_document
from zt_engine.bootstrap.control_link import known_keys
from zt_engine.bootstrap.joining import Member, Membership
from zt_engine.bootstrap.told_trust import document_of, staleness_of, taken
from zt_engine.cli.main import app
from zt_engine.config import Settings
from zt_engine.core.errors import InputError
from zt_engine.core.lease import Lease, Reading, Staleness
from zt_engine.core.stream import KeySet, digest_of
from zt_engine.core.trust_root import LONGEST, TrustDocument, bound_staleness, seal_trust, staleness_at

ROOT, STREAM = StreamKey.generate(), StreamKey.generate()
EMBASSY = {"embassy-1": {"C2": 4 * 3600}}
MEMBER = Membership(
    id="edge-1", tenant="default", audience="https://control.example", stream_keys={}, device_cas="",
    site="embassy-1", root=dict(ROOT.jwk),
)  # fmt: skip
LABELS = {"C1": 100, "C2": 200, "C3": 300}


def document(version: int = 1, *, key: StreamKey = ROOT, **fields: Any) -> str:
    return seal_trust(TrustDocument(**{"tenant": "default", "version": version, "staleness": EMBASSY, **fields}), key)


def key_set(trust: str = "", **fields: Any) -> KeySet:
    known: dict[str, Any] = {
        "tenant": "default", "version": 1.0, "stream_keys": {STREAM.key_id: dict(STREAM.jwk)}, "device_cas": "",
        "sidecar": "edge-1", "site": "embassy-1", "trust": trust,
    }  # fmt: skip
    return KeySet(**{**known, **fields})


def settings(**control_plane: Any) -> Settings:
    return Settings.model_construct(control_plane=type("Plane", (), {"root_file": None, "site": "", **control_plane})())


def limits(membership: Membership) -> Staleness:
    return staleness_of(membership, settings())


def code(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.code


some = st.dictionaries(
    st.sampled_from(["*", "embassy-1", "hq"]),
    st.dictionaries(st.sampled_from(["C1", "C2", "C3"]), st.integers(1, 40 * 86_400)),
)


@given(some, some, st.sampled_from(["", "embassy-1", "hq"]))
def test_only_the_root_loosens_and_nobody_gives_c3_more_than_ten_seconds(signed: Any, told: Any, site: str) -> None:
    plain, without = Staleness(), staleness_at(site, {}, told)
    both, root = staleness_at(site, signed, told), staleness_at(site, signed, {})

    for rank in LABELS.values():
        assert without.of(rank) <= plain.of(rank)
        assert both.of(rank) <= root.of(rank)
    assert both.c3 <= 10
    assert both.c2 <= LONGEST["C2"]


@given(some, some, st.sampled_from(["", "embassy-1", "hq"]), st.sampled_from(["", "embassy-1", "hq"]))
def test_who_says_where_a_sidecar_stands_makes_nothing_longer_than_at_its_own_site(
    signed: Any, told: Any, bound: str, moved: str
) -> None:
    here, there = staleness_at(bound, signed, told), staleness_at(moved, signed, told)
    both = bound_staleness(bound, moved, signed, told)

    for rank in LABELS.values():
        assert both.of(rank) == min(here.of(rank), there.of(rank))
    assert bound_staleness(bound, bound, signed, told) == here


@pytest.mark.parametrize("limit", [{"C3": 11}, {"C2": 86_401}, {"C0": 5}, {"C9": 5}])
def test_what_not_even_the_root_may_set_is_not_signed(limit: dict[str, int]) -> None:
    assert code(lambda: document(staleness={"*": limit})) == "TRUST_DOCUMENT"


def test_a_sidecar_takes_the_limits_of_its_site_from_what_the_root_signed() -> None:
    after = taken(MEMBER, key_set(document()), settings())

    assert limits(MEMBER) == Staleness()
    assert limits(after) == Staleness(c2=4 * 3600)
    assert limits(taken(after, key_set(document(), site="hq"), settings())) == Staleness()


@pytest.mark.parametrize(
    "trust",
    [
        document(key=STREAM),
        document(tenant="other"),
        document()[:-4] + "AAAA",
        "",
        "no.such.jws",
    ],
)
def test_the_owner_of_the_stream_s_key_loosens_nothing(trust: str) -> None:
    told = key_set(trust, staleness={"embassy-1": {"C2": 86_400}, "*": {"C3": 3600}})

    after = taken(MEMBER, told, settings())

    assert after.trust == ""
    assert limits(after) == Staleness()


def test_the_key_set_tightens() -> None:
    after = taken(MEMBER, key_set(document(), staleness={"embassy-1": {"C2": 30, "C3": 5}}), settings())

    assert limits(after) == Staleness(c2=30, c3=5)


def test_versions_only_grow_and_what_was_offered_is_not_asked_for_again() -> None:
    new = taken(MEMBER, key_set(document(2)), settings())
    old = taken(new, key_set(document(1, staleness={"embassy-1": {"C2": 86_400}}), version=2.0), settings())
    same = taken(new, key_set(document(2, staleness={}), version=2.0), settings())

    for after in (old, same):
        assert after.trust == new.trust
        assert limits(after) == Staleness(c2=4 * 3600)
    held = Member(old, STREAM, Path())
    assert digest_of(known_keys(held)) == digest_of(
        msgspec.structs.replace(key_set(old.offered), stream_keys=old.stream_keys)  # type: ignore[arg-type]
    )


def test_another_sidecar_s_key_set_says_nothing_here() -> None:
    assert taken(MEMBER, key_set(document(), sidecar="edge-2", site="hq"), settings()) == MEMBER


def test_the_control_plane_gives_a_sidecar_of_one_site_no_limits_of_another() -> None:
    joined = msgspec.structs.replace(MEMBER, site="hq", bound="hq")

    with capture_logs() as logged:
        moved = taken(joined, key_set(document(), site="embassy-1"), settings())
        again = taken(moved, key_set(document(), site="embassy-1", version=2.0), settings())

    assert [entry["code"] for entry in logged] == ["TRUST_SITE"]
    assert (moved.site, moved.bound) == (again.site, again.bound) == ("embassy-1", "hq")  # its rings are those
    assert limits(moved) == limits(again) == Staleness()
    assert staleness_of(moved, settings(site="embassy-1")) == Staleness(c2=4 * 3600)
    pinned = taken(MEMBER, key_set(document()), settings(site="hq"))
    assert staleness_of(pinned, settings(site="hq")) == Staleness()


def test_what_was_joined_before_sites_were_bound_is_bound_to_the_site_it_knows() -> None:
    joined = msgspec.structs.replace(MEMBER, site="hq")
    moved = taken(joined, key_set(document(), site="embassy-1"), settings())

    assert moved.bound == "hq"
    assert limits(moved) == Staleness()
    assert limits(taken(MEMBER, key_set(document()), settings())) == Staleness(c2=4 * 3600)


def test_the_settings_may_pin_another_root_than_the_one_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(STREAM.public_pem())
    held = taken(MEMBER, key_set(document()), settings())

    class Pinned:
        control_plane = type("Plane", (), {"root_file": Path("root.pem"), "site": ""})()

        def path(self, path: Path) -> Path:
            return tmp_path / path

    pinned: Any = Pinned()
    assert document_of(held, pinned) is None
    assert document_of(taken(held, key_set(document(key=STREAM)), pinned), pinned) is not None


def test_what_is_tightened_ends_leases_at_once() -> None:
    lease = Lease(Staleness(c2=4 * 3600))
    lease.confirm(NOW, asked=1000, reading=Reading(NOW, 1000))
    lease.renew(NOW, Reading(NOW, 1000))
    assert lease.ends[200] == 1000 + 4 * 3600

    lease.limit(Staleness(c2=60))

    assert (lease.ends[200], lease.ends[300]) == (1060, 1010)


@given(st.integers(1, 86_400), st.integers(0, 200_000), st.integers(-100_000, 100_000))
def test_a_site_s_hours_end_like_any_lease_whatever_a_suspended_machine_s_clock_says(
    longest: int, asleep: int, wall: int
) -> None:
    lease = Lease(staleness_at("embassy-1", {"embassy-1": {"C2": longest}}, {}))
    lease.confirm(NOW, asked=1000, reading=Reading(NOW, 1000))
    lease.renew(NOW, Reading(NOW, 1000))

    lease.observe(Reading(NOW + wall, 1000 + asleep))
    lease.renew(NOW - 1, Reading(NOW + wall, 1000 + asleep))  # a watermark that is played again

    assert (1000 + asleep < lease.ends[200]) == (asleep < longest)
    assert 1000 + asleep >= lease.ends[300] or (asleep < 10 and abs(wall - asleep) <= 60)


def test_who_joins_is_told_the_root_and_the_keys_come_for_it_alone(tmp_path: Path) -> None:
    with Lab() as lab:
        lab.plane.extras["trust"] = TrustFile(tmp_path / "trust-root.json").read
        (tmp_path / "trust-root.json").write_bytes(msgspec.json.encode(TrustHandout(dict(ROOT.jwk), document())))
        key = StreamKey.generate()
        token = lab.token(site="embassy-1")

        told = lab.call("POST", "/v1/sidecars", {"token": token, "public_key": dict(key.jwk)}, who=None).json()

        membership = msgspec.convert(told, Membership)
        assert limits(membership) == Staleness(c2=4 * 3600)
        held = lab.sidecars.key_set(lab.sidecars.all()[0])
        assert digest_of(known_keys(Member(membership, key, tmp_path))) == digest_of(held)


def test_root_key_and_sign_trust_sign_what_the_settings_name(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["init", str(tmp_path / "site")]).exit_code == 0
    config, root = tmp_path / "site" / "zt.toml", tmp_path / "root.pem"
    assert run(app, ["control", "root-key", str(root)]).exit_code == 0
    assert root.stat().st_mode & 0o077 == 0
    words = ["control", "sign-trust", "--root-key", str(root), "--config", str(config)]

    first = run(app, [*words, "--staleness", "embassy-1:C2=14400"])
    second = run(app, words)
    refused = run(app, [*words, "--staleness", "*:C3=60"])

    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert refused.exit_code != 0
    held = json.loads((tmp_path / "site" / "control" / "trust-root.json").read_bytes())
    read = open_document(held["root"], held["document"], tenant="default")
    assert read.version == 2
    (name,) = bundle_keys_of(read)
    assert bundle_keys_of(read)[name].pem() == (tmp_path / "site" / "keys" / f"{name}.pub.pem").read_text()
    assert len(approvers_of(read)) == len(read.approvers)
