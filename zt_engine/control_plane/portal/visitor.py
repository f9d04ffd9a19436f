"""Who looks at a page: found by the cookie of a session that stands, before any of the body is read.

INVARIANT: nobody is a visitor by anything but a session of this very host that has neither ended nor been revoked, and
what changes something comes from a page of this origin that this very session was shown (`answers`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from fastapi import Request

from zt_engine.control_plane.access import PERMISSIONS, Administrator, Permission, caller
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import actor_of, check_person
from zt_engine.control_plane.portal.headers import cookies_of, sent
from zt_engine.control_plane.portal.language import language_asked
from zt_engine.control_plane.portal.parts import place_of, portal_of, sign_ins_of
from zt_engine.control_plane.portal.refused import refused
from zt_engine.control_plane.portal.revoked import Revoked
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import subject_name
from zt_engine.core.jose import to_base64url
from zt_engine.core.revocable import REVOKED
from zt_engine.core.session import (
    SAFE_METHODS,
    SessionRecord,
    language_of_person,
    require_same_origin,
    session_handle,
    sid_of,
)
from zt_engine.pages.book import Language
from zt_engine.ports.administration import Role

_REVOKED: Final = "portal.revoked"


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signed in and looks at a page."""

    issuer: str
    subject: str
    name: str
    """As rules and records of devices know them."""
    acr: str
    amr: tuple[str, ...]
    auth_time: int | None
    role: Role | None
    """At the desk; None for everybody who is no administrator."""
    names: frozenset[str]
    """Every name they go by: nobody is a second person to themselves."""
    csrf: str
    """What a form of theirs has to hold."""
    language: Language
    sid: str
    device_id: str = ""
    """The device their session is bound to; empty for most."""

    @property
    def actor(self) -> str:
        """As audit events name them."""
        return actor_of(self.issuer, self.subject)

    def administrator(self, permission: Permission) -> Administrator:
        """Return them as an administrator with a permission; AUTH_FORBIDDEN without it."""
        if self.role is None or permission not in PERMISSIONS[self.role]:
            raise InputError("AUTH_FORBIDDEN", f"they lack `{permission}`")
        return Administrator(name=self.name, actor=self.actor, role=self.role, names=self.names)


def identify(plane: ControlPlane, request: Request) -> Visitor:
    """Return who asks.

    SESSION_NOT_FOUND, SESSION_MALFORMED, SESSION_DOUBLED, SESSION_FOREIGN, SESSION_CROSS_SITE, PERSON_INACTIVE,
    SUBJECT_REVOKED, DEVICE_REVOKED, SESSION_REVOKED.
    """
    place = place_of(plane)
    if request.method not in SAFE_METHODS:
        require_same_origin(
            origin=sent(request, b"origin"), fetch_site=sent(request, b"sec-fetch-site"), expected=place.origin
        )
    handle = session_handle(cookies_of(request))
    if not handle:
        raise InputError("SESSION_NOT_FOUND", "no session came")
    now = plane.now()
    record = sign_ins_of(plane).refresh(sid_of(handle), now=now)
    if record is None:
        raise InputError("SESSION_NOT_FOUND", "the session has ended")
    _check_revoked(plane, record, now=now)
    if record.host != place.host:
        raise InputError("SESSION_FOREIGN", "the session is another site's")
    with plane.store.reading(plane.settings.tenant) as tx:
        check_person(tx, record.issuer, record.subject)
    return _visitor(plane, request, record, handle)


def _visitor(plane: ControlPlane, request: Request, record: SessionRecord, handle: bytes) -> Visitor:
    name = subject_name(record.issuer, record.subject, home=plane.settings.home_issuer)
    actor = actor_of(record.issuer, record.subject)
    return Visitor(
        issuer=record.issuer,
        subject=record.subject,
        name=name,
        acr=record.acr,
        amr=record.amr,
        auth_time=record.auth_time,
        role=portal_of(plane).roles.role(record.issuer, record.claims),
        names=frozenset({name, actor, record.subject}),
        csrf=csrf_of(handle),
        language=language_asked(plane, request, person=language_of_person(record.claims)),
        sid=record.sid,
        device_id=record.device_id,
    )


visitor: Final[Callable[[Request], Awaitable[Visitor]]] = caller("visitor", identify, refused=refused)
"""The dependency of a page for whoever signed in: `Annotated[Visitor, Depends(visitor)]`."""


def officer(permission: Permission) -> Callable[[Request], Awaitable[Visitor]]:
    """Make the dependency of a page at the desk, for visitors whose role has this permission."""

    def permitted(plane: ControlPlane, request: Request) -> Visitor:
        found = identify(plane, request)
        found.administrator(permission)
        return found

    return caller("officer", permitted, refused=refused)


def csrf_of(handle: bytes) -> str:
    """Return what forms of a session hold: only the browser that has its cookie is ever shown this."""
    return to_base64url(hmac.digest(handle, b"zt portal form", hashlib.sha256))


def _check_revoked(plane: ControlPlane, record: SessionRecord, *, now: int) -> None:
    found = _revoked(plane)(record, now=now)
    if found is None:
        return
    kind, key = found
    if key == record.sid:
        raise InputError("SESSION_NOT_FOUND", "the session was revoked")
    # A provider that knows them signs them in again without a word: sent there, they would come straight back.
    raise InputError(REVOKED[kind], f"this {kind} was revoked")


def _revoked(plane: ControlPlane) -> Revoked:
    # Two that are made at once know the same.
    found = plane.extras.get(_REVOKED)
    if not isinstance(found, Revoked):
        found = plane.extras.setdefault(_REVOKED, Revoked(plane))
    assert isinstance(found, Revoked)
    return found
