"""Who may call what: the permissions of each role, and the dependencies by which a route says who may call it.

INVARIANT: a route that is not on the list of public ones names exactly one kind of caller, or the program does not
start (`app.create_app`). The caller is established before any of the body is read, by the shell around all routes; a
dependency only hands over what was established there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

import msgspec
from fastapi import Request
from starlette.responses import Response

from device_inventory.inventory import Device, HeldKey
from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.errors import InputError, ZtError
from zt_engine.ports.administration import Role

Permission = Literal[
    "devices.read",
    "devices.report_lost",
    "devices.quarantine",
    "devices.approve",
    "devices.release",
    "devices.transfer",
    "devices.import",
    "devices.revoke",
    "devices.retire",
    "invitations.read",
    "invitations.write",
    "subjects.read",
    "subjects.offboard",
    "subjects.write",
    "situation.read",
    "situation.write",
    "revocations.write",
    "signals.write",
    "sidecars.read",
    "sidecars.write",
    "audit.read",
    "policy.read",
    "policy.approve",
    "policy.publish",
]

_VIEWER: Final[frozenset[Permission]] = frozenset(
    {
        "devices.read",
        "invitations.read",
        "subjects.read",
        "situation.read",
        "sidecars.read",
        "audit.read",
        "policy.read",
    }
)
_HELPDESK: Final[frozenset[Permission]] = _VIEWER | {"devices.report_lost", "devices.quarantine", "invitations.write"}
_APPROVER: Final[frozenset[Permission]] = _HELPDESK | {
    "devices.approve",
    "devices.release",
    "devices.transfer",
    "devices.import",
    "subjects.offboard",
    "policy.approve",
}
_SECURITY: Final[frozenset[Permission]] = _APPROVER | {
    "devices.revoke",
    "devices.retire",
    "revocations.write",
    "signals.write",
    "situation.write",
    "subjects.write",
    "policy.publish",
}
_OWNER: Final[frozenset[Permission]] = _SECURITY | {"sidecars.write"}

PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        "connector": frozenset({"signals.write"}),
        "viewer": _VIEWER,
        "helpdesk": _HELPDESK,
        "approver": _APPROVER,
        "security": _SECURITY,
        "owner": _OWNER,
    }
)
"""What each role may do; from `viewer` on each has all that the one before it has. A connector is a program that tells
signals, and its key opens nothing else."""

DELEGATED: Final[frozenset[Permission]] = frozenset({"policy.read", "policy.publish"})
"""What whoever answers for one service may do, whatever the role; `delegating` says what they may publish."""

CALLER: Final = "zt.caller"
"""Where in the scope of a request its caller is kept."""
CallerT = TypeVar("CallerT")
Identify = Callable[[ControlPlane, Request], Any]
Refused = Callable[[ControlPlane, Request, ZtError], Response]
"""How whoever is not let in is answered, where it is not by a problem in JSON."""


class Administrator(msgspec.Struct, frozen=True, kw_only=True):
    """An administrator who may do what the route is about."""

    name: str
    actor: str
    role: Role
    names: frozenset[str]
    """Every name this person goes by, `name` and `actor` among them."""
    service: str = ""
    """The one service they answer for, if they are no administrator of the whole."""


class DeviceCaller(msgspec.Struct, frozen=True, kw_only=True):
    """A device that proved to hold the key of one of its certificates, just now and for this very request."""

    device: Device
    key: HeldKey

    @property
    def actor(self) -> str:
        """As audit events name it."""
        return f"device:{self.device.device_id}"


def caller(
    kind: str,
    identify: Callable[[ControlPlane, Request], CallerT],
    *,
    at_once: Callable[[ControlPlane, Request], CallerT | None] | None = None,
    refused: Refused | None = None,
) -> Callable[[Request], Awaitable[CallerT]]:
    """Make the dependency of a route that only one kind of caller may use.

    `identify` runs in a thread, before the body is read, and returns the caller or raises InputError: a code that
    begins with `AUTH_` is answered 401, AUTH_FORBIDDEN 403. The dependency returns what it returned. `at_once` is
    asked before, on the event loop; it waits for nothing, and returns None when `identify` has to be asked. `refused`
    answers whoever is not let in, in a thread as well.
    """

    async def established(request: Request) -> CallerT:
        found: CallerT = request.scope[CALLER]
        return found

    established.identify = identify  # type: ignore[attr-defined]
    established.at_once = at_once  # type: ignore[attr-defined]
    established.kind = kind  # type: ignore[attr-defined]
    established.refused = refused  # type: ignore[attr-defined]
    return established


def administrator(permission: Permission) -> Callable[[Request], Awaitable[Administrator]]:
    """Make the dependency of a route for administrators with this permission: `Depends(administrator(...))`."""

    def identify(plane: ControlPlane, request: Request) -> Administrator:
        claimant = plane.administrators.verify(credential(request, "bearer"), now=plane.clock.now())
        if permission not in (DELEGATED if claimant.service else PERMISSIONS[claimant.role]):
            what = f"the owner of `{claimant.service}`" if claimant.service else f"the role `{claimant.role}`"
            raise InputError("AUTH_FORBIDDEN", f"{what} lacks `{permission}`")
        names = frozenset({claimant.name, claimant.actor, *claimant.aliases})
        return Administrator(
            name=claimant.name, actor=claimant.actor, role=claimant.role, names=names, service=claimant.service
        )

    return caller("administrator", identify)


def credential(request: Request, scheme: str) -> bytes:
    """Return what the one `Authorization` header holds under a scheme; AUTH_REQUIRED without, AUTH_REFUSED if odd."""
    held = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not held:
        raise InputError("AUTH_REQUIRED", "there is no `authorization` header")
    if len(held) > 1:
        raise InputError("AUTH_REFUSED", "there is more than one `authorization` header")
    given, _, value = held[0].partition(b" ")
    if given.lower() != scheme.encode() or not value.strip():
        raise InputError("AUTH_REQUIRED", f"the scheme of this route is `{scheme}`")
    found: bytes = value.strip()
    return found
