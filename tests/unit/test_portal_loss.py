"""A loss closes what may be open on the device; who looked at a device's record is written down, once an hour."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.control_support import NOW, TENANT, a_device
from tests.portal_support import ISSUER, PortalOffice
from zt_engine.control_plane.enrollment import room
from zt_engine.control_plane.reads import ACTION, Reads, readers
from zt_engine.core.session import SessionRecord
from zt_engine.ports.sessions import HeldSession


@pytest.fixture
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        yield made


def session(office: PortalOffice, name: str, subject: str, device: str = "", issuer: str = ISSUER) -> None:
    record = SessionRecord(
        sid=(name + "A" * 43)[:43], version=1, host="cases.example", issuer=issuer, subject=subject, client_id="portal",
        claims={}, device_id=device, until=NOW + 600,
    )  # fmt: skip
    with office.control.store.writing(TENANT) as tx:
        tx.sessions.put(HeldSession(record=record, ends_at=NOW + 600))


def left(office: PortalOffice) -> set[str]:
    with office.control.store.reading(TENANT) as tx:
        return {held.record.sid.rstrip("A") for held in tx.sessions.page(after="", limit=100)}


def test_the_help_desk_reports_a_loss_and_whatever_may_be_open_on_the_device_ends(office: PortalOffice) -> None:
    office.control.put(a_device(assigned=("tanaka", "suzuki")))
    for name, subject, device in (
        ("on-it", "tanaka", "laptop-1"),
        ("somewhere", "tanaka", ""),
        ("other-device", "tanaka", "laptop-2"),
        ("shares-it", "suzuki", "laptop-1"),
        ("elsewhere", "suzuki", ""),
        ("stranger", "sato", ""),
    ):
        session(office, name, subject, device)
    session(office, "namesake", "tanaka", issuer="https://other.example")

    told = office.control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "left on a train"}, who="helpdesk")

    assert told.json()["status"] == "lost"
    assert left(office) == {"other-device", "elsewhere", "stranger", "namesake"}
    ended = [data["sid"].rstrip("A") for kind, data in office.control.announced() if kind == "session.changed"]
    assert set(ended) == {"on-it", "somewhere", "shares-it"}
    reasons = {event.reason for event in office.control.audit() if event.action == "session.ended"}
    assert reasons == {"the device laptop-1 was lost"}


def test_a_foreign_issuers_person_loses_their_own_sessions_and_no_namesakes(office: PortalOffice) -> None:
    office.control.put(a_device(owner="https://other.example|tanaka", assigned=()))
    session(office, "theirs", "tanaka", issuer="https://other.example")
    session(office, "namesake", "tanaka")

    office.control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "stolen"}, who="helpdesk")

    assert left(office) == {"namesake"}


def looks(office: PortalOffice, device: str = "laptop-1") -> list[str]:
    with office.control.store.reading(TENANT) as tx:
        return [event.actor for event in readers(tx, device, limit=100)]


def test_an_administrator_who_gets_a_devices_record_is_written_down_once_an_hour(office: PortalOffice) -> None:
    office.control.put(a_device())
    office.control.clock.advance(3600 - NOW % 3600)
    for _ in range(3):
        assert office.control.call("GET", "/v1/devices/laptop-1", who="viewer").status_code == 200
    office.control.call("GET", "/v1/devices/laptop-1", who="security")
    assert looks(office) == ["admin:security", "admin:viewer"]

    office.control.clock.advance(3600)
    office.control.call("GET", "/v1/devices/laptop-1", who="viewer")

    assert looks(office) == ["admin:viewer", "admin:security", "admin:viewer"]


def test_looking_for_what_is_not_there_and_listing_write_nothing_down(office: PortalOffice) -> None:
    office.control.put(a_device())

    office.control.call("GET", "/v1/devices/laptop-9", who="viewer")
    office.control.call("GET", "/v1/devices", who="viewer")

    assert ACTION not in [event.action for event in office.control.audit()]


def test_of_many_who_report_one_loss_at_once_one_writes_it_down(office: PortalOffice) -> None:
    office.control.put(a_device())
    losing = room(office.control.plane).losing

    def report(_: int) -> str:
        return losing.by_person(ISSUER, "tanaka", "laptop-1", now=NOW)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(report, range(24))) == {"lost"}

    assert [event.action for event in office.control.audit()].count("device.lost") == 1


def test_of_many_looks_at_once_one_is_written_down(office: PortalOffice) -> None:
    office.control.put(a_device())

    with ThreadPoolExecutor(8) as pool:
        # Each as another process would: what one of them remembers the others do not.
        list(pool.map(lambda _: Reads(office.control.plane).note("laptop-1", actor="admin:sato"), range(24)))

    assert looks(office) == ["admin:sato"]
