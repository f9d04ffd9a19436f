"""The journey over HTTP: the real agent enrolls at the real control plane, with a real CA, and somebody approves.

Whatever breaks off is resumed, whatever is sent twice counts once, and whatever is refused says why in two languages.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import uvicorn
from structlog.testing import capture_logs

from device_inventory.agent.browser_proof import known_hosts
from device_inventory.agent.control_plane import ControlPlane as Server
from device_inventory.agent.device import Device as Agent
from device_inventory.agent.device import Outcome
from device_inventory.agent.enrolling import Enrolled, Enroller
from device_inventory.agent.errors import AgentError, RefusedError, Secret
from device_inventory.agent.keys import KeyWish
from device_inventory.agent.oidc import Binding, SignedIn
from device_inventory.agent.state import Held, Home
from device_inventory.agent.wire import Wire
from device_inventory.inventory import Device
from device_inventory.notice import NOTICE_VERSION
from device_inventory.sign_in import bound_nonce
from tests.control_support import NOW, Control
from tests.csr import make_csr
from tests.enrollment_support import FakeAttestation
from tests.est_support import authority_in_memory
from tests.fakes.agent_machine import FakeMachine, FakePerson
from tests.fakes.persons import SECRET
from tests.issuer import trusted
from tests.unit.test_readiness_following import following, lay
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.control_plane.api.device_self import held_of
from zt_engine.control_plane.api.reports import DEVICE_HOSTS
from zt_engine.control_plane.context import Enrolling
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts

ISSUER = "https://idp.example"
CLIENT = "zt-agent"
REQUESTS = range(1, 10)
"""More requests than one enrollment makes."""


class Plane:
    """The control plane behind a real socket. `lose` drops the answer to one request after it was carried out."""

    def __init__(self, **more: Any) -> None:
        self.idp = DevIssuer(ISSUER, audience=CLIENT)
        self._trusted = trusted(self.idp)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        enrolling = more.pop("enrolling", Enrolling(issuer=ISSUER, client_id=CLIENT))
        self.control = Control(
            url=self.url,
            home_issuer=ISSUER,
            enrolling=enrolling,
            authority=X509CertificateAuthority([authority_in_memory(NOW - 3600)]),
            jws=DeviceJws(),
            people=OidcPersons(self._trusted),
            **more,
        )
        self._left = 0
        self._server = uvicorn.Server(
            uvicorn.Config(self._app, interface="asgi3", log_level="critical", lifespan="off", date_header=False)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.control.__exit__()

    def lose(self, number: int) -> None:
        """Lose the answer to the request with this number, counted from now."""
        self._left = number

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                send = _nobody
        await self.control.app(scope, receive, send)

    @property
    def clock(self) -> Any:
        return self.control.clock

    def id_token(self, subject: str = "tanaka", **claims: object) -> str:
        now = int(self.clock.now())
        asyncio.run(self._trusted.keys.refresh(now))
        said = {"iss": ISSUER, "sub": subject, "aud": CLIENT, "iat": now, "exp": now + 300, "auth_time": now}
        said |= {"nonce": bound_nonce(SECRET, self.control.plane.settings.url), **claims}
        return self.idp.sign(said, header={"typ": "JWT"}).decode()

    def signed_in(self, subject: str = "tanaka") -> SignedIn:
        return SignedIn(token=Secret(self.id_token(subject)), secret=Secret(SECRET))

    def invite(self, subject: str = "tanaka", **terms: Any) -> str:
        body = {"subject": subject, "ownership": "corp", **terms}
        answer = self.control.call("POST", "/v1/invitations", body, who="helpdesk")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    def devices(self) -> list[dict[str, Any]]:
        return list(self.control.call("GET", "/v1/devices", who="viewer").json()["items"])


async def _nobody(message: Any) -> None:
    """Whoever was to be answered is gone."""


class Laptop:
    """A machine, its user, and what the agent keeps."""

    def __init__(self, plane: Plane, folder: Path, subject: str = "tanaka") -> None:
        self.plane = plane
        self.home = Home(folder)
        self.machine = FakeMachine()
        self.person = FakePerson(lambda nonce: plane.id_token(subject, nonce=nonce))

    @contextmanager
    def server(self) -> Iterator[Server]:
        with Wire(tls=None, elapsed=self.plane.clock.elapsed) as wire:
            yield Server(wire, self.plane.url, self.plane.clock.now)

    def enroll(self, code: str, *, again: bool = False) -> Enrolled:
        with self.server() as server:
            wish = KeyWish(wanted="file")
            enroller = Enroller(self.home, server, self.machine, self.plane.clock, self.person, wish=wish)
            return enroller.enroll(code, again=again)

    def work(self, call: Callable[[Agent], Any]) -> Any:
        with self.server() as server, self.home.locked():
            return call(Agent(self.home, server, self.machine, self.plane.clock))

    def report(self) -> Outcome:
        return self.work(lambda device: device.report())

    def renew(self) -> Held:
        return self.work(lambda device: device.renew())

    def lost_by_owner(self, device_id: str, subject: str = "tanaka") -> None:
        with self.server() as server:
            server.lost_by_owner(self.plane.signed_in(subject), device_id)


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as made:
        yield made


@pytest.fixture
def laptop(plane: Plane, tmp_path: Path) -> Laptop:
    return Laptop(plane, tmp_path / "home")


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value.code


# -- the journey


def test_a_teleworker_enrolls_reports_and_is_in_service(plane: Plane, laptop: Laptop) -> None:
    done = laptop.enroll(plane.invite())

    assert (done.outcome.answer.status, done.outcome.answer.seq) == ("active", 1)
    assert [(device["id"], device["status"]) for device in plane.devices()] == [(done.held.device_id, "active")]
    actions = [event.action for event in plane.control.audit()]
    assert actions == [
        "invitation.made",
        "enrollment.started",
        "enrollment.consented",
        "device.enrolled",
        "device.activated",
    ]


def test_a_device_learns_with_its_report_which_hosts_may_know_it_through_a_browser(
    plane: Plane, laptop: Laptop
) -> None:
    laptop.enroll(plane.invite())
    assert known_hosts(laptop.home) == ()

    plane.control.plane.extras[DEVICE_HOSTS] = ("portal.example", "*.corp.example")
    laptop.report()
    assert known_hosts(laptop.home) == ("*.corp.example", "portal.example")

    del plane.control.plane.extras[DEVICE_HOSTS]
    laptop.report()
    assert known_hosts(laptop.home) == ()


def test_what_waits_for_a_second_person_is_approved_by_one(plane: Plane, laptop: Laptop) -> None:
    done = laptop.enroll(plane.invite(approval=True))

    assert done.outcome.answer.status == "enrolled"
    assert done.outcome.answer.items[0].code == "APPROVAL_PENDING"
    path = f"/v1/devices/{done.held.device_id}/approve"
    answer = plane.control.call("POST", path, {"reason": "serial number checked"}, who="approver")
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert laptop.report().answer.status == "active"


def test_the_next_certificates_come_by_themselves(plane: Plane, laptop: Laptop) -> None:
    first = laptop.enroll(plane.invite()).held
    plane.clock.advance(16 * 3600)
    second = laptop.renew()
    plane.clock.advance(16 * 3600)

    assert first.device_id == second.device_id
    assert first.x5t != second.x5t
    assert laptop.report().answer.accepted


def test_a_laptop_that_was_off_over_a_long_weekend_renews_and_goes_on(plane: Plane, laptop: Laptop) -> None:
    laptop.enroll(plane.invite())
    plane.clock.advance(4 * 86_400)

    assert code_of(laptop.report) in ("KEY_ENDED", "AUTH_CERTIFICATE_ENDED")
    laptop.renew()
    assert laptop.report().answer.status == "active"


def test_a_laptop_that_was_off_for_too_long_is_enrolled_anew(plane: Plane, laptop: Laptop) -> None:
    old = laptop.enroll(plane.invite()).held
    plane.clock.advance(9 * 86_400)

    assert code_of(laptop.renew).startswith(("RENEWAL_", "AUTH_"))
    new = laptop.enroll(plane.invite(replaces=old.device_id), again=True).held
    assert new.device_id != old.device_id
    assert {device["id"]: device["status"] for device in plane.devices()} == {
        old.device_id: "revoked",
        new.device_id: "active",
    }


def test_a_loss_is_reported_from_another_machine_and_ends_at_once(plane: Plane, laptop: Laptop, tmp_path: Path) -> None:
    held = laptop.enroll(plane.invite()).held
    other = Laptop(plane, tmp_path / "other")
    other.lost_by_owner(held.device_id)

    assert plane.devices()[0]["status"] == "lost"
    assert code_of(laptop.report) == "AUTH_DEVICE_STATUS"
    recover = f"/v1/devices/{held.device_id}/recover"
    assert plane.control.call("POST", recover, {"reason": "found"}, who="approver").json()["status"] == "quarantined"


def test_whoever_does_not_hold_it_cannot_lose_it(plane: Plane, laptop: Laptop) -> None:
    held = laptop.enroll(plane.invite()).held

    assert code_of(lambda: laptop.lost_by_owner(held.device_id, "sato")) == "LOST_UNKNOWN"
    assert plane.devices()[0]["status"] == "active"


def test_an_owner_who_does_not_know_the_number_is_shown_their_devices(plane: Plane, laptop: Laptop) -> None:
    held = laptop.enroll(plane.invite()).held
    answer = plane.control.call("POST", "/v1/lost", plane.signed_in().body(), who=None)

    assert [device["device_id"] for device in answer.json()["devices"]] == [held.device_id]


def test_a_device_sees_everything_that_is_held_about_it(plane: Plane, laptop: Laptop) -> None:
    held = laptop.enroll(plane.invite()).held
    device = plane.control.device(held.device_id)
    shown = held_of(plane.control.plane, device, now=NOW)

    assert laptop.work(lambda device: device.standing()).status == "active"
    # What is left out only says how far the inventory has come with telling others.
    assert set(Device.__struct_fields__) - set(shown) == {"tenant", "version", "streams", "published"}
    assert set(shown["sources"]["agent"]["facts"]) == {*laptop.machine.facts, *laptop.machine.slow}
    assert {one["age"] for one in shown["sources"]["agent"]["facts"].values()} == {0}


def test_a_device_is_told_what_it_is_good_for_now_and_what_the_next_label_takes(tmp_path: Path) -> None:
    lay(tmp_path, "jp-gov")
    readiness = following(tmp_path)
    with Plane(extras={PARTS: EnrollmentParts(readiness=readiness)}) as plane:
        laptop = Laptop(plane, tmp_path / "home")
        held = laptop.enroll(plane.invite()).held
        working = laptop.work(lambda device: device.standing())
        plane.control.call("POST", f"/v1/devices/{held.device_id}/quarantine", {"reason": "odd"}, who="helpdesk")
        kept_out = laptop.work(lambda device: device.standing())
    readiness.close()

    assert working.good_for == "C1"
    assert next(item.label for item in working.items if item.label) == "C2"
    # As for every device that is not in order, what is published stays open.
    assert kept_out.good_for == "C0"


# -- what breaks off


@pytest.mark.parametrize("number", REQUESTS)
def test_whatever_answer_is_lost_the_same_agent_goes_on(plane: Plane, laptop: Laptop, number: int) -> None:
    code = plane.invite()
    plane.lose(number)
    try:
        laptop.enroll(code)
    except AgentError:
        done = laptop.enroll(code)
        assert done.outcome.answer.accepted
    if laptop.home.load() is None or laptop.home.load().held is None:
        laptop.enroll(code)

    assert [device["status"] for device in plane.devices()] == ["active"]
    assert len({key.spki for key in plane.control.device(plane.devices()[0]["id"]).keys}) == 1


# -- what is refused


def test_a_stolen_invitation_opens_nothing(plane: Plane, tmp_path: Path) -> None:
    code = plane.invite("tanaka")
    thief = Laptop(plane, tmp_path / "thief", "sato")

    with pytest.raises(RefusedError) as caught:
        thief.enroll(code)
    assert (caught.value.code, caught.value.status) == ("INVITE_FOREIGN", 403)
    assert plane.devices() == []


def test_a_second_machine_does_not_enroll_with_a_used_invitation(plane: Plane, laptop: Laptop, tmp_path: Path) -> None:
    code = plane.invite()
    laptop.enroll(code)

    assert code_of(lambda: Laptop(plane, tmp_path / "second").enroll(code)) == "INVITE_USED"
    assert len(plane.devices()) == 1


def started(plane: Plane, subject: str = "tanaka") -> dict[str, Any]:
    """An enrollment that agreed to the notice."""
    body = {"code": plane.invite(subject), **plane.signed_in(subject).body()}
    answer = plane.control.call("POST", "/v1/enroll", body, who=None)
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    consent = step(plane, session, "consent", {"notice_version": NOTICE_VERSION})
    assert consent.status_code == 200, consent.text
    return session


def step(
    plane: Plane, session: dict[str, Any], name: str, body: object = None, *, secret: str = "", **headers: str
) -> httpx.Response:
    headers["authorization"] = f"ZtEnroll {secret or session['secret']}"
    return plane.control.call("POST", f"/v1/enroll/{session['enrollment']}/{name}", body, who=None, **headers)


def test_a_session_needs_its_secret_and_opens_nothing_else(plane: Plane) -> None:
    mine, other = started(plane), started(plane, "sato")

    for answer in (
        step(plane, mine, "nonce", secret="guess"),
        step(plane, mine, "nonce", secret=other["secret"]),
        step(plane, {**mine, "enrollment": other["enrollment"]}, "nonce"),
        step(plane, {**mine, "enrollment": "%00"}, "nonce"),
        plane.control.call("POST", f"/v1/enroll/{mine['enrollment']}/nonce", who="owner"),
        plane.control.call("POST", f"/v1/enroll/{mine['enrollment']}/nonce", who=None),
        plane.control.call("GET", f"/v1/enroll/{mine['enrollment']}", who=None),
    ):
        assert answer.status_code == 401, answer.text
    assert step(plane, mine, "nonce").status_code == 200


@pytest.mark.parametrize(("language", "words"), [("ja", "招待"), ("en", "invitation")])
def test_a_refusal_says_why_and_what_to_do_in_the_language_of_the_person(
    plane: Plane, language: str, words: str
) -> None:
    body = {"code": "no such code", **plane.signed_in().body()}
    answer = plane.control.call("POST", "/v1/enroll", body, who=None, accept_language=language)

    problem = answer.json()
    assert (answer.headers["content-type"], problem["code"]) == ("application/problem+json", "INVITE_UNKNOWN")
    assert words in problem["title"]
    assert problem["remedy"]


def test_the_notice_is_shorter_for_a_device_of_ones_own(plane: Plane) -> None:
    corp, byod = (
        plane.control.call("GET", f"/v1/enroll/notice?ownership={ownership}&lang=ja", who=None).json()
        for ownership in ("corp", "byod")
    )

    assert {fact["name"] for fact in byod["facts"]} < {fact["name"] for fact in corp["facts"]}
    assert all(fact["text"] and fact["purpose"] and fact["retention"] for fact in corp["facts"])
    assert corp["version"] == byod["version"] == NOTICE_VERSION


@pytest.mark.parametrize(
    ("csr", "status", "code"),
    [
        ("x" * 1_048_576, 413, "CSR_TOO_LARGE"),
        ("nonsense", 422, "CSR_MALFORMED"),
        ("", 422, "CSR_MALFORMED"),
        ("\0", 422, "CSR_MALFORMED"),
        (make_csr(name="lap\ntop").decode(), 422, "CSR_NAME"),
    ],
)
def test_a_request_for_a_certificate_that_is_none_is_refused(plane: Plane, csr: str, status: int, code: str) -> None:
    session = started(plane)
    answer = step(plane, session, "key", {"csr": csr, "proof": "a.b.c"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"csr": "x"},
        {"csr": 1, "proof": "x"},
        {"csr": "x", "proof": "x", "key_protection": "perfect"},
        {"csr": "x", "proof": "x", "more": True},
        {"csr": "x", "proof": "x", "attestation": "text"},
    ],
)
def test_a_body_of_another_shape_is_refused(plane: Plane, body: dict[str, Any]) -> None:
    assert step(plane, started(plane), "key", body).status_code == 422


def test_a_body_with_two_readings_is_refused(plane: Plane) -> None:
    raw = b'{"code": "a", "code": "b", "id_token": "c"}'

    assert plane.control.call("POST", "/v1/enroll", raw, who=None).status_code == 400


def test_a_report_is_a_jwt_and_not_too_large(plane: Plane) -> None:
    def send(body: bytes, kind: str) -> tuple[int, str]:
        answer = plane.control.call("POST", "/v1/reports", body, who=None, content_type=kind)
        return answer.status_code, answer.json()["code"]

    assert send(b"{}", "application/json") == (415, "REQUEST_MEDIA_TYPE")
    assert send(b"x", "application/jwt") == (422, "PROOF_MALFORMED")
    assert send(b"x" * (256 * 1024 + 1), "application/jwt")[0] == 413


def test_a_statement_of_a_device_counts_once_and_for_one_route(plane: Plane, laptop: Laptop) -> None:
    laptop.enroll(plane.invite())
    sent: list[str] = []
    original = Wire.send

    def remembered(self: Wire, method: str, url: str, **more: Any) -> Any:
        sent.append(str((more.get("headers") or {}).get("Authorization", "")))
        return original(self, method, url, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wire, "send", remembered)
        laptop.work(lambda device: device.standing())
    statement = sent[-1]

    replayed = plane.control.call("GET", "/v1/devices/self", who=None, authorization=statement)
    elsewhere = plane.control.call("POST", "/v1/devices/self/lost", {}, who=None, authorization=statement)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "AUTH_REPLAYED")
    assert elsewhere.status_code == 401
    assert plane.devices()[0]["status"] == "active"


def test_what_a_strangers_control_plane_learns_from_a_sign_in_opens_nothing_here(plane: Plane) -> None:
    stolen = Binding("https://evil.example")
    sign_in = stolen.signed_in(Secret(plane.id_token(nonce=stolen.nonce)))
    for path, more in (("/v1/enroll", {"code": plane.invite()}), ("/v1/lost", {})):
        answer = plane.control.call("POST", path, {**sign_in.body(), **more}, who=None)

        assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_IN_FOREIGN")
    assert plane.control.announced() == []


def test_each_step_of_an_enrollment_is_one_line_in_the_log_and_no_secret_is_in_it(plane: Plane, laptop: Laptop) -> None:
    code = plane.invite()
    with capture_logs() as logs:
        laptop.enroll(code)
        plane.control.call("POST", "/v1/enroll", {"code": "no such code", **plane.signed_in().body()}, who=None)
    told = [line for line in logs if str(line["event"]).startswith("enrollment.")]

    assert [line["event"] for line in told] == [
        "enrollment.signed_in",
        "enrollment.consented",
        "enrollment.certified",
        "enrollment.went_on",
        "enrollment.refused",
    ]
    assert (told[-1]["step"], told[-1]["code"]) == ("sign_in", "INVITE_UNKNOWN")
    assert told[3]["state"] == "complete"
    assert code not in str(logs)
    assert SECRET not in str(logs)


def test_an_agent_of_before_is_told_to_be_updated(plane: Plane) -> None:
    body = {"code": plane.invite(), "id_token": plane.id_token()}
    problem = plane.control.call("POST", "/v1/enroll", body, who=None, accept_language="en").json()

    assert problem["code"] == "AGENT_OUTDATED"
    assert "Update" in problem["remedy"]


def test_where_nobody_can_sign_in_nobody_enrolls() -> None:
    with Control(authority=None, jws=DeviceJws()) as control:
        body = {"code": "x", "id_token": "y"}
        answer = control.call("POST", "/v1/enroll", body, who=None)

        assert answer.json()["code"] == "ENROLL_CLOSED"
        assert control.call("POST", "/v1/lost", {"id_token": "y"}, who=None).json()["code"] == "ENROLL_CLOSED"


def test_a_tpm_is_asked_to_show_its_keys_only_within_an_enrollment() -> None:
    class Challenger:
        def challenge(self, statement: Any, *, now: float) -> dict[str, str]:
            return {"credential": str(statement["ek"]), "secret": "s"}

    parts = EnrollmentParts(attestation=FakeAttestation(), challenger=Challenger())
    enrolling = Enrolling(issuer=ISSUER, client_id=CLIENT, attestation="optional")
    with Plane(enrolling=enrolling, extras={PARTS: parts}) as plane:
        answer = step(plane, started(plane), "attestation", {"ek": "e", "ak": "a"})
        assert answer.json() == {"credential": "e", "secret": "s"}
        config = plane.control.call("GET", "/v1/enroll/config", who=None).json()
        assert config["attestation"] == "optional"


def test_without_a_verifier_there_is_no_challenge(plane: Plane) -> None:
    assert step(plane, started(plane), "attestation", {"ek": "e"}).json()["code"] == "ATTESTATION_OFF"


def test_every_route_of_an_enrollment_is_described(plane: Plane) -> None:
    described = plane.control.call("GET", "/v1/openapi.json", who="viewer").json()["paths"]

    assert {
        "/v1/enroll",
        "/v1/enroll/config",
        "/v1/enroll/notice",
        "/v1/enroll/{enrollment}",
        "/v1/enroll/{enrollment}/consent",
        "/v1/enroll/{enrollment}/nonce",
        "/v1/enroll/{enrollment}/attestation",
        "/v1/enroll/{enrollment}/key",
        "/v1/devices/nonce",
        "/v1/devices/self",
        "/v1/devices/self/renew",
        "/v1/devices/self/lost",
        "/v1/lost",
        "/v1/reports",
    } <= set(described)
