"""The routes of an enrollment, from what an agent is told before anybody signs in to the device's first certificate."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from device_inventory.device import Ownership
from device_inventory.enrollment import STEPS, Enrollment
from device_inventory.inventory import KeyProtection
from device_inventory.notice import NOTICE_VERSION, PREAMBLE, notice
from zt_engine.control_plane.access import caller, credential
from zt_engine.control_plane.api.enroll_log import step
from zt_engine.control_plane.certifying import Certified, KeyRequest
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import prove
from zt_engine.control_plane.enrollment import EnrollmentRoom, room
from zt_engine.control_plane.nonces import LIFETIME
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.remedies import Item, items
from zt_engine.control_plane.routes import Model, strict_router
from zt_engine.control_plane.signing_in import SignIn
from zt_engine.core.errors import InputError
from zt_engine.core.jose import MAX_TOKEN_BYTES
from zt_engine.pages.denied import language_of

Language = Literal["ja", "en"]

_PATH = re.compile(r"/v1/enroll/([A-Za-z0-9-]{1,64})(?:/|$)")


class SignInBody(Model):
    """A sign-in: the ID token, and the secret that its nonce was made with for this control plane."""

    id_token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_BYTES)]
    sign_in_secret: Annotated[str, Field(max_length=128)] = ""

    def sign_in(self) -> SignIn:
        """Return it as the use cases take it."""
        return SignIn(id_token=self.id_token.encode(), secret=self.sign_in_secret)


class StartBody(SignInBody):
    """The code of an invitation, and the sign-in of the one it is for."""

    code: Annotated[str, Field(min_length=1, max_length=200)]


class ConsentBody(Model):
    """Which notice was agreed to."""

    notice_version: Annotated[str, Field(min_length=1, max_length=64)]


class KeyBody(Model):
    """A request for a certificate, and the proof that its key is there."""

    csr: str
    proof: Annotated[str, Field(max_length=32_768)]
    key_protection: KeyProtection = "file"
    attestation: dict[str, Any] | None = None
    helper_key: dict[str, Any] | None = None

    def wanted(self) -> KeyRequest:
        """Return it as the use cases take it."""
        return KeyRequest(
            csr=self.csr.encode(),
            proof=self.proof.encode(),
            key_protection=self.key_protection,
            attestation=self.attestation,
            helper_key=self.helper_key,
        )


def _identify(plane: ControlPlane, request: Request) -> Enrollment:
    secret = credential(request, "ztenroll").decode("latin-1")
    named = _PATH.match(request.scope["path"])
    if named is None:
        raise InputError("AUTH_ENROLLMENT", "the path names no enrollment")
    with plane.store.reading(plane.settings.tenant) as tx:
        return prove(tx, named[1], secret)


enrollment_caller = caller("enrollment", _identify)
"""The dependency of a route for the agent that goes on with an enrollment."""
Caller = Annotated[Enrollment, Depends(enrollment_caller)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("enrollment")
    ground = room(plane)
    _before_sign_in(plane, routes)
    _steps(plane, routes, ground)
    _key(plane, routes, ground)
    return routes


def _before_sign_in(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/enroll/config", responses=problems())
    def config() -> dict[str, Any]:
        """Tell an agent where people sign in, and by which name this control plane is signed for."""
        settings, enrolling = plane.settings, plane.settings.enrolling
        return {
            "tenant": settings.tenant,
            "issuer": enrolling.issuer,
            "client_id": enrolling.client_id,
            "scopes": list(enrolling.scopes),
            "url": settings.url,
            "notice_version": NOTICE_VERSION,
            "attestation": enrolling.attestation,
        }

    @routes.get("/v1/enroll/notice", responses=problems())
    def shown(
        request: Request, ownership: Ownership = "corp", lang: Annotated[Language | None, Query()] = None
    ) -> dict[str, Any]:
        """Tell a person what is collected from such a device, why, and for how long."""
        language: Language = lang or spoken(plane, request)
        facts = [
            {"name": item.name, "text": item.text, "purpose": item.purpose, "retention": item.retention}
            for item in notice(ownership, language)
        ]
        return {"version": NOTICE_VERSION, "ownership": ownership, "preamble": PREAMBLE[language], "facts": facts}


def _steps(plane: ControlPlane, routes: APIRouter, ground: EnrollmentRoom) -> None:
    @routes.post("/v1/enroll", status_code=201, responses=problems(409))
    def start(body: StartBody) -> dict[str, Any]:
        """Start an enrollment or resume it; either way the secret is a new one, and the one before is dead."""
        with step("sign_in") as taken:
            started = ground.enrolling.start(body.code, body.sign_in(), now=plane.clock.now())
            taken.done(
                "enrollment.signed_in", enrollment=started.enrollment, state=started.state, ownership=started.ownership
            )
        return {
            "enrollment": started.enrollment,
            "secret": started.secret,
            "state": started.state,
            "next": started.next,
            "ownership": started.ownership,
        }

    @routes.get("/v1/enroll/{enrollment}", responses=problems())
    def progress(enrollment: str, who: Caller, request: Request) -> dict[str, Any]:
        """Say how far the enrollment is and what comes next."""
        held = ground.enrolling.progress(who.id, now=plane.clock.now())
        device_id = held.enrollment.device_id
        with plane.store.reading(plane.settings.tenant) as tx:
            device = tx.devices.get(device_id) if device_id else None
        reported = device is not None and device.report_received_at > 0
        unmet = ground.reporting.unmet(device, now=plane.now()) if device is not None and reported else ()
        return {
            "state": held.enrollment.state,
            "next": held.next,
            "device_id": device_id or None,
            "ownership": held.ownership,
            "items": listed(items(unmet, codes=ground.codes, language=spoken(plane, request))),
        }

    @routes.post("/v1/enroll/{enrollment}/consent", responses=problems(409))
    def consent(enrollment: str, body: ConsentBody, who: Caller) -> dict[str, Any]:
        """Agree to the notice."""
        with step("consent", who.id) as taken:
            held = ground.enrolling.consent(who.id, body.notice_version, now=plane.clock.now())
            taken.done("enrollment.consented", notice=held.notice_version)
        return {"state": held.state, "next": STEPS[held.state]}


def _key(plane: ControlPlane, routes: APIRouter, ground: EnrollmentRoom) -> None:
    @routes.post("/v1/enroll/{enrollment}/nonce", responses=problems(409))
    def nonce(enrollment: str, who: Caller) -> dict[str, Any]:
        """Get what the new key has to sign, within a minute."""
        return {"nonce": ground.enrolling.nonce(who.id, now=plane.clock.now()), "expires_in": LIFETIME}

    @routes.post("/v1/enroll/{enrollment}/attestation", responses=problems(409))
    def attestation(enrollment: str, statement: dict[str, Any], who: Caller) -> dict[str, str]:
        """Get what only the TPM opens that has both keys of the statement."""
        if ground.challenger is None:
            raise InputError("ATTESTATION_OFF", "nobody verifies attestations here")
        with step("attestation", who.id) as taken:
            ground.enrolling.keyed(who.id, now=plane.clock.now())
            challenge = dict(ground.challenger.challenge(statement, now=plane.clock.now()))
            taken.done("enrollment.challenged")
        return challenge

    @routes.post("/v1/enroll/{enrollment}/key", responses=problems(409))
    def key(enrollment: str, body: KeyBody, who: Caller) -> dict[str, Any]:
        """Have the device's key certified."""
        with step("key", who.id) as taken:
            certified = ground.certifying.certify(who.id, body.wanted(), now=plane.clock.now())
            held = certified.certificate.key
            taken.done(
                "enrollment.certified", device=certified.device_id, protection=held.protection, not_after=held.not_after
            )
        return issued(certified)


def issued(certified: Certified) -> dict[str, Any]:
    """Return a certificate as agents read it."""
    certificate = certified.certificate
    return {
        "device_id": certified.device_id,
        "certificate": certificate.pem.decode("ascii"),
        "chain": certificate.chain.decode("ascii"),
        "not_after": certificate.key.not_after,
        "key_protection": certificate.key.protection,
    }


def listed(found: tuple[Item, ...]) -> list[dict[str, str]]:
    """Return items as agents read them."""
    return [
        {
            "fact": item.fact,
            "label": item.label,
            "code": item.code,
            "text": item.text,
            "remedy": item.remedy,
            "command": item.command,
        }
        for item in found
    ]


def spoken(plane: ControlPlane, request: Request) -> Language:
    """Return the language that was asked for, else the installation's."""
    language = language_of(request.headers.get("accept-language", ""), default=plane.settings.language)
    return "ja" if language == "ja" else "en"
