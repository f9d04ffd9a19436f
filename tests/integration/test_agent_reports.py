"""What an enrolled agent tells its control plane over real HTTP: only what changed, only what was agreed to, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from device_inventory.agent.csr import public_jwk
from device_inventory.agent.errors import AgentError, UnreachableError
from device_inventory.agent.jose import compact
from device_inventory.agent.keys_file import FileKey
from device_inventory.agent.spool import QUOTA
from device_inventory.operations import revoke
from tests.fakes.agent_world import World, code_of
from tests.fakes.control_plane_http import problem

OFFLINE = problem(503, "STORE_DOWN")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.plane:
        made.enroll()
        made.clock.advance(800)
        yield made


def last(world: World) -> dict:
    return world.plane.reports[-1]


def test_a_second_report_confirms_what_is_as_it_was(world: World) -> None:
    world.report()

    assert last(world)["delta"] is True
    assert last(world)["facts"] == {}
    assert last(world)["confirmed"] == ["disk.encrypted", "firewall.enabled", "os.id"]


def test_what_changed_is_told_and_the_rest_confirmed(world: World) -> None:
    world.machine.facts["disk.encrypted"] = False
    outcome = world.report()

    assert {name: fact["value"] for name, fact in last(world)["facts"].items()} == {"disk.encrypted": False}
    assert last(world)["confirmed"] == ["firewall.enabled", "os.id"]
    assert [item.fact for item in outcome.answer.items] == ["disk.encrypted"]


def test_what_could_not_be_looked_at_is_said_and_never_confirmed(world: World) -> None:
    world.machine.facts["disk.encrypted"] = None
    world.report()
    world.clock.advance(800)
    first = last(world)["facts"]["disk.encrypted"]["status"]
    world.report()

    assert first == "not_collected"
    assert "disk.encrypted" not in last(world)["confirmed"]


def test_a_slow_fact_is_looked_at_once_a_day_and_keeps_its_time(world: World) -> None:
    at = world.plane.reports[0]["facts"]["patch.pending_security"]["collected_at"]
    world.report(full=True)

    assert last(world)["facts"]["patch.pending_security"]["collected_at"] == at
    assert "patch.pending_security" not in last(world).get("confirmed", [])
    world.clock.advance(86_400)
    world.renew()
    world.report()
    assert last(world)["facts"]["patch.pending_security"]["collected_at"] > at


def test_after_something_was_installed_the_slow_facts_are_looked_at_again(world: World) -> None:
    world.machine.facts["patch.last_success_at"] = 1
    world.report()
    world.machine.facts["patch.last_success_at"] = 2
    world.machine.slow["patch.pending_security"] = 0
    world.report()

    assert last(world)["facts"]["patch.pending_security"]["value"] == 0
    assert world.machine.looks[-1] is True


def test_whoever_checks_again_by_hand_gets_the_slow_facts_too(world: World) -> None:
    world.machine.slow["patch.pending_security"] = 0
    with world.device() as device:
        device.report(slow=True)

    assert last(world)["facts"]["patch.pending_security"]["value"] == 0


def test_a_slow_fact_that_is_told_again_is_no_younger_and_is_due_a_day_after_it_was_looked_at(world: World) -> None:
    world.machine.slow_at = world.plane.reports[0]["facts"]["patch.pending_security"]["collected_at"]
    world.clock.advance(40_000)
    with world.device() as device:
        device.report(full=True, slow=True)
    assert last(world)["facts"]["patch.pending_security"]["collected_at"] == world.machine.slow_at
    world.clock.advance(46_401)
    world.renew()
    world.machine.slow_at = None
    world.report()

    assert world.machine.looks[-1] is True
    assert "patch.pending_security" in {*last(world).get("confirmed", []), *last(world)["facts"]}


def test_a_report_a_day_is_full(world: World) -> None:
    world.clock.advance(86_000)
    world.renew()
    world.report()

    assert last(world)["delta"] is False


def test_another_boot_is_told_in_full(world: World) -> None:
    world.machine.boot_id = "boot-2"
    world.report()

    assert last(world)["delta"] is False
    assert last(world)["boot_id"] == "boot-2"


def test_the_server_may_ask_for_everything(world: World) -> None:
    world.plane.full = True
    world.report()
    world.plane.full = False
    world.report()

    assert [claims["delta"] for claims in world.plane.reports] == [False, True, False]


def test_a_report_whose_answer_was_lost_is_followed_by_a_full_one(world: World) -> None:
    world.machine.facts["disk.encrypted"] = False
    world.drop_answer(2)  # the nonce, then the report
    with pytest.raises(UnreachableError):
        world.report()
    world.plane.after = lambda method, path: None
    world.machine.facts["disk.encrypted"] = True
    world.report()

    assert last(world)["delta"] is False
    assert last(world)["facts"]["disk.encrypted"]["value"] is True


def test_no_sequence_number_is_ever_used_twice(world: World) -> None:
    for number in (2, 2, 1):
        world.drop_answer(number)
        with pytest.raises(AgentError):
            world.report()
    world.plane.after = lambda method, path: None
    world.report()

    numbers = [claims["seq"] for claims in world.plane.reports]
    assert numbers == sorted(set(numbers))


def test_what_the_notice_does_not_list_is_never_sent(world: World) -> None:
    world.machine.facts["browser.history"] = ["secret"]
    world.report()
    world.report(full=True)

    assert "browser.history" not in json.dumps(world.plane.reports)
    assert b"browser.history" not in (world.home.path / "spool.json").read_bytes()


def test_offline_the_newest_word_is_kept_and_told_once_the_server_is_back(world: World) -> None:
    world.plane.refuse = lambda method, path: OFFLINE
    for value in (False, True, False):
        world.machine.facts["firewall.enabled"] = value
        world.clock.advance(800)
        assert code_of(world.report) == "AGENT_SERVER_BUSY"
    count = len(world.plane.reports)
    world.plane.refuse = lambda method, path: None
    world.report()

    assert len(world.plane.reports) == count + 1
    assert {name: fact["value"] for name, fact in last(world)["facts"].items()} == {"firewall.enabled": False}


def test_what_is_kept_has_a_quota_and_the_oldest_goes_first(world: World) -> None:
    world.machine.facts["os.id"] = "x" * 200
    world.machine.facts["vuln.kev_open"] = ["y" * 200] * (QUOTA // 200)
    world.clock.advance(10)
    world.plane.refuse = lambda method, path: OFFLINE
    with pytest.raises(AgentError):
        world.report()

    assert (world.home.path / "spool.json").stat().st_size <= QUOTA


def test_a_spool_that_is_no_spool_is_only_evidence_and_collected_anew(world: World) -> None:
    (world.home.path / "spool.json").write_bytes(b"{not json")

    assert world.report().answer.accepted


def test_the_server_says_when_to_come_back(world: World) -> None:
    world.plane.refuse = lambda method, path: problem(429, "REQUEST_RATE", **{"Retry-After": "77"})
    with pytest.raises(UnreachableError) as caught:
        world.report()

    assert caught.value.retry_after == 77


@pytest.mark.parametrize("header", ["-1", "999999999999", "soon", "1e3", "\x00"])
def test_a_time_that_is_none_or_too_long_is_bounded(world: World, header: str) -> None:
    world.plane.refuse = lambda method, path: problem(503, "STORE_DOWN", **{"Retry-After": header})
    with pytest.raises(AgentError) as caught:
        world.report()

    assert getattr(caught.value, "retry_after", None) in (None, 3600.0)


def test_a_wrong_clock_is_named_as_such(world: World) -> None:
    real = world.plane.clock
    world.plane.clock = type(real)(real.now() + 4000)

    assert code_of(world.report) == "AGENT_CLOCK"


def test_a_refused_report_says_why(world: World) -> None:
    device_id = world.state.held.device_id
    device = world.plane.devices[device_id]
    world.plane.devices[device_id] = revoke(device, now=int(world.clock.now()), reason="gone")

    assert code_of(world.report) == "DEVICE_UNKNOWN"


# -- the root helper


def helper(world: World, key: FileKey, *facts: str):
    def word(nonce: str, device: str) -> str:
        said = {name: {"status": "observed", "value": True, "collected_at": int(world.clock.now())} for name in facts}
        return compact(key, {"nonce": nonce, "device": device, "facts": said}, typ="zt-helper+jwt")

    return word


@pytest.fixture
def helped(tmp_path: Path) -> Iterator[tuple[World, FileKey]]:
    key = FileKey(ec.generate_private_key(ec.SECP256R1()))
    made = World(tmp_path)
    made.machine.key = public_jwk(key._private.public_key())
    made.machine.word = helper(made, key, "disk.encrypted")
    with made.plane:
        made.enroll()
        yield made, key


def test_the_helpers_word_goes_with_the_report_and_counts_for_more(helped: tuple[World, FileKey]) -> None:
    world, _ = helped
    device = next(iter(world.plane.devices.values()))

    assert device.sources["helper"].facts["disk.encrypted"].method == "signed_agent"
    assert device.sources["agent"].facts["disk.encrypted"].method == "self_report"


def test_a_helper_that_says_more_than_the_notice_is_kept_back_and_that_is_said(helped: tuple[World, FileKey]) -> None:
    world, key = helped
    world.machine.word = helper(world, key, "disk.encrypted", "browser.history")
    outcome = world.report()

    assert outcome.troubles[0].code == "AGENT_HELPER"
    assert "helper" not in last(world)


def test_a_helper_that_fails_does_not_keep_the_report_and_is_not_passed_over_in_silence(
    helped: tuple[World, FileKey],
) -> None:
    world, _ = helped

    def broken(nonce: str, device: str) -> str:
        raise AgentError("AGENT_HELPER", "nobody listens")

    world.machine.word = broken
    outcome = world.report()

    assert outcome.answer.accepted
    assert outcome.troubles[0].message == "nobody listens"


# -- renewal


def test_a_renewed_certificate_is_the_same_device_and_key(world: World) -> None:
    before = world.state.held
    world.clock.advance(50_000)
    after = world.renew()

    assert after.device_id == before.device_id
    assert after.x5t != before.x5t
    assert after.not_after > before.not_after
    assert world.report().answer.accepted


def test_it_is_due_after_two_thirds_of_its_life(world: World) -> None:
    held = world.state.held
    third = (held.not_after - held.not_before) / 3
    due = []
    for instant in (held.not_before + 2 * third - 60, held.not_before + 2 * third + 60):
        world.clock.time = instant
        with world.device() as device:
            due.append(device.renewal_due())

    assert due == [False, True]


def test_after_a_long_absence_an_expired_certificate_is_renewed_while_the_server_allows_it(world: World) -> None:
    world.clock.advance(3 * 86_400)
    refused = code_of(world.report)
    world.renew()

    assert refused == "EVIDENCE_FOREIGN"
    assert world.report().answer.accepted


def test_after_too_long_an_absence_the_server_says_so(world: World) -> None:
    world.clock.advance(30 * 86_400)

    assert code_of(world.renew) == "RENEWAL_REFUSED"


def test_a_renewal_whose_answer_was_lost_is_simply_done_again(world: World) -> None:
    world.drop_answer(2)
    with pytest.raises(UnreachableError):
        world.renew()
    world.plane.after = lambda method, path: None
    world.renew()

    assert world.report().answer.accepted


def test_lost_is_lost_and_reports_no_more(world: World) -> None:
    with world.device() as device:
        device.lost()

    assert world.plane.devices[world.state.held.device_id].status == "lost"
    assert code_of(world.report) == "REPORT_STATUS"


def test_a_device_is_reported_lost_from_another_by_its_owner_only(world: World) -> None:

    device_id = world.state.held.device_id
    with world.server() as server:
        stranger = code_of(lambda: server.lost_by_owner(world.signed_in("suzuki"), device_id))
        server.lost_by_owner(world.signed_in(), device_id)

    assert stranger == "DEVICE_UNKNOWN"
    assert world.plane.devices[device_id].status == "lost"


def test_a_change_is_seen_without_asking_anybody(world: World) -> None:
    asked = len(world.plane.requests)
    seen = []
    for value in (True, False):
        world.machine.facts["disk.encrypted"] = value
        with world.device() as device:
            seen.append(device.changed())

    assert seen == [(), ("disk.encrypted",)]
    assert len(world.plane.requests) == asked
