"""The directory: what is said of people and programs, and what becomes of their devices when they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from device_inventory.device import DeviceStatus
from device_inventory.enrollment import UNDER_WAY, advance
from device_inventory.invitation import Invitation
from device_inventory.operations import offboard
from zt_engine.control_plane.access import Administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.invitations import Invitations
from zt_engine.control_plane.ledger import Ledger, keep_enrollment, revoke, write_down
from zt_engine.control_plane.passkeys import forget_keys
from zt_engine.core.errors import InputError
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.issuer import subject_name
from zt_engine.ports.inventory import DeviceFilter, EnrollmentFilter, Transaction

LEFT: Final = "left"
TOKENS_LIVE: Final = 86_400
"""No access token lives longer; by then the record alone keeps a person out."""
_PAGE: Final = 500
_IN_SERVICE: Final[frozenset[DeviceStatus]] = frozenset({"invited", "enrolled", "active", "quarantined", "lost"})


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """Who leaves, and the devices somebody has to be found to answer for."""

    issuer: str
    subject: str
    name: str
    sponsored: tuple[str, ...]


class Directory:
    """The subjects of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._record = Ledger(plane.settings.facts)
        self._invitations = Invitations(plane)

    def put(
        self,
        tx: Transaction,
        issuer: str,
        subject: str,
        members: Mapping[str, Any],
        *,
        expected: int | None,
        who: Administrator,
        now: int,
    ) -> SubjectRecord:
        """Replace a record. `expected` is the version that was looked at; RECORD_CHANGED when it is another one."""
        before = tx.situation.subject(issuer, subject)
        version = before.version if before is not None else 0
        if expected is not None and expected != version:
            raise InputError("RECORD_CHANGED", f"the record has version {version} by now", where="version")
        raw = msgspec.json.encode({**members, "id": subject, "issuer": issuer, "version": version + 1})
        after = self._plane.records.subject(raw)
        self._keep(tx, after, before=before, actor=who.actor, action="subject.changed", now=now, reason="")
        return after

    def leaving(self, issuer: str, subject: str) -> Leaving:
        """Find what somebody answers for, in a transaction of its own: it looks through every device."""
        settings = self._plane.settings
        name = subject_name(issuer, subject, home=settings.home_issuer or issuer)
        sponsored = []
        after = ""
        while True:
            with self._plane.store.reading(settings.tenant) as tx:
                page = tx.devices.page(DeviceFilter(), after=after, limit=_PAGE)
            sponsored += [one.device_id for one in page if one.sponsor == name and one.status in _IN_SERVICE]
            if len(page) < _PAGE:
                return Leaving(issuer=issuer, subject=subject, name=name, sponsored=tuple(sponsored))
            after = page[-1].device_id

    def offboard(
        self, tx: Transaction, leaving: Leaving, *, who: Administrator, reason: str, now: int
    ) -> dict[str, Any]:
        """Take a person who leaves off everything at once; SUBJECT_NOT_FOUND when nothing here is theirs.

        Their record opens nothing any more, their tokens are revoked, invitations withdrawn, enrollments under way
        refused, keys forgotten, and no device is left without somebody who has to look after it.
        """
        before = tx.situation.subject(leaving.issuer, leaving.subject)
        devices = self._devices(tx, leaving, who=who, reason=reason, now=now)
        invitations = self._invited(tx, leaving, who=who, reason=reason, now=now)
        enrollments = _refused(tx, leaving, actor=who.actor, now=now)
        # From here on nothing of theirs becomes a device: what became one since they were looked for is taken as well.
        late = tuple(_used(tx, leaving))
        devices += self._devices(tx, replace(leaving, sponsored=late), who=who, reason=reason, now=now)
        if before is None and not devices and not invitations and not enrollments:
            raise InputError("SUBJECT_NOT_FOUND", "neither the directory nor a device knows this person")
        revoke(tx, "subject", f"{leaving.issuer}|{leaving.subject}", now + TOKENS_LIVE)
        forget_keys(tx, leaving.issuer, leaving.subject, actor=who.actor, reason=reason, now=now)
        if before is not None and before.status != LEFT:
            after = replace(before, status=LEFT, version=before.version + 1)
            self._keep(tx, after, before=before, actor=who.actor, action="subject.left", now=now, reason=reason)
        else:
            object_ = f"subject:{leaving.issuer}|{leaving.subject}"
            write_down(tx, actor=who.actor, action="subject.left", object_=object_, reason=reason, now=now)
        return {
            "subject": leaving.name,
            "devices": devices,
            "invitations": invitations,
            "enrollments": enrollments,
        }

    def _devices(
        self, tx: Transaction, leaving: Leaving, *, who: Administrator, reason: str, now: int
    ) -> list[dict[str, Any]]:
        held = {device.device_id: device for device in tx.devices.of_owner(leaving.name)}
        for device_id in leaving.sponsored:
            found = tx.devices.get(device_id)
            if found is not None:
                held[device_id] = found
        done = []
        for before in held.values():
            after = offboard(before, subject=leaving.name, now=now, reason=reason)
            if after is not before:
                self._record(tx, after, before=before, actor=who.actor, action="device.returned", now=now)
                done.append({"id": after.device_id, "status": after.status, "owner": after.owner})
        return done

    def _invited(self, tx: Transaction, leaving: Leaving, *, who: Administrator, reason: str, now: int) -> list[str]:
        done = []
        for id_ in list(_open_invitations(tx, leaving)):
            self._invitations.withdraw(tx, id_, actor=who.actor, reason=reason, now=now)
            done.append(id_)
        return done

    def _keep(
        self,
        tx: Transaction,
        after: SubjectRecord,
        *,
        before: SubjectRecord | None,
        actor: str,
        action: str,
        now: int,
        reason: str,
    ) -> None:
        tx.situation.put_subject(after)
        tx.outbox.announce("subject.changed", msgspec.json.encode(after))
        write_down(
            tx,
            actor=actor,
            action=action,
            object_=f"subject:{after.issuer}|{after.id}",
            reason=reason,
            before=None if before is None else msgspec.to_builtins(before),
            after=msgspec.to_builtins(after),
            now=now,
        )


def _open_invitations(tx: Transaction, leaving: Leaving) -> Iterator[str]:
    return (one.id for one in _concerning(tx, leaving) if one.state == "open")


def _used(tx: Transaction, leaving: Leaving) -> Iterator[str]:
    """Yield the devices that came of invitations of theirs, or of those they answer for."""
    for one in list(_concerning(tx, leaving)):
        enrollment = tx.enrollments.get(one.enrollment) if one.state == "used" and one.enrollment else None
        if enrollment is not None and enrollment.device_id:
            yield enrollment.device_id


def _concerning(tx: Transaction, leaving: Leaving) -> Iterator[Invitation]:
    after = ""
    while page := tx.invitations.page(after=after, limit=_PAGE):
        for one in page:
            if (one.issuer, one.subject) == (leaving.issuer, leaving.subject) or one.sponsor == leaving.name:
                yield one
        after = page[-1].id


def _refused(tx: Transaction, leaving: Leaving, *, actor: str, now: int) -> list[str]:
    done = []
    wanted = EnrollmentFilter(states=UNDER_WAY, issuer=leaving.issuer, subject=leaving.subject)
    after = ""
    while page := tx.enrollments.page(wanted, after=after, limit=_PAGE):
        for one in page:
            keep_enrollment(tx, advance(one, "refuse", now=now), before=one, actor=actor, now=now)
            done.append(one.id)
        after = page[-1].id
    return done
