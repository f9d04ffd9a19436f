"""`/my/keys`: a person's keys, what can be done about each, and how a new one is registered."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Response

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys import FRESH_SECONDS, Holder, passkeys_of
from zt_engine.control_plane.portal.answers import Form, html, page_router, see_other
from zt_engine.control_plane.portal.parts import portal_of
from zt_engine.control_plane.portal.refused import LOGIN, page_status
from zt_engine.control_plane.portal.visitor import Visitor, visitor
from zt_engine.core.errors import InputError
from zt_engine.pages.keys import TEXTS, KeyPages

ALL: Final = "/my/keys"
NEW: Final = "/my/keys/new"
Who = Annotated[Visitor, Depends(visitor)]
Asked = Annotated[str, Query(max_length=64)]
KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$")]
ACTION: Final = {
    "added": "passkey.registered",
    "renamed": "passkey.renamed",
    "removed": "passkey.removed",
    "lost": "passkey.lost",
}
"""What the list confirms, and the audit event that is."""
_FIRST: Final = {"PASSKEY_STALE": "stale", "PASSKEY_SIGN_IN": "weak"}


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)

    @routes.get(ALL)
    def show(who: Who, done: Asked = "", key: Asked = "") -> Response:
        """Show all keys, and confirm only what they did themselves and nothing has followed, whatever a link says."""
        keys = passkeys_of(plane)
        true = done in ACTION and keys.last(_holder(who), key) == ACTION[done]
        found = keys.of(who.issuer, who.subject)
        return html(_pages(plane).all(found, language=who.language, visitor=who, done=done if true else ""))

    @routes.get(NEW)
    def new(who: Who) -> Response:
        """Show how a key is registered, or the way to sign in first."""
        keys = passkeys_of(plane)
        try:
            offer = keys.begin(_holder(who), now=plane.now())
        except InputError as error:
            return _refused(plane, who, error, back=ALL)
        names = {key.name for key in keys.of(who.issuer, who.subject)}
        page = _pages(plane).new(
            language=who.language, visitor=who, csrf=who.csrf, secret=offer.secret, options=offer.options,
            name=_free(TEXTS[who.language]["default_name"], names),
        )  # fmt: skip
        return html(page)

    @routes.post(NEW)
    def register(who: Who, form: Form) -> Response:
        """Register the key a browser made."""
        try:
            key = passkeys_of(plane).register(
                _holder(who), secret=form.get("ceremony", ""), name=form.get("name", ""),
                answer=form.get("answer", "").encode(), now=plane.now(),
            )  # fmt: skip
        except InputError as error:
            return _refused(plane, who, error, back=NEW)
        return _did("added", key.id)

    @routes.get("/my/keys/{key_id}")
    def one(who: Who, key_id: KeyId) -> Response:
        """Show one key."""
        keys = passkeys_of(plane)
        key = keys.get(_holder(who), key_id)
        last = len(keys.of(who.issuer, who.subject)) == 1
        return html(_pages(plane).one(key, language=who.language, visitor=who, csrf=who.csrf, last=last))

    @routes.post("/my/keys/{key_id}/name")
    def rename(who: Who, key_id: KeyId, form: Form) -> Response:
        """Give a key another name."""
        try:
            passkeys_of(plane).rename(_holder(who), key_id, name=form.get("name", ""), now=plane.now())
        except InputError as error:
            return _refused(plane, who, error, back=f"{ALL}/{key_id}")
        return _did("renamed", key_id)

    @routes.post("/my/keys/{key_id}/remove")
    def remove(who: Who, key_id: KeyId) -> Response:
        """Forget a key."""
        passkeys_of(plane).remove(_holder(who), key_id, why="removed", now=plane.now())
        return _did("removed", key_id)

    @routes.post("/my/keys/{key_id}/lost")
    def lost(who: Who, key_id: KeyId) -> Response:
        """Forget a key that was lost, and end what it proved."""
        passkeys_of(plane).remove(_holder(who), key_id, why="lost", now=plane.now())
        return _did("lost", key_id)

    return routes


def _did(what: str, key_id: str) -> Response:
    return see_other(f"{ALL}?{urlencode({'done': what, 'key': key_id})}")


def _pages(plane: ControlPlane) -> KeyPages:
    return KeyPages(portal_of(plane).book)


def _refused(plane: ControlPlane, who: Visitor, error: InputError, *, back: str) -> Response:
    """Show what is wrong and the way to begin again; what a sign-in would help against leads to one."""
    if error.code in _FIRST:
        way = f"{LOGIN}?{urlencode({'to': NEW, 'max_age': FRESH_SECONDS // 2})}"
        return html(_pages(plane).first(language=who.language, visitor=who, why=_FIRST[error.code], sign_in=way))
    if not error.code.startswith("PASSKEY_"):
        raise error
    page = _pages(plane).wrong(error.code, language=who.language, visitor=who, back=back)
    return html(page, page_status(error))


def _holder(who: Visitor) -> Holder:
    return Holder(
        issuer=who.issuer, subject=who.subject, name=who.name, sid=who.sid, acr=who.acr, amr=who.amr,
        auth_time=who.auth_time,
    )  # fmt: skip


def _free(name: str, taken: set[str]) -> str:
    """Return a name that no other key has."""
    return next(one for one in (name, *(f"{name} {number}" for number in range(2, 100))) if one not in taken)
