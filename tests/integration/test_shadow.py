"""A shadow decides what a sidecar decided, once more with a candidate, and touches nothing of what is decided."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.sidecar_support import CASE, NOTE, PUBLIC, InProcess, in_process, installation, laptop, logged
from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_following import LogFollower
from zt_engine.adapters.shadow_http import Watched
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.bootstrap.shadow import BREATH_SECONDS, LATEST_SECONDS, Shadow, addresses
from zt_engine.config import load
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.errors import BundleError, UnavailableError

STAGED = {"ref_seq": 1, "rings": [{"name": "all", "percent": 100}], "mode": "enforce"}


class FakeControl:
    """Says what is to be watched, and remembers what was reported."""

    def __init__(self, *told: Watched) -> None:
        self.told = told
        self.reports: dict[int, dict[str, Any]] = {}
        self.bundles: dict[str, bytes] = {}

    def watched(self) -> tuple[Watched, ...]:
        return self.told

    def bundle(self, digest: str) -> bytes:
        if digest not in self.bundles:
            raise UnavailableError("STREAM_REFUSED", "no such bundle")
        return self.bundles[digest]

    def report(self, ref_seq: int, told: dict[str, Any], /) -> None:
        self.reports[ref_seq] = told


@pytest.fixture
def sandbox(tmp_path: Path, opa: str) -> Sandbox:
    return installation(tmp_path / "zt", opa)


@contextlib.contextmanager
def shadowing(sandbox: Sandbox, control: FakeControl, clock: FakeClock, *, waited: float = 0.0) -> Iterator[Shadow]:
    folder = sandbox.folder / "log"
    shadow = Shadow(
        LogFollower(folder),
        Archive(folder / "archive"),
        control,
        clock,
        open_release=_opened,
        read_situation=lambda raw: decode_situation(raw, where="candidate"),
        waited=lambda: waited,
    )
    with contextlib.closing(shadow):
        yield shadow


def _opened(raw: bytes) -> Bundle:
    return open_bundle(raw, keys={}, require_signature=False)


def seen(shadow: Shadow, control: FakeControl, clock: FakeClock) -> dict[str, Any]:
    shadow.turn()
    clock.advance(5)
    shadow.turn()
    return control.reports[1]


def watched(type_: str, object_: str, record: Any, **more: Any) -> Watched:
    return Watched(
        staged=STAGED, type=type_, object=object_, record=msgspec.Raw(msgspec.json.encode(record)), **more
    )  # fmt: skip


def overlay(now: float, **more: Any) -> dict[str, Any]:
    return {
        "id": "rain", "scope": "service:portal", "effect": "deny",
        "not_before": int(now) - 100, "not_after": int(now) + 10_000, **more,
    }  # fmt: skip


def ask(program: InProcess, sandbox: Sandbox, device: Any) -> None:
    token = sandbox.token("tanaka", device=device)
    for url in (PUBLIC, CASE, NOTE):
        program.ask(url, token=token, device=device)
    program.ask(CASE)


def test_a_poisonous_overlay_is_seen_to_shut_people_out_before_it_does(sandbox: Sandbox) -> None:
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    case = {"subject": "tanaka", "service": "portal"}
    poison = watched("overlay.changed", "overlay:rain", overlay(sandbox.now), must_allow=(case,))
    control = FakeControl(poison)
    with in_process(sandbox, clock=clock) as program, shadowing(sandbox, control, clock) as shadow:
        shadow.turn()
        ask(program, sandbox, device)
        report = seen(shadow, control, clock)
    events = [event for event in logged(sandbox) if event["input_digest"]]

    assert report["keys"] == report["decided"] == len({event["input_digest"] for event in events})
    assert (report["subjects"], report["newly_denied"], report["errors"]) == (1, 1, 0)
    shut_out = [change for change in report["changes"] if change["after"] == "deny" and change["verified"]]
    assert {change["reason"] for change in shut_out} == {"OVERLAY_DENIED"}
    assert {change["service"] for change in shut_out} == {"portal"}
    ids = {event["decision_id"] for event in events}
    assert all(set(change["samples"]) <= ids for change in report["changes"])
    assert any(change["samples"] for change in shut_out)
    assert report["must_allow"]
    assert {event["effect"] for event in events} >= {"allow"}  # nothing was denied for real


def test_an_overlay_about_something_else_changes_nothing(sandbox: Sandbox) -> None:
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    control = FakeControl(watched("overlay.changed", "overlay:rain", overlay(sandbox.now, scope="subject:nobody")))
    with in_process(sandbox, clock=clock) as program, shadowing(sandbox, control, clock) as shadow:
        shadow.turn()
        ask(program, sandbox, device)
        report = seen(shadow, control, clock)

    assert report["decided"] > 0
    assert report["changes"] == ()


def test_a_shadow_rests_while_others_want_the_processor_unless_it_is_minutes_behind(sandbox: Sandbox) -> None:
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    control = FakeControl(watched("overlay.changed", "overlay:rain", overlay(sandbox.now)))
    rests: list[float] = []
    with in_process(sandbox, clock=clock) as program, shadowing(sandbox, control, clock, waited=0.01) as shadow:
        shadow.rest = rests.append
        shadow.turn()
        program.ask(CASE)
        shadow.turn()
        rested = list(rests)
        ask(program, sandbox, device)
        clock.advance(LATEST_SECONDS + 60)
        shadow.turn()

    assert rested == rests[:1] == [0.03]
    assert set(rests[1:]) <= {BREATH_SECONDS}
    assert control.reports[1]["decided"] == control.reports[1]["keys"] > 1


def test_where_a_candidate_is_in_force_already_the_shadow_still_tells_what_it_changes(sandbox: Sandbox) -> None:
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    control = FakeControl(watched("overlay.changed", "overlay:rain", overlay(sandbox.now)))
    sandbox.situation(overlays=[overlay(sandbox.now)])
    with in_process(sandbox, clock=clock) as program, shadowing(sandbox, control, clock) as shadow:
        shadow.turn()
        ask(program, sandbox, device)
        report = seen(shadow, control, clock)

    assert report["newly_denied"] == 1


def test_a_release_is_decided_beside_the_one_that_is_active(sandbox: Sandbox, opa: str) -> None:
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    strict = compiled(opa, edits=(("_threshold := 60", "_threshold := 101"),))
    digest = hashlib.sha256(strict).hexdigest()
    control = FakeControl(watched("bundle.released", "release:2", None, bundle=digest, before=""))
    control.bundles[digest] = strict
    with in_process(sandbox, clock=clock) as program, shadowing(sandbox, control, clock) as shadow:
        shadow.turn()
        ask(program, sandbox, device)
        report = seen(shadow, control, clock)

    assert report["newly_denied"] == 1
    assert {change["reason"] for change in report["changes"] if change["verified"]} == {"TRUST_LOW"}


def test_a_bundle_that_is_another_than_was_named_is_not_decided_by(sandbox: Sandbox, opa: str) -> None:
    clock = FakeClock(sandbox.now)
    control = FakeControl(watched("bundle.released", "release:2", None, bundle="0" * 64, before=""))
    control.bundles["0" * 64] = compiled(opa)
    with (
        in_process(sandbox, clock=clock),
        shadowing(sandbox, control, clock) as shadow,
        pytest.raises(BundleError) as refused,
    ):
        shadow.turn()

    assert refused.value.code == "BUNDLE_RELEASE"


def test_beside_a_sidecar_of_zt_up_the_control_plane_is_where_it_said_it_is(tmp_path: Path, opa: str) -> None:
    config = installation(tmp_path / "zt", opa).config
    audience = "http://127.0.0.1:9443"

    alone = addresses(load(config), audience)
    config.write_text(config.read_text() + '\n[control_plane]\nurl = ["https://control.example"]\nca_file = "ca.pem"\n')

    assert alone == ((audience,), None)
    assert addresses(load(config), audience) == (("https://control.example",), Path("ca.pem"))
