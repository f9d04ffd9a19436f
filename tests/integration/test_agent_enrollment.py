"""An agent enrolls at a control plane over real HTTP, and whatever breaks off on the way is resumed."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from device_inventory.agent.control_plane import ControlPlane
from device_inventory.agent.errors import AgentError, RefusedError
from device_inventory.agent.jose import payload
from device_inventory.agent.keys import Challenge, KeyWish
from device_inventory.agent.state import Home, Item, KeyRef
from device_inventory.agent.wire import Wire
from device_inventory.notice import allowed
from tests.fakes.agent_world import Killed, World, code_of
from tests.fakes.control_plane_http import problem

SAVES = range(1, 14)
"""More files than one enrollment writes."""
REQUESTS = range(1, 12)
"""More requests than one enrollment makes."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.plane:
        yield made


def keys(home: Home) -> list[Path]:
    return sorted(home.path.glob("zt-device-*.pem"))


def test_a_machine_enrolls_and_has_reported(world: World) -> None:
    done = world.enroll()

    assert [device.status for device in world.plane.devices.values()] == ["active"]
    assert list(world.plane.devices) == [done.held.device_id]
    assert done.outcome.answer.items == ()
    assert [claims["delta"] for claims in world.plane.reports] == [False]


def test_what_is_enrolled_keeps_no_secret_and_no_code(world: World) -> None:
    world.enroll()

    kept = b"".join(path.read_bytes() for path in world.home.path.iterdir())
    assert world.state.session is None
    assert world.code.encode() not in kept


