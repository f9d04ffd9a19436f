"""Subjects, for administrators and for whatever keeps the directory in step: records, and leaving."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import Field

from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.api.devices import ReasonBody
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.directory import Directory
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.paging import After, Limit, cursor_of, page, read_cursor
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Instant, Model, Named, PathText, Words, strict_router
from zt_engine.core.errors import InputError
from zt_engine.core.identity import MAX_CLEARANCE, MAX_LIST, SubjectRecord

Reader = Annotated[Administrator, Depends(administrator("subjects.read"))]
Writer = Annotated[Administrator, Depends(administrator("subjects.write"))]
Leaver = Annotated[Administrator, Depends(administrator("subjects.offboard"))]
Names = Annotated[list[Named], Field(max_length=MAX_LIST)]


class SubjectBody(Model):
    """What the directory says about a person or a program; `version` is the one that is replaced, null: whichever."""

    status: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]
    groups: Names
    compartments: Names
    clearance: Annotated[int, Field(ge=0, le=MAX_CLEARANCE)]
    org: Words
    valid_until: Instant | None
    type: Literal["user", "workload"] = "user"
    roles: Names = Field(default_factory=list)
    nationality: Words = ""
    employment: Words = ""
    version: Annotated[int, Field(ge=0, le=2**53)] | None = None


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("subjects")
    use = Directory(plane)

    @routes.get("/v1/subjects", responses=problems())
    def subjects(who: Reader, after: After = "", limit: Limit = 100) -> dict[str, Any]:
        """List records in the order of issuer and id."""
        issuer, subject = read_cursor(after, 2)
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.situation.subjects(after=(issuer, subject), limit=limit + 1)
        return page(found, limit, key=lambda one: cursor_of(one.issuer, one.id), show=msgspec.to_builtins)

    @routes.get("/v1/subjects/{issuer}/{subject}", responses=problems(404))
    def one(who: Reader, issuer: PathText, subject: PathText) -> dict[str, Any]:
        """Return one record."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.situation.subject(issuer, subject)
        if found is None:
            raise InputError("SUBJECT_NOT_FOUND", "the directory has no such record")
        return _plain(found)

    @routes.put("/v1/subjects/{issuer}/{subject}", responses=problems(409))
    def put(who: Writer, issuer: PathText, subject: PathText, body: SubjectBody) -> dict[str, Any]:
        """Replace a record as a whole; both parts of its name are percent-encoded."""
        members = body.model_dump(exclude={"version"})
        with plane.store.writing(plane.settings.tenant) as tx:
            return _plain(use.put(tx, issuer, subject, members, expected=body.version, who=who, now=plane.now()))

    @routes.post("/v1/subjects/{issuer}/{subject}/offboard", responses=problems(404, 409))
    def offboard(who: Leaver, issuer: PathText, subject: PathText, body: ReasonBody, write: Writing) -> Response:
        """Take a person who leaves off everything at once: record, tokens, invitations, enrollments, devices."""
        leaving = use.leaving(issuer, subject)
        return once(
            plane,
            write,
            lambda tx: Answer(body=use.offboard(tx, leaving, who=who, reason=body.reason, now=plane.now())),
        )

    return routes


def _plain(record: SubjectRecord) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(record)
    return shown
