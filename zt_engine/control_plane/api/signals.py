"""`POST /v1/signals`: what a source noticed, in batches; what follows from it is for the rules to say."""

from __future__ import annotations

from typing import Annotated, Any, Self

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import Field, model_validator

from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Instant, Model, strict_router
from zt_engine.control_plane.signals import Signals
from zt_engine.core.signals import Level, Signal
from zt_engine.ports.inventory import Transaction

MOST = 200
Source = Annotated[Administrator, Depends(administrator("signals.write"))]


class SignalBody(Model):
    """One signal: a level that was judged or a number that was counted."""

    id: Annotated[str, Field(pattern=r"^[!-~]{1,128}$", description="Unique for whoever sends it.")]
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    at: Instant
    principal: Annotated[
        str,
        Field(
            pattern=r"^(tenant|(subject|device|service):[^\s\x00-\x1f\x7f]{1,256})$",
            description="`subject:ID`, `device:ID`, `service:ID` or `tenant`.",
        ),
    ]
    level: Level | None = None
    value: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    exercise: bool = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.level is None) == (self.value is None):
            raise ValueError("a signal has either `level` or `value`")
        return self


class Batch(Model):
    """Signals in any order; what was heard before changes nothing."""

    signals: Annotated[list[SignalBody], Field(min_length=1, max_length=MOST)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = strict_router("signals")
    use = Signals(plane)

    @routes.post("/v1/signals", responses=problems(), response_class=Response)
    def signals(who: Source, body: Batch, write: Writing) -> Response:
        """Take signals in: the rules of the control plane say which of them tighten what, and for how long."""

        def work(tx: Transaction) -> Answer:
            some = [_signal(one, who.actor) for one in body.signals]
            found: dict[str, Any] = msgspec.to_builtins(use.take(tx, some, now=plane.now()))
            for one in found["ignored"]:
                one["id"] = one["id"].removeprefix(f"{who.actor}/")  # as it was sent
            return Answer(body=found)

        return once(plane, write, work)

    return routes


def _signal(body: SignalBody, actor: str) -> Signal:
    return Signal(
        # Two sources may call two things the same.
        id=f"{actor}/{body.id}",
        kind=body.kind,
        at=body.at,
        principal=body.principal,
        level=body.level,
        value=body.value,
        exercise=body.exercise,
    )