def test_everything_in_the_folder_is_its_owners_alone(world: World) -> None:
    world.enroll()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in world.home.path.iterdir()}
    assert stat.S_IMODE(world.home.path.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("number", SAVES)
def test_killed_after_any_file_was_written_it_ends_enrolled_as_one_device_with_one_key(
    world: World, tmp_path: Path, number: int
) -> None:
    left = [number]

    def killed(_name: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    world.home = Home(tmp_path / "home", after_save=killed)
    with contextlib.suppress(Killed):
        world.enroll()
    world.home = Home(tmp_path / "home")
    with contextlib.suppress(AgentError):
        world.enroll()  # AGENT_ENROLLED when the kill came after everything was done

    assert world.state.session is None
    assert [device.status for device in world.plane.devices.values()] == ["active"]
    assert len(keys(world.home)) == 1
    assert world.report().answer.accepted


def test_the_kills_reach_every_file_an_enrollment_writes(world: World, tmp_path: Path) -> None:
    written: list[str] = []
    world.home = Home(tmp_path / "home", after_save=written.append)

    world.enroll()

    assert 7 <= len(written) < SAVES[-1]


@pytest.mark.parametrize("number", REQUESTS)
def test_when_the_answer_to_any_request_is_lost_it_ends_enrolled_as_one_device(world: World, number: int) -> None:
    world.drop_answer(number)
    try:
        world.enroll()
    except AgentError as error:
        assert error.code == "AGENT_SERVER_UNREACHABLE"
        world.enroll()

    assert [device.status for device in world.plane.devices.values()] == ["active"]
    assert len(keys(world.home)) == 1


def test_the_lost_answers_reach_every_request(world: World) -> None:
    world.enroll()

    assert 7 <= len(world.plane.requests) < REQUESTS[-1]


def test_what_was_agreed_to_is_not_asked_again_after_a_kill(world: World) -> None:
    world.drop_answer(5)  # the consent itself
    with pytest.raises(AgentError):
        world.enroll()
    world.plane.after = lambda method, path: None
    world.enroll()

    assert len(world.person.notices) == 1
    assert world.person.sign_ins == 1


def test_a_begun_enrollment_is_resumed_without_the_code(world: World) -> None:
    world.drop_answer(6)
    with pytest.raises(AgentError):
        world.enroll()
    world.plane.after = lambda method, path: None

    assert world.enroll("").outcome.answer.accepted


def test_without_a_code_and_with_nothing_begun_it_says_what_is_missing(world: World) -> None:
    assert code_of(lambda: world.enroll("")) == "AGENT_INVITATION_MALFORMED"


def test_a_session_that_the_server_ended_is_begun_anew(world: World) -> None:
    world.drop_answer(6)
    with pytest.raises(AgentError):
        world.enroll()
    world.plane.after = lambda method, path: None
    for id_, held in world.plane.enrollments.items():
        world.plane.enrollments[id_] = replace(held, secret_digest="")
    world.enroll()

    assert world.person.sign_ins == 2
    assert len(world.plane.devices) == 1


# -- consent


def test_nothing_is_collected_before_the_person_agreed(world: World) -> None:
    world.person.agrees = False

    assert code_of(world.enroll) == "AGENT_CONSENT_REFUSED"
    assert world.machine.looks == []
    assert not any(path.endswith(("/consent", "/key", "/reports")) for _, path in world.plane.requests)
    assert keys(world.home) == []


def test_a_notice_that_changed_meanwhile_is_shown_again(world: World) -> None:
    before = world.plane.notice_version

    def changed(method: str, path: str) -> None:
        if path == "/v1/enroll/notice" and world.plane.notice_version == before:
            world.plane.notice_version = "newer"

    world.plane.after = changed
    world.enroll()

    assert [notice.version for notice, _ in world.person.notices] == [before, "newer"]
    assert world.state.agreed.version == "newer"


def test_a_device_of_ones_own_is_shown_the_shorter_list_and_sends_nothing_else(world: World) -> None:
    world.machine.facts = dict.fromkeys(("os.id", "device.model", "tpm.version"), "x") | {"disk.encrypted": True}
    world.machine.key = {"kty": "EC"}
    world.machine.word = lambda nonce, device: "never asked"
    world.enroll(world.plane.invite("tanaka", ownership="byod"))

    assert world.person.notices[0][1] == "byod"
    assert {fact.name for fact in world.person.notices[0][0].facts} == allowed("byod")
    assert set(world.plane.reports[0]["facts"]) <= allowed("byod")
    assert world.plane.key_bodies[0]["helper_key"] is None
    assert "helper" not in world.plane.reports[0]


# -- the key


def test_auto_says_which_better_key_it_did_not_choose_and_why(world: World) -> None:
    world.enroll(wish=KeyWish(wanted="auto"))

    choice = world.person.choices[0]
    assert choice.kind == "file"
    assert [passed.kind for passed in choice.passed_over] == ["tpm", "pkcs11"]
    assert all(passed.reason.code.startswith(("AGENT_TPM_", "AGENT_PKCS11_")) for passed in choice.passed_over)
    assert world.plane.key_bodies[0]["key_protection"] == "file"


@pytest.mark.parametrize("wanted", ["tpm", "pkcs11"])
def test_a_key_that_cannot_be_had_is_an_error_and_no_other_key_is_made(world: World, wanted: str) -> None:
    assert code_of(lambda: world.enroll(wish=KeyWish(wanted=wanted))).startswith(f"AGENT_{wanted.upper()}_")
    assert keys(world.home) == []
    assert world.plane.devices == {}


def test_where_proof_of_hardware_is_demanded_no_key_is_made_without_it(world: World) -> None:
    world.plane.attestation = "required"

    assert code_of(world.enroll) == "AGENT_ATTESTATION_REQUIRED"
    assert keys(world.home) == []


def test_a_certificate_of_another_key_is_not_used(world: World) -> None:
    real = world.plane._issue

    def swapped(device_id, csr, key, protection, now):
        _, held = real(device_id, csr, key, protection, now)
        other = world.plane.ca.issue(device_id, now=now)
        return {"device_id": device_id, "certificate": other.pem.decode(), "chain": ""}, held

    world.plane._issue = swapped

    assert code_of(world.enroll) == "AGENT_CERTIFICATE_UNFIT"
    assert world.state.held is None


def test_a_certificate_of_another_device_is_not_used(world: World) -> None:
    real = world.plane._issue

    def swapped(device_id, csr, key, protection, now):
        answer, held = real("another", csr, key, protection, now)
        return {**answer, "device_id": device_id}, held

    world.plane._issue = swapped

    assert code_of(world.enroll) == "AGENT_CERTIFICATE_UNFIT"


# -- refusals


def test_somebody_elses_invitation_is_refused_in_the_servers_words(world: World) -> None:
    with pytest.raises(RefusedError) as caught:
        world.enroll(world.plane.invite("suzuki"))

    assert caught.value.code == "INVITE_FOREIGN"
    assert caught.value.hint


def test_an_invitation_that_is_over_or_used_is_refused(world: World, tmp_path: Path) -> None:
    world.enroll()
    world.home = Home(tmp_path / "second")

    assert code_of(world.enroll) == "INVITE_USED"
    world.code = world.plane.invite("tanaka")
    world.clock.advance(73 * 3600)
    assert code_of(world.enroll) == "INVITE_EXPIRED"


def test_an_enrollment_that_took_too_long_is_over_and_another_invitation_works(world: World) -> None:
    world.drop_answer(6)
    with pytest.raises(AgentError):
        world.enroll()
    world.plane.after = lambda method, path: None
    for id_, held in world.plane.enrollments.items():
        world.plane.enrollments[id_] = replace(held, state="expired")

    assert code_of(world.enroll) == "AGENT_ENROLLMENT_EXPIRED"
    assert world.enroll(world.plane.invite("tanaka")).outcome.answer.accepted


def test_a_refusal_without_a_code_of_ours_is_still_one(world: World) -> None:
    world.plane.refuse = lambda method, path: (403, {}, b"<html>") if path == "/v1/enroll" else None

    assert code_of(world.enroll) == "AGENT_REFUSED"


def test_what_a_server_says_cannot_write_on_the_terminal(world: World) -> None:
    nasty = problem(409, "INVITE_USED", "\x1b]0;owned\x07\x1b[2J" + "x" * 5000)
    world.plane.refuse = lambda method, path: nasty if path == "/v1/enroll" else None

    with pytest.raises(RefusedError) as caught:
        world.enroll()

    assert caught.value.message.isprintable()
    assert len(caught.value.message) <= 500


# -- again


def test_what_is_enrolled_is_not_enrolled_again_by_accident(world: World) -> None:
    world.enroll()

    assert code_of(lambda: world.enroll(world.plane.invite("tanaka"))) == "AGENT_ENROLLED"


def test_enrolled_again_it_is_another_device_with_another_key(world: World) -> None:
    first = world.enroll()
    key = keys(world.home)
    second = world.enroll(world.plane.invite("tanaka"), again=True)

    spkis = {device.keys[0].spki for device in world.plane.devices.values()}
    assert first.held.device_id != second.held.device_id
    assert len(spkis) == 2
    assert not set(key) & set(keys(world.home))
    assert len(keys(world.home)) == 1


def test_what_is_enrolled_is_not_given_up_for_an_invitation_that_is_none(world: World) -> None:
    first = world.enroll()

    assert code_of(lambda: world.enroll(again=True)) == "INVITE_USED"
    assert world.state.held == first.held
    assert world.report().answer.accepted


# -- proof of where the key is


class FakeTpm:
    """The port `Attester`: asks its one question, and says what it was asked to bind to."""

    def __init__(self, challenge: Challenge, fails: AgentError | None) -> None:
        self._challenge = challenge
        self._fails = fails

    def attest(self, *, nonce: str, csr_digest: str) -> dict[str, object]:
        if self._fails is not None:
            raise self._fails
        return {"nonce": nonce, "csr": csr_digest, "answer": dict(self._challenge({"ek": "1"}))}

    def quote(self, *, nonce: str, device_id: str) -> dict[str, object]:
        if self._fails is not None:
            raise self._fails
        return {"nonce": nonce, "device": device_id}

    def forget(self) -> None:
        self.forgotten += 1

    forgotten = 0


def attested(world: World, fails: AgentError | None = None) -> list[FakeTpm]:
    made: list[FakeTpm] = []

    def attester(home: Home, ref: KeyRef, challenge: Challenge) -> FakeTpm:
        made.append(FakeTpm(challenge, fails))
        return made[-1]

    world.attesters = attester
    real = world.plane._step

    def step(held, name, body):
        return {"credential": "c", "secret": str(body["ek"])} if name == "attestation" else real(held, name, body)

    world.plane._step = step
    return made


def test_where_proof_is_welcome_it_is_given_and_bound_to_nonce_and_request(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    done = world.enroll()

    body = world.plane.key_bodies[0]
    assert body["attestation"]["answer"] == {"credential": "c", "secret": "1"}
    assert body["attestation"]["csr"] == payload(body["proof"])["csr"]
    assert body["attestation"]["nonce"] == payload(body["proof"])["nonce"]
    assert done.held.protection == "attested_hw"


def test_where_proof_is_welcome_and_fails_that_is_said_and_the_key_is_called_no_better(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world, AgentError("AGENT_TPM_FAILED", "no certificate"))
    world.enroll()

    assert [error.code for error in world.person.doubts] == ["AGENT_TPM_FAILED"]
    assert world.plane.key_bodies[0]["key_protection"] == "file"


def test_nobody_is_bothered_with_proof_that_nobody_asked_for(world: World) -> None:
    attested(world, AgentError("AGENT_TPM_FAILED"))
    world.enroll()

    assert world.person.doubts == []
    assert world.plane.key_bodies[0]["attestation"] is None


def test_an_attested_device_quotes_its_boot_in_full_reports_and_twice_a_day(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    world.enroll()
    for seconds in (900, 43_200, 900):
        world.clock.advance(seconds)
        world.report()

    quoted = ["quote" in claims for claims in world.plane.reports]
    assert quoted == [True, False, True, False]
    assert world.plane.reports[0]["quote"]["nonce"] == world.plane.reports[0]["nonce"]


def test_reports_carry_a_quote_as_long_as_the_server_waits_for_another_that_agrees(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    world.enroll()
    waits = Item(code="REPORT_UNCONFIRMED")
    world.home.save(replace(world.state, reporting=replace(world.state.reporting, items=(waits,))))
    for _ in range(2):
        world.clock.advance(620)
        world.report()

    assert ["quote" in claims for claims in world.plane.reports] == [True, True, False]


def test_nothing_is_quoted_from_a_device_whose_notice_does_not_list_it(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    world.enroll(world.plane.invite("tanaka", ownership="byod"))

    assert "quote" not in world.plane.reports[0]
    assert world.state.held.protection == "attested_hw"


def test_the_next_certificate_is_asked_for_with_proof_as_the_first_was(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    world.enroll()
    bodies, real = [], world.plane._renew

    def renew(device, headers, body):
        bodies.append(body)
        return real(device, headers, body)

    world.plane._renew = renew
    shown = (200, {}, b'{"credential": "c", "secret": "s"}')
    world.plane.refuse = lambda method, path: shown if path == "/v1/devices/self/attestation" else None
    world.renew()
    attested(world, AgentError("AGENT_TPM_FAILED", "busy"))
    held = world.renew()

    assert bodies[0]["attestation"]["csr"] == payload(bodies[0]["proof"])["csr"]
    assert "attestation" not in bodies[1]  # whether that will do, the server says
    assert held.protection == "attested_hw"


def test_what_the_server_does_not_take_is_shown_anew_the_next_time(world: World) -> None:
    world.plane.attestation = "optional"
    made = attested(world)
    world.enroll()
    world.plane.refuse = lambda method, path: (
        problem(422, "ATTESTATION_REFUSED") if path.endswith(("/reports", "/renew")) else None
    )

    assert code_of(lambda: world.report(full=True)) == "ATTESTATION_REFUSED"
    assert made[-1].forgotten == 1
    assert code_of(world.renew) == "ATTESTATION_REFUSED"
    assert made[-1].forgotten == 1


def test_a_quote_that_fails_does_not_keep_the_report_and_is_said(world: World) -> None:
    world.plane.attestation = "optional"
    attested(world)
    world.enroll()
    attested(world, AgentError("AGENT_TPM_FAILED", "busy"))
    outcome = world.report(full=True)

    assert outcome.answer.accepted
    assert [trouble.message for trouble in outcome.troubles] == ["busy"]


# -- one control plane


def test_a_folder_belongs_to_one_control_plane(world: World, tmp_path: Path) -> None:
    world.enroll()
    other = World(tmp_path / "other")
    with other.plane:
        other.home = world.home

        assert code_of(other.enroll) == "AGENT_SERVER_OTHER"


# -- the server


def test_a_server_that_goes_by_another_name_is_not_signed_to(world: World) -> None:
    world.plane.terms = {"url": "https://elsewhere.example"}

    assert code_of(world.enroll) == "AGENT_SERVER_NAME"
    assert world.person.sign_ins == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(world: World, status: int) -> None:
    world.plane.refuse = lambda method, path: (status, {"Location": world.plane.url + "/v1/enroll/config"}, b"")

    assert code_of(world.enroll) == "AGENT_SERVER_REDIRECT"
    assert len(world.plane.requests) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"<html>welcome to our lounge</html>"),
        ({}, b"[]"),
        ({}, b'{"tenant": 1}'),
        ({}, b" " * (2 << 20)),
        ({"Content-Encoding": "gzip"}, b"{}"),
    ],
    ids=["html", "list", "wrong types", "large", "compressed"],
)
def test_an_answer_that_cannot_be_one_is_refused(world: World, headers: dict[str, str], body: bytes) -> None:
    world.plane.refuse = lambda method, path: (200, headers, body)

    assert code_of(world.enroll) == "AGENT_SERVER_ANSWER"


def test_an_answer_that_does_not_come_to_an_end_is_given_up(world: World) -> None:
    world.plane.refuse = lambda method, path: (200, {}, b" " * (900 << 10))
    slowly = iter(range(0, 10_000, 20))  # twenty seconds pass with every look at the clock
    with Wire(tls=None, elapsed=lambda: float(next(slowly))) as wire:
        server = ControlPlane(wire, world.plane.url, world.clock.now)

        assert code_of(server.terms) == "AGENT_SERVER_UNREACHABLE"
