"""The desk for tests: people of each role, devices in each state, and what their pages offer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest

from device_inventory.asset_ledger import Asset
from device_inventory.enrollment import Enrollment
from device_inventory.invitation import Invitation
from tests.control_support import NOW, TENANT, Control, a_device
from tests.portal_support import ISSUER, Browser, PortalOffice
from zt_engine.adapters.store_sql import tables
from zt_engine.control_plane.app import RATES
from zt_engine.control_plane.limits import Rate

KEPT = (
    tables.device_keys, tables.device_certificates, tables.device_people, tables.devices, tables.invitations,
    tables.enrollments, tables.answers, tables.subjects, tables.situation, tables.audit, tables.assets,
)  # fmt: skip
STATES = {
    "approve": "new-1",
    "quarantine": "active-1",
    "release": "quarantined-1",
    "lost": "active-1",
    "recover": "lost-1",
    "revoke": "active-1",
    "retire": "active-1",
}
"""A device for each operation."""
SERIAL = "5" * 64
REASON = "seen at the counter"
PATH = re.compile(r'href="(/desk[^"#]*)')
ACTION = re.compile(r'<form method="post" action="([^"]*)"')


def an_office() -> PortalOffice:
    """An office where as many may sign in as a module of tests does within one second."""
    many = Rate(1_000_000, 1_000_000)
    return PortalOffice(rates=dict.fromkeys(RATES, (many, many)))


def emptied(office: PortalOffice) -> PortalOffice:
    """The same office with nothing in its inventory: to make another one takes longer than most tests."""
    with office.control.store._database.writing() as connection:
        for table in KEPT:
            connection.execute(table.delete())
    return office


@pytest.fixture(scope="module")
def shared() -> Iterator[PortalOffice]:
    with an_office() as one:
        yield one


@pytest.fixture
def office(shared: PortalOffice) -> PortalOffice:
    return emptied(shared)


def person(office: PortalOffice, role: str, *, language: str = "en", subject: str = "") -> Browser:
    """Somebody of a role, signed in."""
    return office.browser(subject or f"{role}-person", roles=(role,), language=language)


def wait(control: Control, device_id: str = "new-1", *, invited_by: str = "admin:somebody", **members: Any) -> None:
    """Have a device that reported wait for its approval, with what it came from."""
    now = control.plane.now()
    known = {"status": "enrolled", "approval_required": True, "model": "ThinkPad X13", "serial_hash": SERIAL}
    control.put(a_device(device_id, **(known | members)))
    made = invitation(f"inv-{device_id}", invited_by=invited_by, state="used", enrollment=f"enr-{device_id}")
    enrollment = Enrollment(
        tenant=TENANT, id=f"enr-{device_id}", invitation=made.id, issuer=ISSUER, subject="tanaka",
        state="waiting", secret_digest="0" * 64, device_id=device_id, started_at=now - 4000, changed_at=now - 3600,
        not_after=now + 100,
    )  # fmt: skip
    with control.store.writing(TENANT) as tx:
        tx.invitations.put(made)
        tx.enrollments.put(enrollment)


def invitation(name: str = "inv-1", **members: Any) -> Invitation:
    """An invitation of `tanaka` that is open."""
    known = {
        "tenant": TENANT, "id": name, "code_digest": name, "issuer": ISSUER, "subject": "tanaka",
        "assigned": "tanaka", "ownership": "corp", "invited_by": "admin:somebody", "created_at": NOW - 100,
        "not_after": NOW + 72 * 3600,
    }  # fmt: skip
    return Invitation(**(known | members))


def invite(control: Control, *invitations: Invitation) -> None:
    """Have invitations."""
    with control.store.writing(TENANT) as tx:
        for one in invitations:
            tx.invitations.put(one)


def stock(control: Control) -> None:
    """A device in each state, and an invitation that is open."""
    wait(control)
    for status in ("active", "quarantined", "lost"):
        control.put(a_device(f"{status}-1", status=status))
    invite(control, invitation("inv-open"))


def ledger(control: Control, model: str, serial: str = SERIAL, *, owner: str = "田中 太郎") -> None:
    """Have a line in the asset ledger."""
    with control.store.writing(TENANT) as tx:
        tx.assets.put(Asset(serial_hash=serial, source="ledger", heard_at=NOW - 60, model=model, owner=owner))


def hidden(browser: Browser) -> dict[str, str]:
    """The hidden fields of the last page's forms."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', browser.page)
    return {name: unescape(value) for name, value in found}


def operate(browser: Browser, device_id: str, operation: str, reason: str = REASON) -> httpx.Response:
    """Open the page of an operation and press its button."""
    path = f"/desk/devices/{device_id}/{operation}"
    browser.get(path)
    return browser.post(path, hidden(browser) | {"reason": reason})


def walk(browser: Browser, pages: list[str] | None = None) -> Iterator[str]:
    """Follow every link of the desk, and yield where the forms of its pages post to; `pages` gathers what was shown."""
    waiting, seen = ["/desk"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code == 200, (path, browser.text)
        if pages is not None:
            pages.append(browser.page)
        yield from (unescape(action) for action in ACTION.findall(browser.page))
        waiting += [unescape(found) for found in PATH.findall(browser.page)]
