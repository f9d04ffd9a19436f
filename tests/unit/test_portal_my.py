""" "My device": everything that is held of it, who looked, and reporting it lost; to its holder and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.control_support import NOW, a_device
from tests.portal_support import PortalOffice


@pytest.fixture
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        made.control.put(a_device(name="Tanaka's laptop"))
        yield made


def test_a_person_sees_their_own_devices_and_nobody_elses(office: PortalOffice) -> None:
    office.control.put(a_device("laptop-2", owner="suzuki", name="Suzuki's laptop"))
    browser = office.browser("tanaka")

    assert browser.get("/my").status_code == 200
    assert "Tanaka's laptop" in browser.text
    assert "Suzuki" not in browser.text
    assert browser.get("/my/devices/laptop-1").status_code == 200
    for other in ("laptop-2", "laptop-9"):
        answer = browser.get(f"/my/devices/{other}")
        assert (answer.status_code, "No such device is registered as yours." in browser.text) == (404, True)


def test_a_device_is_reported_lost_once_however_often_it_is_said(office: PortalOffice) -> None:
    browser, elsewhere = office.browser("tanaka"), office.browser("tanaka")
    browser.get("/my/devices/laptop-1/lost")
    form = {"csrf": browser.csrf}
    assert browser.post("/my/devices/laptop-1/lost").status_code == 200
    assert "This device is reported lost" in browser.text

    assert browser.send("/my/devices/laptop-1/lost", form).status_code == 303
    assert browser.get("/my/devices/laptop-1/lost").status_code == 200
    assert "This device is reported lost" in browser.text

    assert office.control.device("laptop-1").status == "lost"
    assert [event.action for event in office.control.audit()].count("device.lost") == 1
    assert elsewhere.once("GET", "/my").status_code == 303
    assert NOW
