"""Sidecars: they join with a token, say what they have applied, and are looked after by administrators."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Query, Request, Response
from fastapi.routing import APIRouter
from pydantic import Field
from starlette.types import Receive, Scope, Send

from zt_engine.control_plane.access import CALLER, Administrator, administrator, caller, credential
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.lanes import again, beside, body_of, reply
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.release_status import release_status
from zt_engine.control_plane.routes import Model, strict_router
from zt_engine.control_plane.sidecars import MOST_TOKEN_SECONDS, TOKEN_SECONDS, Lagging, Sidecars, Status
from zt_engine.control_plane.stream import Origin
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.stream import KNOWN_KEYS_HEADER
from zt_engine.core.stream_signing import Signed
from zt_engine.core.strict_json import read_object
from zt_engine.ports.inventory import SidecarRecord, Transaction

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Id = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Site = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_.-]{0,62})?$")]
LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=16)]
Seq = Annotated[int, Query(ge=0, le=2**53)]
MayRead = Annotated[Administrator, Depends(administrator("sidecars.read"))]
MayWrite = Annotated[Administrator, Depends(administrator("sidecars.write"))]
SIGNED = "application/jose"
KNOWN_KEYS = KNOWN_KEYS_HEADER.lower().encode("ascii")
MAX_KEYS = 8
KEY_ID_CHARS = 64


class TokenBody(Model):
    """Which sidecar the token is for, and for how long it admits it."""

    sidecar: Name
    seconds: Annotated[int, Field(ge=60, le=MOST_TOKEN_SECONDS)] = TOKEN_SECONDS
    site: Site = ""
    labels: Labels = Field(default_factory=dict)


class PlaceBody(Model):
    """Where a sidecar stands and what it is like, and why that is said now."""

    site: Site = ""
    labels: Labels = Field(default_factory=dict)
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class KeyBody(Model):
    """An Ed25519 public key (RFC 8037)."""

    kty: str
    crv: str
    x: Annotated[str, Field(max_length=64)]


class JoinBody(Model):
    """What a sidecar joins with."""

    token: Annotated[str, Field(max_length=16_384)]
    public_key: KeyBody


class StatusBody(Model):
    """What a sidecar says of itself."""

    nonce: Annotated[str, Field(min_length=16, max_length=128)]
    applied_seq: Annotated[int, Field(ge=0, le=2**53)]
    revision: Annotated[str, Field(max_length=128)] = ""
    refusals: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=20, default_factory=list)]
    bundle_seq: Annotated[int, Field(ge=0, le=2**53)] = 0
    bundle_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class _Said(Status, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, as a lane reads it: what it does not read is said by `StatusBody`."""

    nonce: Annotated[str, msgspec.Meta(min_length=16, max_length=128)]
    applied_seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    revision: Annotated[str, msgspec.Meta(max_length=128)] = ""
    refusals: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=20)] = ()
    bundle_seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    bundle_digest: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""


