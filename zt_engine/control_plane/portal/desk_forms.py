"""The forms of the desk: what was written in them, and what is wrong with it, field by field.

INVARIANT: a field is held to what the API takes (`InvitationBody`, `ReasonBody`), so nothing comes in here that could
not come in there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from zt_engine.control_plane.api.devices import ReasonBody
from zt_engine.control_plane.api.invitations import InvitationBody
from zt_engine.control_plane.invitations import Wanted
from zt_engine.control_plane.portal.answers import Posted
from zt_engine.core.errors import InputError
from zt_engine.pages.desk import JST

_ONCE: Final = re.compile(r"[!-~]{16,128}")
_SEEN: Final = re.compile(r"(\d{1,18})\.([0-9a-f]{32})")
_FIELDS: Final[Mapping[str, str]] = {"not_after_device": "ends_at"}
_LINES: Final = re.compile(r"\s*[\t\r\n]+\s*")
INVITE: Final = ("subject", "issuer", "ownership", "ceiling", "approval", "sponsor", "ends_on", "replaces")
"""The fields of the invitation's form."""


class FormFault(Exception):
    """What somebody wrote cannot be taken; `fields` are those to look at."""

    def __init__(self, *fields: str) -> None:
        super().__init__(*fields)
        self.fields = fields


class Seen(msgspec.Struct, frozen=True):
    """What somebody had before them who decided: the last event, and the standing of the device."""

    seq: int
    standing: str


def new_once() -> str:
    """Return what one shown form is called, so that sending it twice is doing it once."""
    return secrets.token_urlsafe(24)


def once_of(form: Posted) -> str:
    """Return what the form is called; REQUEST_INVALID for one that was not made here."""
    found = form.get("once", "")
    if _ONCE.fullmatch(found) is None:
        raise InputError("REQUEST_INVALID", "the form has no `once`")
    return found


def seen_of(form: Posted) -> Seen:
    """Return what was looked at; REQUEST_INVALID for what no page has said."""
    found = _SEEN.fullmatch(form.get("seen", ""))
    if found is None:
        raise InputError("REQUEST_INVALID", "the form has no `seen`")
    return Seen(int(found[1]), found[2])


def reason_of(form: Posted) -> str:
    """Return the reason in one line, or raise FormFault."""
    reason = _LINES.sub(" ", form.get("reason", "")).strip()
    try:
        return ReasonBody.model_validate({"reason": reason}).reason
    except ValidationError:
        raise FormFault("reason") from None


def wanted_of(form: Posted) -> Wanted:
    """Return the invitation that is asked for, or raise FormFault."""
    words = {name: form.get(name, "").strip() for name in INVITE}
    faults = []
    try:
        ends_at = _end_of(words["ends_on"])
    except (ValueError, OverflowError):
        faults.append("ends_at")
        ends_at = None
    kind = "contractor" if words["sponsor"] else "shared" if words["ownership"] == "shared" else "person"
    members: dict[str, Any] = {
        "subject": words["subject"],
        "issuer": words["issuer"],
        "ownership": words["ownership"],
        "kind": kind,
        "ceiling": int(words["ceiling"]) if re.fullmatch(r"\d{1,4}", words["ceiling"], re.ASCII) else -1,
        "approval": words["approval"] == "yes",
        "sponsor": words["sponsor"],
        "not_after_device": ends_at,
        "replaces": words["replaces"] or None,
    }
    try:
        body = InvitationBody.model_validate(members)
    except ValidationError as error:
        faults += [_FIELDS.get(name, name) for name in (str(fault["loc"][0]) for fault in error.errors())]
    if faults:
        raise FormFault(*faults)
    return Wanted(
        subject=body.subject,
        issuer=body.issuer,
        ownership=body.ownership,
        kind=body.kind,
        ceiling=body.ceiling,
        approval=body.approval,
        sponsor=body.sponsor,
        ends_at=body.not_after_device,
        replaces=body.replaces or "",
    )


def _end_of(day: str) -> int | None:
    """Return the end of a day in Japanese time, None where none is named; ValueError or OverflowError for no day."""
    if not day:
        return None
    midnight = datetime.combine(date.fromisoformat(day), time(), JST) + timedelta(days=1)
    return int(midnight.timestamp())
