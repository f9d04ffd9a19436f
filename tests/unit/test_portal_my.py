"""One's own devices: everything that is held of them, who looked, and reporting one lost; to its holder alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.facts import FactEnvelope
from device_inventory.inventory import Device, FactChange, SourceFacts
from device_inventory.notice import notice
from tests.control_support import NOW, a_device, held_key
from tests.portal_support import ISSUER, Browser, PortalOffice
from tests.world import HEALTHY, facts
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.classification import Level
from zt_engine.pages.my_texts import OTHERS, TEXTS

LEVELS = {
    "C1": Level(code="C1", rank=100, ja="機密性1", en="Level 1"),
    "C2": Level(code="C2", rank=200, ja="機密性2", en="Level 2"),
}


class Readiness:
    """Says what a test wants."""

    def __init__(self) -> None:
        self.label = "C1"
        self.missing: tuple[Unmet, ...] = (
            Unmet(code="FIX_DISK", label="C2", fact="disk.encrypted"),
            Unmet(code="FIX_KEY_PROTECTION", label="C3", fact="device.key_protection"),
            Unmet(code="FIX_SCREEN_LOCK"),
        )

    def unmet(self, record: Any, *, now: int) -> Sequence[Unmet]:
        return self.missing

    def labels(self, record: Any, *, now: int) -> str:
        return self.label


READY = Readiness()


@pytest.fixture(scope="module")
def office() -> Iterator[PortalOffice]:
    parts = EnrollmentParts(readiness=READY, levels=lambda: LEVELS)
    with PortalOffice(extras={PARTS: parts}) as made:
        yield made


def put(office: PortalOffice, device_id: str, **members: Any) -> Device:
    now = office.control.plane.now()
    told = facts({**HEALTHY, "disk.encrypted": False}, now - 240)
    told["tpm.present"] = FactEnvelope(status="not_supported", value=None, method="signed_agent", received_at=now)
    managed = facts({"mdm.compliant": True, "disk.encrypted": True}, now - 7200, "mdm_server")
    known = {
        "name": f"name of {device_id}",
        "created_at": now,
        "sources": {
            "agent": SourceFacts(source="agent", received_at=now - 240, facts=told),
            "intune": SourceFacts(source="intune", received_at=now - 7200, facts=managed),
        },
    }
    return office.control.put(a_device(device_id, **{**known, **members}))


def shown(office: PortalOffice, device: Device, subject: str = "tanaka", language: str = "en") -> Browser:
    browser = office.browser(subject, language=language)
    answer = browser.get(f"/my/devices/{device.device_id}")
    assert answer.status_code == 200, browser.text
    return browser


def test_a_person_sees_their_own_devices_and_nobody_elses(office: PortalOffice) -> None:
    put(office, "own-1", owner="ito")
    put(office, "own-2", owner="ito", status="retired")
    put(office, "theirs", owner="suzuki", assigned=("suzuki", "ito"))
    put(office, "namesake", owner="https://other.example|ito")
    browser = office.browser("ito")

    assert browser.get("/my").status_code == 200
    assert "name of own-1" in browser.text
    assert "Registrations that have ended" in browser.text
    assert "theirs" not in browser.text
    assert "namesake" not in browser.text
    for other in ("theirs", "namesake", "laptop-none", "%2e%2e%2f"):
        for path in ("", "/lost", "/end"):
            answer = browser.get(f"/my/devices/{other}{path}")
            assert (answer.status_code, "No such device is registered as yours." in browser.text) == (404, True)


def test_whoever_holds_nothing_is_told_what_it_takes(office: PortalOffice) -> None:
    browser = office.browser("nobody")
    browser.get("/my")

    assert "No device is registered as yours." in browser.text


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("ownership", ["corp", "byod"])
def test_everything_the_notice_names_is_there_with_what_it_is_for(
    office: PortalOffice, ownership: Any, language: Any
) -> None:
    device = put(office, f"notice-{ownership}-{language}", ownership=ownership)
    text = "".join(shown(office, device, language=language).text.split())

    for item in notice(ownership, language):
        for words in (item.text, item.purpose, item.retention):
            assert "".join(words.split()) in text, item.name


def test_every_word_about_a_fact_is_shown_with_its_age_and_who_said_it(office: PortalOffice) -> None:
    browser = shown(office, put(office, "facts-1"))

    assert "No 4 min ago · Agent (signed report)" in browser.text
    assert "Yes 2 h ago · intune (management server)" in browser.text
    assert "Not known on this device" in browser.text
    assert OTHERS["mdm.compliant"][1] in browser.text
    assert OTHERS["vuln.kev_open"][1] in browser.text


def test_what_a_device_is_good_for_and_what_the_next_label_takes(office: PortalOffice) -> None:
    browser = shown(office, put(office, "ready-1"))

    assert "Good for data up to Level 1" in browser.text
    assert "What Level 2 still takes (1 left)" in browser.text
    assert "What C3 still takes (1 left)" in browser.text
    assert "Worth putting right (1)" in browser.text


@pytest.mark.parametrize(
    ("label", "missing", "words"),
    [
        ("", (Unmet(code="FIX_DISK", label="C1"),), "Nothing opens on it now"),
        ("", (), "What it is good for is judged at each service"),
        ("C2", (), "Nothing is missing on this device."),
    ],
)
def test_nothing_is_said_to_be_open_by_whoever_knows_of_no_label(
    office: PortalOffice, monkeypatch: pytest.MonkeyPatch, label: str, missing: tuple[Unmet, ...], words: str
) -> None:
    monkeypatch.setattr(READY, "label", label)
    monkeypatch.setattr(READY, "missing", missing)

    assert words in shown(office, put(office, f"label-{label}-{len(missing)}")).text


def test_a_device_out_of_service_is_said_to_be_good_for_nothing(office: PortalOffice) -> None:
    for status in ("quarantined", "lost", "revoked", "enrolled"):
        browser = shown(office, put(office, f"out-{status}", status=status, reason="broken screen"))
        assert "Good for" not in browser.text
    assert "Reason: broken screen" in shown(office, office.control.device("out-quarantined")).text


def test_keys_are_shown_with_how_they_are_protected_and_whether_they_count(office: PortalOffice) -> None:
    now = office.control.plane.now()
    keys = (
        held_key("a", protection="file", not_after=now + 9),
        held_key("b", not_after=now - 1),
        held_key("c", protection="attested_hw"),
    )
    keys = (*keys[:2], replace(keys[2], revoked_at=5))
    text = shown(office, put(office, "keys-1", keys=keys)).text
    assert "In a file (it could be copied, so the device is good for less)" in text
    assert "In the security chip, as its maker attests" in text
    for state in ("In force until", "Expired", "Revoked"):
        assert state in text

    lost = shown(office, put(office, "keys-2", keys=(held_key("d"),), status="lost")).text
    assert "In force until" not in lost
    assert "Counts for nothing while the device is lost" in lost
    assert "There is no certificate in force." in shown(office, put(office, "keys-3", keys=())).text


def test_who_looked_is_told_and_what_happened_and_how_values_changed(office: PortalOffice) -> None:
    change = FactChange(fact="disk.encrypted", source="agent", at=NOW - 86_400, status="observed", value=False)
    device = put(office, "history-1", history=(change,))
    assert "Nobody has opened it so far." in shown(office, device).text
    office.control.call("GET", "/v1/devices/history-1", who="helpdesk")
    office.control.call("POST", "/v1/devices/history-1/quarantine", {"reason": "odd traffic"}, who="security")

    browser = shown(office, device)

    assert "JST helpdesk" in browser.text
    assert "Quarantined – security – Reason: odd traffic" in browser.text
    assert "Values that changed (1)" in browser.text
    # One's own look at one's own device is nobody else's business.
    assert [event.action for event in office.control.audit() if event.actor.endswith("|tanaka")].count(
        "device.read"
    ) == 0


# -- reporting it lost


def test_a_loss_is_reported_once_however_often_it_is_said(office: PortalOffice) -> None:
    put(office, "lost-1")
    browser, elsewhere = office.browser("tanaka"), office.browser("tanaka")
    browser.get("/my/devices/lost-1/lost")
    form = {"csrf": browser.csrf}
    assert browser.post("/my/devices/lost-1/lost").status_code == 200
    assert "This device is reported lost" in browser.text

    assert browser.send("/my/devices/lost-1/lost", form).status_code == 303
    browser.get("/my/devices/lost-1/lost")  # the back button
    assert (browser.path, "This device is reported lost" in browser.text) == ("/my/devices/lost-1", True)

    events = [event for event in office.control.audit() if event.object == "device:lost-1"]
    assert [(event.action, event.actor) for event in events][1:] == [("device.lost", f"person:{ISSUER}|tanaka")]
    assert elsewhere.once("GET", "/my").status_code == 303
    assert browser.once("GET", "/my").status_code == 200


def test_a_device_given_to_somebody_else_between_question_and_answer_is_not_lost(office: PortalOffice) -> None:
    put(office, "given-1")
    browser = office.browser("tanaka")
    browser.get("/my/devices/given-1/lost")
    body = {"reason": "moved on", "to": "suzuki"}
    assert office.control.call("POST", "/v1/devices/given-1/transfer", body, who="approver").status_code == 200

    assert browser.post("/my/devices/given-1/lost").status_code == 404
    assert office.control.device("given-1").status == "quarantined"


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_what_is_over_cannot_be_lost(office: PortalOffice, status: Any) -> None:
    put(office, f"over-{status}", status=status)
    browser = office.browser("tanaka")
    browser.get("/my/devices/lost-1")

    browser.get(f"/my/devices/over-{status}/lost")
    assert browser.path == f"/my/devices/over-{status}"
    assert office.control.device(f"over-{status}").status == status


# -- ending it


def test_the_registration_of_ones_own_device_is_ended_once_and_its_keys_with_it(office: PortalOffice) -> None:
    put(office, "byod-1", ownership="byod")
    browser = shown(office, office.control.device("byod-1"))
    assert "End the registration" in browser.text
    office.browser("tanaka")  # somewhere else
    browser.get("/my/devices/byod-1/end")
    form = {"csrf": browser.csrf}
    browser.post("/my/devices/byod-1/end")

    device = office.control.device("byod-1")
    assert (device.status, [key.revoked_at is not None for key in device.keys]) == ("retired", [True])
    ended = [event.reason for event in office.control.audit() if event.action == "session.ended"]
    assert ended[-1] == "the registration of the device byod-1 ended"
    assert browser.send("/my/devices/byod-1/end", form).status_code == 303
    browser.get("/my/devices/byod-1/end")
    assert "Registration has ended" in browser.text


def test_what_the_organisation_lent_is_not_its_holders_to_end(office: PortalOffice) -> None:
    device = put(office, "corp-1")
    browser = shown(office, device)
    assert "End the registration" not in browser.text
    browser.get("/my/devices/corp-1/lost")

    browser.post("/my/devices/corp-1/end")

    assert office.control.device("corp-1").status == "active"


def test_every_text_is_there_in_both_languages_and_asks_for_the_same_values() -> None:
    assert TEXTS["ja"].keys() == TEXTS["en"].keys()
    for name, text in TEXTS["ja"].items():
        for value in ("{label}", "{n}", "{until}", "{days}"):
            assert (value in text) == (value in TEXTS["en"][name]), name