class ReasonBody(Model):
    """Why."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


def sidecars_of(plane: ControlPlane) -> Sidecars:
    """Return the sidecars of this control plane; UnavailableError STREAM_NOT_READY where there is no stream."""
    sidecars = plane.extras.get("sidecars")
    if not isinstance(sidecars, Sidecars):
        raise UnavailableError("STREAM_NOT_READY", "this control plane serves no sidecars")
    return sidecars


def _identify(plane: ControlPlane, request: Request) -> SidecarRecord:
    statement = credential(request, "bearer")
    if "sidecars" not in plane.extras:
        raise InputError("AUTH_REFUSED", "this control plane serves no sidecars")
    return sidecars_of(plane).identify(statement)


def identify_at_once(plane: ControlPlane, request: Request) -> SidecarRecord | None:
    """Return the sidecar that asks, as far as that is known without asking the database."""
    sidecars = plane.extras.get("sidecars")
    return sidecars.identify_at_once(credential(request, "bearer")) if isinstance(sidecars, Sidecars) else None


sidecar_caller = caller("sidecar", _identify, at_once=identify_at_once)
"""The dependency of a route that only sidecars may use."""
Caller = Annotated[SidecarRecord, Depends(sidecar_caller)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("sidecars")
    _for_sidecars(plane, routes)
    _for_administrators(plane, routes)
    return routes


def _for_sidecars(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.post("/v1/sidecars", status_code=201, responses=problems())
    def join(body: JoinBody) -> dict[str, Any]:
        """Join with a token that was made for this sidecar; once."""
        joined = sidecars_of(plane).join(body.token, body.public_key.model_dump(), now=plane.now())
        return _plain(joined)

    async def acknowledged(scope: Scope, receive: Receive, send: Send) -> Receive | None:
        if (b"content-type", b"application/json") not in scope["headers"]:
            return receive
        body = await body_of(receive)
        try:
            said = msgspec.convert(read_object(body), _Said)
        except (msgspec.ValidationError, ValueError):
            return again(body, receive)
        answer = sidecars_of(plane).acknowledge(
            scope[CALLER], said, now=plane.clock.now(), stream_keys=_known_keys(scope)
        )
        await reply(send, _signed(plane, answer), kind=SIGNED)
        return None

    @routes.post("/v1/status", responses=problems(), response_class=Response)
    @beside(acknowledged)
    def status(body: StatusBody, who: Caller, request: Request) -> Response:
        """Say what was applied; the answer is the time, signed together with the nonce."""
        said = Status(
            nonce=body.nonce,
            applied_seq=body.applied_seq,
            revision=body.revision,
            refusals=tuple(body.refusals),
            bundle_seq=body.bundle_seq,
            bundle_digest=body.bundle_digest,
        )
        known = _known_keys(request.scope)
        answer = sidecars_of(plane).acknowledge(who, said, now=plane.clock.now(), stream_keys=known)
        return Response(_signed(plane, answer), media_type=SIGNED)

    @routes.get("/v1/keys", responses=problems(), response_class=Response)
    def keys(who: Caller, request: Request) -> Response:
        """Return whose signatures count and which CAs devices come from, signed with a key the sidecar believes."""
        told, known = sidecars_of(plane).key_set(who), _known_keys(request.scope)
        return Response(_origin(plane).sign_for(known, told), media_type=SIGNED)


def _for_administrators(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.post("/v1/sidecars/tokens", status_code=201, responses=problems(), response_class=Response)
    def token(body: TokenBody, who: MayWrite, write: Writing) -> Response:
        """Make a token with which a sidecar joins, once. It is shown here and never again."""
        sidecars, now = sidecars_of(plane), plane.now()

        def work(tx: Transaction) -> Answer:
            made = sidecars.token(
                tx,
                body.sidecar,
                seconds=body.seconds,
                actor=who.actor,
                now=now,
                site=body.site,
                labels=body.labels,
            )
            told = {"sidecar": body.sidecar, "expires_at": now + body.seconds}
            return Answer(status=201, body=told, secrets={"token": made})

        return once(plane, write, work)

    @routes.get("/v1/sidecars", responses=problems())
    def every(who: MayRead) -> dict[str, Any]:
        """List every sidecar, with what it said last."""
        origin = plane.extras.get("stream")
        connected = set(origin.hub.connected) if isinstance(origin, Origin) else set()
        items = [{**_plain(record), "connected": record.id in connected} for record in sidecars_of(plane).all()]
        return {"items": items, "seq": _last(plane), "next": None}

    @routes.get("/v1/sidecars/{sidecar}/lag", responses=problems())
    def lag(sidecar: Id, who: MayRead) -> dict[str, Any]:
        """Say how far one sidecar is behind, since when, and why."""
        found = next((record for record in sidecars_of(plane).all() if record.id == sidecar), None)
        if found is None:
            raise InputError("SIDECAR_NOT_FOUND", f"there is no sidecar `{sidecar}`")
        last = _last(plane)
        missing = _behind(plane, found.applied_seq + 1) if found.applied_seq < last else []
        mine = next((one for one in missing if one.sidecar == sidecar), None)
        return {
            "sidecar": sidecar,
            "applied_seq": found.applied_seq,
            "seq": last,
            "behind": max(0, last - found.applied_seq),
            "since": mine.since if mine is not None else None,
            "why": "revoked" if found.revoked_at is not None else mine.why if mine is not None else None,
            "refusals": list(found.refusals),
        }

    @routes.get("/v1/lag", responses=problems())
    def behind(who: MayRead, seq: Seq = 0) -> dict[str, Any]:
        """Say who has not applied a change, since when, and why; the newest change when none is named."""
        wanted = seq or _last(plane)
        with plane.store.reading(plane.settings.tenant) as tx:
            newest, clients = tx.releases.last("released"), tx.releases.opa_clients()
        release = None
        if newest is not None:
            sidecars = sidecars_of(plane).all()
            release = release_status(newest, sidecars=sidecars, clients=clients, now=plane.clock.now())
        return {"seq": wanted, "items": [_plain(one) for one in _behind(plane, wanted)], "release": release}

    @routes.put("/v1/sidecars/{sidecar}/place", responses=problems(404))
    def place(sidecar: Id, body: PlaceBody, who: MayWrite) -> dict[str, Any]:
        """Say where a sidecar stands and what it is like; it is told with its next acknowledgement."""
        with plane.store.writing(plane.settings.tenant) as tx:
            placed = sidecars_of(plane).place(
                tx,
                sidecar,
                site=body.site,
                labels=body.labels,
                reason=body.reason,
                actor=who.actor,
                now=plane.now(),
            )
        return _plain(placed)

    @routes.post("/v1/sidecars/{sidecar}/revoke", responses=problems(), response_class=Response)
    def revoke(sidecar: Id, body: ReasonBody, who: MayWrite, write: Writing) -> Response:
        """Cut a sidecar off for good. What it knows grows stale, and it decides nothing more."""
        sidecars, now = sidecars_of(plane), plane.now()

        def work(tx: Transaction) -> Answer:
            return Answer(body=_plain(sidecars.revoke(tx, sidecar, reason=body.reason, actor=who.actor, now=now)))

        answer = once(plane, write, work)
        sidecars.cut(sidecar)
        return answer


def _known_keys(scope: Scope) -> list[str]:
    """Return the ids of the stream's keys that a sidecar says it believes."""
    said = next((value for name, value in scope["headers"] if name == KNOWN_KEYS), b"")
    return [one[:KEY_ID_CHARS] for one in said.decode("latin-1").split(",")[:MAX_KEYS] if one]


def _signed(plane: ControlPlane, message: Signed) -> bytes:
    return _origin(plane).sign(message)


def _origin(plane: ControlPlane) -> Origin:
    origin = plane.extras.get("stream")
    if not isinstance(origin, Origin):
        raise UnavailableError("STREAM_NOT_READY", "this control plane serves no stream")
    return origin


def _last(plane: ControlPlane) -> int:
    return plane.changes.span(plane.settings.tenant)[1]


def _behind(plane: ControlPlane, seq: int) -> list[Lagging]:
    origin = plane.extras.get("stream")
    times = tuple(origin.times) if isinstance(origin, Origin) else ()
    since = next((at for reached, at in times if reached >= seq), None)
    return list(sidecars_of(plane).behind(seq, since=since, now=plane.clock.now()))


def _plain(value: object) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
