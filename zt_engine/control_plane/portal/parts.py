"""What the pages are made of: who signs people in, the book of pages, and what role somebody has at the desk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec

from zt_engine.control_plane.api.sessions import sessions_of
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.sessions import Sessions
from zt_engine.core.errors import InputError
from zt_engine.pages.book import PageBook
from zt_engine.ports.administration import Role

PORTAL: Final = "portal"
"""Under which name `ControlPlane.extras` holds `Portal`."""

PATHS: Final = "portal.paths"
"""And under which the paths of all pages: what is not there is offered to nobody."""


class Roles(Protocol):
    """Says which role of an administrator somebody has who signed in."""

    def role(self, issuer: str, claims: Mapping[str, object]) -> Role | None:
        """Return the role, or None for everybody else."""
        ...


class NoRoles:
    """The `Roles` of an installation whose administrators have keys only."""

    def role(self, issuer: str, claims: Mapping[str, object]) -> Role | None:
        """Return that nobody has one."""
        return None


class Portal(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the pages."""

    book: PageBook
    roles: Roles = NoRoles()


class Place(msgspec.Struct, frozen=True):
    """Where the pages are: the only origin they are served at."""

    scheme: str
    authority: str
    host: str

    @property
    def origin(self) -> bytes:
        """As browsers spell it."""
        return f"{self.scheme}://{self.authority}".encode("ascii")


def portal_of(plane: ControlPlane) -> Portal:
    """Return the parts; SIGN_IN_OFF where there are no pages."""
    found = plane.extras.get(PORTAL)
    if not isinstance(found, Portal):
        raise InputError("SIGN_IN_OFF", "this control plane signs no browser in")
    return found


def sign_ins_of(plane: ControlPlane) -> Sessions:
    """Return the sessions that people have with these pages."""
    return sessions_of(plane)


def place_of(plane: ControlPlane) -> Place:
    """Return where the pages are, by the settings and never by what a request says."""
    url = urlsplit(plane.settings.url)
    host = (url.hostname or "").lower()
    usual = {"https": 443, "http": 80}.get(url.scheme)
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if url.port in (None, usual) else f"{bracketed}:{url.port}"
    return Place(url.scheme, authority, bracketed)
