"""What the buttons of the desk do: the operations of the API, by whoever signed in, once for each form.

INVARIANT: there is no way to a device or an invitation here that the API does not have. The permission is asked for
again where the operation is done, whatever the page showed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.devices import PERMISSION, Devices, Operation, Wish, listed
from zt_engine.control_plane.idempotency import Answer, Write, once
from zt_engine.control_plane.invitations import Invitations, Wanted, shown
from zt_engine.control_plane.portal.desk_forms import Seen
from zt_engine.control_plane.portal.desk_reading import standing
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.control_plane.refusals import refusals
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import Transaction


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation that was made, with what is told once."""

    subject: str
    approval: bool
    not_after: int
    code: str
    link: str

    def __repr__(self) -> str:
        return f"Invited({self.subject!r}, code=...)"


class DeskActing:
    """Acts for the pages of the desk."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._devices = Devices(plane)
        self._invitations = Invitations(plane)

    def operate(self, who: Visitor, device_id: str, operation: Operation, *, reason: str, seen: Seen, key: str) -> None:
        """Do one thing to one device; RECORD_CHANGED when it is not the device any more that was looked at."""
        caller = who.administrator(PERMISSION[operation])
        wish = Wish(operation=operation, reason=reason)

        def work(tx: Transaction) -> Answer:
            held = tx.devices.get(device_id)
            if held is not None and standing(held) != seen.standing:
                raise InputError("RECORD_CHANGED", "the device has changed since it was looked at")
            return Answer(body=listed(self._devices.change(tx, device_id, wish, who=caller, now=self._plane.now())))

        with refusals():
            once(self._plane, _write(who, key, operation, device_id, reason, seen), work)

    def invite(self, who: Visitor, wanted: Wanted, *, key: str) -> Invited:
        """Invite somebody; INVITE_TERMS, DEVICE_NOT_FOUND."""
        caller = who.administrator("invitations.write")

        def work(tx: Transaction) -> Answer:
            now = self._plane.now()
            made, code = self._invitations.invite(tx, wanted, who=caller, now=now)
            told = {"code": code, "link": self._invitations.link(code)}
            return Answer(status=201, body=shown(made, now=now), secrets=told)

        with refusals():
            answer = once(self._plane, _write(who, key, "invite", wanted), work)
        return msgspec.convert(msgspec.json.decode(answer.body), Invited)

    def withdraw(self, who: Visitor, invitation_id: str, *, reason: str, key: str) -> None:
        """Withdraw an invitation; INVITE_NOT_FOUND, INVITE_USED."""
        caller = who.administrator("invitations.write")

        def work(tx: Transaction) -> Answer:
            now = self._plane.now()
            after = self._invitations.withdraw(tx, invitation_id, actor=caller.actor, reason=reason, now=now)
            return Answer(body=shown(after, now=now))

        with refusals():
            once(self._plane, _write(who, key, "withdraw", invitation_id, reason), work)


def _write(who: Visitor, key: str, *said: Any) -> Write:
    digest = hashlib.sha256(b"desk\n" + msgspec.json.encode(said))
    return Write(actor=who.actor, key=key, digest=digest.hexdigest())
