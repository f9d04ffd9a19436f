"""Subjects that a caller vouches for, as principals: the same records, revocations and ticks as for tokens."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping

from zt_engine.core import identity
from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.core.identity import VerifiedToken
from zt_engine.core.issuer import FOREIGN, IssuerMapping, is_foreign_name
from zt_engine.core.request import AccessRequest
from zt_engine.core.revocable import REVOKED, RevocationName, person_names
from zt_engine.core.tick import tick_at
from zt_engine.sidecar.authzen.statements import Stated, StatedRequest
from zt_engine.sidecar.principals import Principal, PrincipalRefused
from zt_engine.sidecar.replica import Replica

MAX_PRINCIPALS = 16_384
SERIALS = itertools.count(1)
"""INVARIANT: no two principals of a process have one number, also after the settings were read again: decisions are
remembered under it. Those of tokens count upwards, these downwards."""


class StatedPrincipals:
    """Establishes principals from statements; what a token would have said and nobody states is empty."""

    def __init__(
        self,
        *,
        mappings: Mapping[str, IssuerMapping],
        home: str,
        replica: Replica,
        holds: Callable[[Principal], bool],
        tick_seconds: int,
    ) -> None:
        """`holds` says whether nothing a principal rests on was replaced (`Principals.holds`)."""
        self._mappings = mappings
        self._home = home
        self._replica = replica
        self._holds = holds
        self._tick_seconds = tick_seconds
        self._known: Generations[tuple[str, Stated], Principal] = Generations(MAX_PRINCIPALS)

    def of(self, request: AccessRequest, now: float) -> Principal:
        """Return the principal of a request; raises InputError with the code of what does not hold."""
        if not isinstance(request, StatedRequest):
            raise TypeError("nobody vouches for the subject of this request")
        key = (request.pep, request.stated)
        before = self._known.get(key)
        if before is not None and before.since <= now < before.until and self._holds(before):
            return before
        principal = self._establish(request.stated, now)
        if before is not None and before.subject == principal.subject:
            principal.subject, principal.profile = before.subject, before.profile
            if before.device is principal.device:
                principal.names = before.names
        self._known.put(key, principal)
        return principal

    def _establish(self, stated: Stated, now: float) -> Principal:
        situation = self._replica.situation
        if situation is None:
            raise InputError("NOT_READY", "no situation has been loaded")
        principal = Principal(-next(SERIALS), since=now, until=now + self._tick_seconds, situation=situation)
        revocable: list[RevocationName] = []
        try:
            if stated.type != "anonymous":
                revocable += self._take_subject(principal, stated)
            if stated.device_id:
                revocable.append(("device", self._take_device(principal, stated)))
            principal.revocable = tuple(revocable)
            for kind, key in revocable:
                if situation.is_revoked(kind, key, now=now):
                    raise InputError(REVOKED[kind], f"this {kind} was revoked")
        except InputError as error:
            device = principal.device.device_id if principal.device is not None else ""
            raise PrincipalRefused(error, subject=principal.subject.id, device=device) from error
        owner = principal.subject.id if principal.device is None else principal.device.device_id
        principal.phase = zlib.crc32(owner.encode())
        tick = tick_at(now, phase=principal.phase, seconds=self._tick_seconds)
        principal.until = min(principal.until, tick.until)
        return principal

    def _take_subject(self, principal: Principal, stated: Stated) -> tuple[RevocationName, ...]:
        issuer, subject = self._whose(stated.id)
        mapping = self._mappings.get(issuer)
        if mapping is None or not identity.is_text(stated.id):
            raise InputError("SUBJECT_UNKNOWN", "no issuer has this subject")
        record = self._replica.subjects.get((issuer, subject))
        principal.issuer, principal.scheme, principal.has_credential = issuer, "bearer", True
        principal.records = (((issuer, subject), record),)
        found = identity.establish(_token(issuer, subject, stated), record, mapping)
        principal.subject = found
        if found.type != stated.type:
            raise InputError("SUBJECT_MISMATCH", "the directory's record says another type of subject")
        return person_names(issuer, subject)

    def _whose(self, name: str) -> tuple[str, str]:
        if is_foreign_name(name):
            issuer, _, subject = name.partition(FOREIGN)
            return issuer, subject
        return self._home, name

    def _take_device(self, principal: Principal, stated: Stated) -> str:
        device = self._replica.devices.get(stated.device_id)
        if device is None:
            situation = principal.situation
            if situation.is_revoked("device", stated.device_id, now=principal.since):
                raise InputError("DEVICE_REVOKED", "this device was revoked")
            raise InputError("DEVICE_UNKNOWN", "no device has this id")
        principal.device, principal.binding = device, stated.binding
        principal.assigned = device.ownership == "shared" or (principal.subject.id or None) in device.assigned
        return device.device_id


def _token(issuer: str, subject: str, stated: Stated) -> VerifiedToken:
    """What a token would say in which the issuer states nothing but who it is: every claim is absent."""
    return VerifiedToken(
        issuer=issuer, subject=subject, client_id="", claims={}, expires_at=0, not_before=0, jti="", key_id="", x5t="",
        jkt="", session="", acr=stated.acr, amr=stated.amr, auth_time=stated.auth_time, actor=None, digest="",
    )  # fmt: skip
