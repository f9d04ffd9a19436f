"""What time alone brings about: late enrollments end, devices are retired at their end, what is old is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import pytest

from device_inventory.enrollment import Enrollment
from device_inventory.inventory import SourceFacts
from device_inventory.notice import RETENTION_DAYS
from tests.control_support import NOW, TENANT, Control, a_device
from zt_engine.control_plane import housekeeping
from zt_engine.control_plane.housekeeping import Housekeeping
from zt_engine.control_plane.ledger import revoke

DAY = 86_400


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as one:
        yield one


def enrollment(id_: str, state: str, *, device: str = "", not_after: int = NOW + 10) -> Enrollment:
    return Enrollment(
        tenant=TENANT, id=id_, invitation="inv", issuer="https://idp.example", subject="tanaka", state=state,
        secret_digest="0" * 64, device_id=device, started_at=NOW, changed_at=NOW, not_after=not_after,
    )  # fmt: skip


def test_an_enrollment_that_took_too_long_ends_and_revokes_what_was_certified_on_the_way(control: Control) -> None:
    control.put(a_device(status="enrolled", report_received_at=0))
    with control.store.writing(TENANT) as tx:
        tx.enrollments.put(enrollment("late", "certified", device="laptop-1"))
        tx.enrollments.put(enrollment("waits", "waiting"))
        tx.enrollments.put(enrollment("in-time", "consented", not_after=NOW + 99))
    control.announced()

    done = Housekeeping(control.plane).turn(now=NOW + 10)

    with control.store.reading(TENANT) as tx:
        states = {id_: tx.enrollments.get(id_).state for id_ in ("late", "waits", "in-time")}  # type: ignore[union-attr]
    assert states == {"late": "expired", "waits": "waiting", "in-time": "consented"}
    assert done.expired == 1
    assert control.device("laptop-1").status == "revoked"
    assert [kind for kind, _ in control.announced()][-1] == "device.changed"
    assert {event.actor for event in control.audit()[-2:]} == {"system"}


def test_a_device_whose_end_has_come_is_retired(control: Control) -> None:
    control.put(a_device("over", kind="contractor", sponsor="suzuki", ends_at=NOW))
    control.put(a_device("goes-on", kind="contractor", sponsor="suzuki", ends_at=NOW + 1))
    control.announced()

    done = Housekeeping(control.plane).turn(now=NOW)

    assert done.retired == 1
    assert (control.device("over").status, control.device("goes-on").status) == ("retired", "active")
    assert {data["key"] for kind, data in control.announced() if kind == "revocation.added"} >= {"over"}


def test_what_was_collected_is_forgotten_when_the_notice_says_so(control: Control) -> None:
    sources = MappingProxyType({"agent": SourceFacts(source="agent", received_at=NOW)})
    control.put(a_device(status="retired", sources=sources, changed_at=NOW))
    keeper = Housekeeping(control.plane)

    early = keeper.turn(now=NOW + RETENTION_DAYS * DAY - 1)
    due = keeper.turn(now=NOW + RETENTION_DAYS * DAY)

    assert (early.forgotten, due.forgotten) == (0, 1)
    assert control.device("laptop-1").sources == {}
    assert control.device("laptop-1").keys != ()


def test_a_large_inventory_is_gone_through_in_many_turns(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PAGE", 2)
    for number in range(5):
        control.put(a_device(f"d{number}", ends_at=NOW))
    keeper = Housekeeping(control.plane)

    assert [keeper.turn(now=NOW).retired for _ in range(4)] == [2, 2, 1, 0]


def test_a_revocation_is_held_for_a_day_after_its_end(control: Control) -> None:
    with control.store.writing(TENANT) as tx:
        revoke(tx, "jti", "t1", NOW)
        revoke(tx, "jti", "t2", None)

    Housekeeping(control.plane).turn(now=NOW + DAY)
    with control.store.reading(TENANT) as tx:
        kept = len(tx.situation.all("revocation"))
    Housekeeping(control.plane).turn(now=NOW + DAY + 1)

    assert kept == 2
    with control.store.reading(TENANT) as tx:
        assert len(tx.situation.all("revocation")) == 1


def test_nothing_is_done_twice(control: Control) -> None:
    control.put(a_device(ends_at=NOW))
    keeper = Housekeeping(control.plane)
    keeper.turn(now=NOW)
    audited = len(control.audit())

    keeper.turn(now=NOW + 60)

    assert len(control.audit()) == audited
