"""What a caller states of a subject, held against what it may state (architecture: what a credential grants).

A statement without a right, or of a wrong type, refuses the question: ignoring it would decide something else than was
asked, and believing it would give the caller more than its credential does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.identity import Binding
from zt_engine.core.request import AccessRequest, canonical_address
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.wire import Entity, Json

STATEMENTS = ("acr", "amr", "auth_time", "binding", "device_id", "ip_address")
BINDINGS = ("dpop", "mtls", "none")
MAX_AMR = 16
MAX_TIME = 1 << 40


class Stated(msgspec.Struct, frozen=True):
    """A subject with what was stated of it, all of it granted."""

    type: Literal["user", "workload", "anonymous"]
    id: str
    amr: tuple[str, ...] = ()
    acr: str = ""
    auth_time: int | None = None
    device_id: str = ""
    binding: Binding = "none"


class StatedRequest(AccessRequest, frozen=True):
    """A request whose subject a caller vouches for, instead of a token."""

    stated: Stated = Stated("anonymous", "")


def check_subject_type(pep: Pep, subject: Entity) -> None:
    """Raise InputError AUTHZEN_SUBJECT for a type of subject this caller may not speak of."""
    if subject.type not in pep.subject_types:
        raise InputError("AUTHZEN_SUBJECT", "this caller may not speak of subjects of this type")


def check_statements(pep: Pep, *holders: Json) -> None:
    """Raise InputError AUTHZEN_STATEMENT for anything stated without a right, or not of its type."""
    for holder in holders:
        for name in STATEMENTS:
            if name in holder:
                _check(pep, name, holder[name])


def _check(pep: Pep, name: str, value: object) -> None:
    if name == "amr":
        granted = _is_list(value) and pep.amr.issuperset(cast("list[str]", value))
    elif name == "acr":
        granted = isinstance(value, str) and value in pep.acr
    else:
        granted = name in pep.statements and _fits(name, value)
    if not granted:
        raise InputError("AUTHZEN_STATEMENT", f"this caller may not state this `{name}`")


def _is_list(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_AMR and all(isinstance(item, str) for item in value)


def _fits(name: str, value: object) -> bool:
    if name == "auth_time":
        return type(value) is int and 0 <= value < MAX_TIME
    if name == "binding":
        return value in BINDINGS if isinstance(value, str) else False
    return isinstance(value, str)


def read_stated(pep: Pep, subject: Entity) -> tuple[Stated, str]:
    """Return what is stated of a subject of the engine's own, and its address (empty: not stated).

    Raises InputError AUTHZEN_SUBJECT, AUTHZEN_STATEMENT, ADDRESS_INVALID.
    """
    check_subject_type(pep, subject)
    said: Mapping[str, object] = subject.properties
    check_statements(pep, said)
    if subject.type not in ("user", "workload", "anonymous"):
        raise InputError("AUTHZEN_SUBJECT", "the engine knows no subjects of this type")
    device_id, binding = cast("str", said.get("device_id", "")), cast("Binding", said.get("binding", "none"))
    if binding != "none" and not device_id:
        raise InputError("AUTHZEN_STATEMENT", "a sign-in is bound to the key of a device, and none is named")
    address = cast("str", said.get("ip_address", ""))
    client_ip = canonical_address(address.encode("ascii", "replace")) if "ip_address" in said else ""
    stated = Stated(
        cast("Literal['user', 'workload', 'anonymous']", subject.type),
        subject.id,
        tuple(cast("list[str]", said.get("amr", []))),
        cast("str", said.get("acr", "")),
        cast("int | None", said.get("auth_time")),
        device_id,
        binding,
    )
    if stated.type == "anonymous" and stated != Stated("anonymous", subject.id):
        raise InputError("AUTHZEN_STATEMENT", "nothing can be stated of nobody")
    return stated, client_ip
