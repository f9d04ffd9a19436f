"""Enrollment, reports and renewals of one control plane, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.notice import NOTICE_VERSION
from zt_engine.control_plane.certifying import Certifying, KeyProofs
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import Enrolling
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.guesses import Guesses
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.remedies import NoReadiness, Readiness
from zt_engine.control_plane.renewing import Losing, Renewing
from zt_engine.control_plane.reporting import Reporting
from zt_engine.control_plane.signing_in import SignIns
from zt_engine.core.classification import Level
from zt_engine.core.errors import InputError
from zt_engine.pages.registry import Code, registry
from zt_engine.ports.attestation import AttestationChallenger, AttestationVerifier

PARTS: Final = "enrollment"
"""Under which name `ControlPlane.extras` holds `EnrollmentParts`."""
GUESSES: Final = "enrollment.guesses"


class EnrollmentParts(msgspec.Struct, frozen=True, kw_only=True):
    """What enrollments need beyond the parts of every control plane."""

    rules: EnrollmentRules = EnrollmentRules()
    """Its `attestation` is the one of `PlaneSettings.enrolling`, and no certificate lives longer than is set there."""
    attestation: AttestationVerifier | None = None
    challenger: AttestationChallenger | None = None
    """What has a TPM show its two keys, where attestation needs that first."""
    readiness: Readiness = NoReadiness()
    codes: Mapping[str, Code] | None = None
    """What codes mean to people; None: the engine's own, without those of a pack."""
    levels: Callable[[], Mapping[str, Level]] = dict
    """The labels there are, by their codes; none where no policy is at hand."""


class EnrollmentRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases, ready to be called."""

    codes: Mapping[str, Code]
    levels: Callable[[], Mapping[str, Level]]
    rules: EnrollmentRules
    challenger: AttestationChallenger | None
    certifying: Certifying
    reporting: Reporting
    renewing: Renewing
    losing: Losing
    people: Enrolling | None

    @property
    def enrolling(self) -> Enrolling:
        """The steps that begin with a sign-in; ENROLL_CLOSED where nobody can sign in."""
        if self.people is None:
            raise InputError("ENROLL_CLOSED", "no identity provider is configured for people to enroll with")
        return self.people


def room(plane: ControlPlane) -> EnrollmentRoom:
    """Put the use cases of a control plane together; ValueError when nobody verifies the attestation it asks for."""
    parts = plane.extras.get(PARTS, EnrollmentParts())
    if not isinstance(parts, EnrollmentParts):
        raise TypeError(f"`extras[{PARTS!r}]` is no EnrollmentParts")
    settings, rules = plane.settings, _rules(plane, parts.rules)
    record = Ledger(settings.facts)
    proofs = KeyProofs(
        audience=settings.url,
        authority=plane.authority,
        jws=plane.jws,
        rules=rules,
        attestation=parts.attestation,
    )
    enrolling = None
    if plane.people is not None:
        enrolling = Enrolling(
            tenant=settings.tenant,
            store=plane.store,
            people=SignIns(plane.people, settings.url),
            rules=rules,
            # One count for every room: what is tried on a page is tried.
            guesses=plane.extras.setdefault(GUESSES, Guesses()),
            notice_version=NOTICE_VERSION,
        )
    return EnrollmentRoom(
        codes=registry() if parts.codes is None else parts.codes,
        levels=parts.levels,
        rules=rules,
        challenger=parts.challenger,
        certifying=Certifying(
            tenant=settings.tenant,
            store=plane.store,
            authority=plane.authority,
            proofs=proofs,
            rules=rules,
            record=record,
        ),
        reporting=Reporting(
            tenant=settings.tenant,
            audience=settings.url,
            store=plane.store,
            jws=plane.jws,
            rules=rules,
            record=record,
            readiness=parts.readiness,
            facts=settings.facts,
            attestation=parts.attestation,
        ),
        renewing=Renewing(
            tenant=settings.tenant,
            store=plane.store,
            authority=plane.authority,
            proofs=proofs,
            rules=rules,
            record=record,
        ),
        losing=Losing(
            tenant=settings.tenant,
            home_issuer=settings.home_issuer,
            store=plane.store,
            people=None if plane.people is None else SignIns(plane.people, settings.url),
            record=record,
        ),
        people=enrolling,
    )


def _rules(plane: ControlPlane, rules: EnrollmentRules) -> EnrollmentRules:
    most = plane.settings.enrolling.certificate_seconds
    lifetimes = tuple((rank, min(seconds, most)) for rank, seconds in rules.lifetimes)
    return replace(rules, attestation=plane.settings.enrolling.attestation, lifetimes=lifetimes)
