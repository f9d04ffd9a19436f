"""The pages of an enrollment, from the invitation to the first day with the device: `/enroll` and what follows.

INVARIANT: these pages show how far an enrollment is and never take it further. The code alone opens nothing, here as
at the API: it is looked at for whoever signed in, and wrong ones are counted.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import Annotated, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollment import room
from zt_engine.control_plane.invitations import Invitations
from zt_engine.control_plane.nonces import digest
from zt_engine.control_plane.portal.answers import Form, html, page_router, see_other
from zt_engine.control_plane.portal.enroll_journey import Journey, Journeys
from zt_engine.control_plane.portal.enroll_refused import refused
from zt_engine.control_plane.portal.headers import cookies_of
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import place_of, portal_of
from zt_engine.control_plane.portal.visitor import Visitor, identify, visitor
from zt_engine.control_plane.remedies import items
from zt_engine.control_plane.routes import PathText
from zt_engine.core.cookies import Ticket, gone, issued
from zt_engine.core.errors import InputError, ZtError
from zt_engine.core.session import require_same_origin
from zt_engine.pages.enroll import EnrollPages, Machine, Package, Platform, called, reach

NOTICE: Final = "/enroll/notice"
INSTALL: Final = "/enroll/install"
INVITATION: Final = Ticket("__Host-zt-invitation", r"[A-Za-z0-9_-]{6,200}")
"""Carries the code across the sign-in and to the command; it opens nothing by itself."""
INVITATION_SECONDS: Final = 3600
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{6,200}")

PACKAGE: Final = "enrollment.package"
"""Under which name `ControlPlane.extras` holds `Package`."""

SOON: Final = 5
LATER: Final = 30
"""Seconds after which a page that waits looks again: for a machine, and for a person."""

Who = Annotated[Visitor, Depends(visitor)]
Flag = Annotated[str, Query(max_length=1)]
Since = Annotated[int | None, Query(ge=0)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    pages, journeys = EnrollPages(portal_of(plane).book), Journeys(plane, room(plane))
    _invitation(plane, routes, pages)
    _before_the_agent(plane, routes, pages, journeys)
    _progress(plane, routes, pages, journeys)
    return routes


def _invitation(plane: ControlPlane, routes: APIRouter, pages: EnrollPages) -> None:
    place = place_of(plane)

    def encrypted() -> None:
        if place.scheme != "https":
            raise InputError("SIGN_IN_PLAIN", "what comes next is a sign-in, and browsers keep none over plain HTTP")

    @routes.get("/enroll")
    def invitation(request: Request, here: Flag = "", lost: Flag = "") -> Response:
        """Ask for the invitation. Nobody has to sign in before: a sign-in page would be sent the link's fragment."""
        encrypted()
        language, who = language_asked(plane, request), _signed_in(plane, request)
        platform = platform_of(request.headers.get("user-agent", ""))
        if platform is not None and not here:
            return html(pages.elsewhere(language, who, platform=platform, to="/enroll?here=1"))
        return html(pages.invitation(language, who, lost=bool(lost)))

    @routes.post("/enroll")
    def given(request: Request, form: Form) -> Response:
        """Take the invitation to the other side of the sign-in."""
        require_same_origin(
            origin=request.headers.get("origin", "").encode("latin-1"),
            fetch_site=request.headers.get("sec-fetch-site", "").encode("latin-1"),
            expected=place.origin,
        )
        encrypted()
        language, who = language_asked(plane, request), _signed_in(plane, request)
        code = code_in(form.get("code", ""))
        if not code:
            return refused(plane, request, InputError("INVITE_UNKNOWN", "that is no code and no link"), who=who)
        cookie = issued(INVITATION.name, code, seconds=INVITATION_SECONDS)
        if who is not None:
            return see_other(NOTICE, cookie)
        # Browsers follow a form to this site only, so what leads to the sign-in is a page.
        answer = html(pages.leaving(language, NOTICE))
        answer.headers["Refresh"] = f"0; url={NOTICE}"
        answer.headers.append("Set-Cookie", cookie)
        return answer


def _before_the_agent(plane: ControlPlane, routes: APIRouter, pages: EnrollPages, journeys: Journeys) -> None:
    def journey_of(request: Request, who: Visitor) -> tuple[Journey, str] | Response:
        """Return the journey of the invitation at hand and its code, or what there is to say instead."""
        code = kept_code(request)
        if not code:
            return see_other("/enroll?lost=1")
        try:
            found = journeys.invited(code, issuer=who.issuer, subject=who.subject, now=plane.clock.now())
            journey = journeys.of(found.id, issuer=who.issuer, subject=who.subject, now=plane.now())
        except ZtError as error:
            answer = refused(plane, request, error, who=who)
            # Looking at this page again is not another guess.
            answer.headers.append("Set-Cookie", gone(INVITATION.name))
            return answer
        if journey.stage != "command":
            return see_other(path_of(journey))
        if wanted := journeys.wanted(acr=who.acr, amr=who.amr):
            weak = InputError("SIGN_IN_WEAK", "the sign-in shows none of the methods that are demanded here")
            again = urlencode({"to": NOTICE, "acr_values": " ".join(sorted(wanted))})
            return refused(plane, request, weak, who=who, again=f"/.zt/login?{again}")
        return journey, code

    @routes.get(NOTICE)
    def notice(request: Request, who: Who) -> Response:
        """Say what is collected and why, before anything is."""
        found = journey_of(request, who)
        if isinstance(found, Response):
            return found
        invitation = found[0].invitation
        page = pages.notice(
            who.language,
            who,
            ownership=invitation.ownership,
            label=reach(invitation.ceiling, journeys.levels(), who.language),
            approval=invitation.approval,
            until=invitation.not_after,
            to=INSTALL,
        )
        return html(page)

    @routes.get(INSTALL)
    def install(request: Request, who: Who) -> Response:
        """Give the one command."""
        found = journey_of(request, who)
        if isinstance(found, Response):
            return found
        journey, code = found
        command = command_of(plane, code)
        return html(pages.install(who.language, who, command=command, package=package_of(plane), to=path_of(journey)))


