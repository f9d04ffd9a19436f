"""Inviting at the desk: whom, for what, the code once, and taking it back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Response

from device_inventory.device import OWNERSHIPS, DeviceRecordError
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.paging import After
from zt_engine.control_plane.portal.answers import Form, Posted, see_other
from zt_engine.control_plane.portal.desk_acting import DeskActing, Invited
from zt_engine.control_plane.portal.desk_forms import INVITE, FormFault, once_of, reason_of, wanted_of
from zt_engine.control_plane.portal.desk_pages import DeskPages
from zt_engine.control_plane.portal.desk_reading import DeskReading
from zt_engine.control_plane.portal.visitor import Visitor, officer
from zt_engine.control_plane.routes import PathText, Words
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.pages.desk import message

Reader = Annotated[Visitor, Depends(officer("invitations.read"))]
Inviter = Annotated[Visitor, Depends(officer("invitations.write"))]
Asked = Annotated[str, Query(max_length=64)]

USUAL_CEILING: Final = 200
_FIELD_OF: Final = {"DEVICE_NOT_FOUND": "replaces"}


def invitation_routes(
    plane: ControlPlane, routes: APIRouter, reading: DeskReading, acting: DeskActing, pages: DeskPages
) -> None:
    """Add the routes of invitations."""
    forms = _Forms(plane, reading, pages)
    _listing(routes, reading, acting, pages)

    @routes.get("/desk/invite")
    def ask(who: Inviter, subject: Words = "", issuer: Words = "", begins: Words = "") -> Response:
        """Show the form, and whom the directory knows."""
        return forms.shown(who, {"subject": subject, "issuer": issuer}, begins=begins.strip())

    @routes.post("/desk/invite")
    def invite(form: Form, who: Inviter) -> Response:
        """Invite, and show the code."""
        key = once_of(form)
        try:
            made = acting.invite(who, wanted_of(form), key=key)
        except FormFault as fault:
            return forms.shown(who, form, wrong=fault.fields)
        except (InputError, DeviceRecordError) as error:
            field = error.field if isinstance(error, DeviceRecordError) else error.where
            if error.code == "IDEMPOTENCY_MISMATCH" or error.code not in ("INVITE_TERMS", *_FIELD_OF):
                return pages.refused(who, error, back="/desk/invite", tab="invite")
            return forms.shown(who, form, wrong=(_FIELD_OF.get(error.code, field),))
        return forms.made(who, made)


def _listing(routes: APIRouter, reading: DeskReading, acting: DeskActing, pages: DeskPages) -> None:
    @routes.get("/desk/invitations")
    def invitations(who: Reader, after: After = "", which: Asked = "", withdrawn: Asked = "") -> Response:
        """List invitations."""
        every = which == "all"
        found = reading.invitations(after=after, closed=every)
        kept = {"which": "all"} if every else {}
        return pages.show(
            "invitations",
            who,
            tab="invitations",
            found=found.items,
            every=every,
            withdrawn=bool(withdrawn) and _is_withdrawn(reading, withdrawn),
            after=after,
            first=f"/desk/invitations?{urlencode(kept)}",
            next=f"/desk/invitations?{urlencode(kept | {'after': found.next})}" if found.next else "",
        )

    @routes.get("/desk/invitations/{invitation_id}/withdraw")
    def ask(who: Inviter, invitation_id: PathText) -> Response:
        """Ask before an invitation is withdrawn."""
        return asked(who, invitation_id)

    @routes.post("/desk/invitations/{invitation_id}/withdraw")
    def withdraw(who: Inviter, invitation_id: PathText, form: Form) -> Response:
        """Withdraw an invitation."""
        key = once_of(form)
        try:
            acting.withdraw(who, invitation_id, reason=reason_of(form), key=key)
        except FormFault:
            return asked(who, invitation_id, said=form.get("reason", ""), wrong=True)
        except (InputError, UnavailableError, DeviceRecordError) as error:
            happened = reading.registered(invitation_id) if error.code == "INVITE_USED" else ()
            if not happened:
                return pages.refused(who, error, back="/desk/invitations", tab="invitations")
            back = "/desk/invitations?which=all"
            return pages.changed(who, happened, thing="invitation", code=error.code, back=back, tab="invitations")
        return see_other(f"/desk/invitations?{urlencode({'withdrawn': invitation_id})}")

    def asked(who: Visitor, invitation_id: str, *, said: str = "", wrong: bool = False) -> Response:
        held, state = reading.invitation(invitation_id)
        if state == "withdrawn":
            return see_other("/desk/invitations")
        return pages.show(
            "withdraw",
            who,
            tab="invitations",
            status=422 if wrong else 200,
            held=held,
            state=state,
            action=f"/desk/invitations/{quote(invitation_id, safe='')}/withdraw",
            said=said,
            wrong=wrong,
        )


def _is_withdrawn(reading: DeskReading, invitation_id: str) -> bool:
    try:
        return reading.invitation(invitation_id)[1] == "withdrawn"
    except InputError:
        return False


class _Forms:
    """The form of an invitation, and what comes of it."""

    def __init__(self, plane: ControlPlane, reading: DeskReading, pages: DeskPages) -> None:
        settings = plane.settings
        self._issuer = settings.enrolling.issuer or settings.home_issuer
        self._approval_above = settings.approval_above
        self._reading = reading
        self._pages = pages

    def shown(self, who: Visitor, form: Posted, *, wrong: Collection[str] = (), begins: str = "") -> Response:
        """Return the form as it was filled in, with what is wrong in it."""
        issuer = form.get("issuer", "") or self._issuer
        people, more = self._reading.people(issuer, begins)
        ceilings = self._pages.ceilings(who)
        usual = max((rank for rank, _ in ceilings if rank <= USUAL_CEILING), default=ceilings[0][0])
        held = {name: form.get(name, "") for name in INVITE}
        held["ceiling"] = held["ceiling"] or str(usual)
        held["ownership"] = held["ownership"] or "corp"
        return self._pages.show(
            "invite",
            who,
            tab="invite",
            status=422 if wrong else 200,
            held=held,
            wrong=frozenset(wrong),
            ownerships=OWNERSHIPS,
            ceilings=ceilings,
            issuer=self._issuer,
            begins=begins,
            people=people,
            people_more=more,
            approval_above=self._approval_above,
        )

    def made(self, who: Visitor, made: Invited) -> Response:
        """Return the page that tells the code, this once."""
        until = self._pages.words(who).moment(made.not_after)
        texts = [
            (language, message(language, code=made.code, link=made.link, until=until))
            for language in (("ja", "en") if who.language == "ja" else ("en", "ja"))
        ]
        return self._pages.show("invited", who, tab="invite", status=201, made=made, messages=texts)
