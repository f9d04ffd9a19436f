"""What the control plane is made of: its settings, and the ports everything in it works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from fastapi import APIRouter

from zt_engine.ports import Clock
from zt_engine.ports.administration import AdministratorVerifier, RecordReader
from zt_engine.ports.credentials import CertificateAuthority, JwsVerifier, PersonVerifier
from zt_engine.ports.inventory import ChangeLog, InventoryStore


class Enrolling(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is told before anybody signs in, and how long its certificates live."""

    issuer: str = ""
    client_id: str = ""
    scopes: tuple[str, ...] = ("openid",)
    attestation: Literal["none", "optional", "required"] = "none"
    certificate_seconds: int = 86_400


class PlaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a control plane, as values."""

    tenant: str
    url: str
    """How it is addressed from outside, without a slash at the end: the audience of everything sent to it."""
    home_issuer: str = ""
    """The issuer whose subjects go by `sub` alone; empty where there is no other."""
    language: Literal["ja", "en"] = "ja"
    facts: frozenset[str]
    """The facts sidecars are told: those the policy reads."""
    approval_above: int = 200
    """A device that is good for labels above this rank always waits for a second person."""
    invitation_seconds: int = 72 * 3600
    enrolling: Enrolling = Enrolling()


class ControlPlane(msgspec.Struct, frozen=True, kw_only=True):
    """Every part a route may use. `rooms` are routers that need more than these."""

    settings: PlaneSettings
    store: InventoryStore
    changes: ChangeLog
    clock: Clock
    administrators: AdministratorVerifier
    records: RecordReader
    authority: CertificateAuthority
    jws: JwsVerifier
    people: PersonVerifier | None = None
    """None: no issuer is configured for people to enroll with."""
    rooms: Sequence[Callable[[ControlPlane], APIRouter]] = ()
    extras: dict[str, Any] = {}

    def now(self) -> int:
        """The present second."""
        return int(self.clock.now())