def _progress(plane: ControlPlane, routes: APIRouter, pages: EnrollPages, journeys: Journeys) -> None:
    ground = room(plane)

    @routes.get("/enroll/progress/{invitation}")
    def progress(request: Request, invitation: PathText, who: Who, pause: Flag = "", since: Since = None) -> Response:
        """Show how far it is: what is waited for, what is left, or that it is done."""
        try:
            journey = journeys.of(invitation, issuer=who.issuer, subject=who.subject, now=plane.now())
        except ZtError as error:
            return refused(plane, request, error, who=who)
        language, path, levels = who.language, path_of(journey), journeys.levels()
        match journey.stage:
            case "command" | "agree" | "key" | "report" | "approval":
                seconds = LATER if journey.stage == "approval" else SOON
                code = kept_code(request)
                ours = bool(code) and digest(code) == journey.invitation.code_digest
                page = pages.waiting(
                    language,
                    who,
                    stage=journey.stage,
                    command=command_of(plane, code) if ours else "",
                    seconds=seconds,
                    paused=bool(pause),
                    path=path,
                )
                answer = html(page)
                if not pause:
                    answer.headers["Refresh"] = str(seconds)
                return answer
            case "remedy" | "welcome":
                listed = items(journey.left, codes=ground.codes, language=language)
            case stage:
                return refused(plane, request, ENDED[stage], who=who)
        next_label = called(journey.next_label, levels, language)
        if journey.stage == "remedy":
            page = pages.remedy(
                language,
                who,
                items=listed,
                label=next_label,
                reported_at=journey.reported_at,
                since=since,
                path=path,
            )
            return html(page)
        device = journey.device
        assert device is not None
        page = pages.welcome(
            language,
            who,
            label=called(journey.good_for or "", levels, language),
            items=listed,
            next_label=next_label,
            machine=Machine(id=device.device_id, name=device.name, model=device.model),
            reported_at=journey.reported_at,
            since=since,
            path=path,
        )
        answer = html(page)
        answer.headers.append("Set-Cookie", gone(INVITATION.name))
        return answer


ENDED: Final = {
    "withdrawn": InputError("INVITE_WITHDRAWN", "the invitation was withdrawn"),
    "over": InputError("INVITE_EXPIRED", "the invitation is over"),
    "expired": InputError("ENROLLMENT_EXPIRED", "the enrollment took too long"),
    "refused": InputError("AGENT_ENROLLMENT_REFUSED", "the enrollment was refused"),
    "held": InputError("AUTH_DEVICE_STATUS", "the device was stopped"),
}
"""What is said where a journey does not go on."""


def _signed_in(plane: ControlPlane, request: Request) -> Visitor | None:
    """Return who looks at a page that anybody may see."""
    try:
        return identify(plane, request)
    except ZtError:
        return None


def path_of(journey: Journey) -> str:
    """Return the page of a journey. It names the invitation: before the agent runs there is nothing else yet."""
    return f"/enroll/progress/{journey.invitation.id}"


def command_of(plane: ControlPlane, code: str) -> str:
    """Return the one command, which names the server and by which CA it is known."""
    return f"zt agent enroll {quote(Invitations(plane).link(code))}"


def package_of(plane: ControlPlane) -> Package:
    """Return where the agent's package comes from, as far as the settings say."""
    found = plane.extras.get(PACKAGE)
    return found if isinstance(found, Package) else Package()


def kept_code(request: Request) -> str:
    """Return the code that this browser carries; empty without one, or with two."""
    return INVITATION.read(cookies_of(request))


def code_in(text: str) -> str:
    """Return the code in what somebody pasted, be it the code or the whole link; empty for neither."""
    text = "".join(text.split())
    if "#" in text:
        try:
            text = parse_qs(text.partition("#")[2], max_num_fields=16).get("code", [""])[0]
        except ValueError:
            return ""
    return text if _CODE.fullmatch(text) else ""


def platform_of(agent: str) -> Platform | None:
    """Return on what the agent does not run, by what a browser says of itself; None where it may, or nobody knows."""
    if re.search(r"Android|iPhone|iPad|iPod|Mobile", agent):
        return "phone"
    if "Windows" in agent:
        return "windows"
    return "mac" if "Macintosh" in agent else None
