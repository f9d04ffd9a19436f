"""`POST /v1/imports/{source}`: the export as the body, however long, read while it comes in."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import anyio.from_thread
from fastapi import APIRouter, Depends, Header, Request
from starlette.concurrency import run_in_threadpool

from device_inventory.importers.mapped import TableMapping, read_mapping
from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.imports import Form, Imports, Source, rows_of, shown
from zt_engine.control_plane.problem import problems
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url
from zt_engine.core.strict_json import read_object

Importer = Annotated[Administrator, Depends(administrator("devices.import"))]
MappingHeader = Annotated[
    str,
    Header(
        alias="Zt-Import-Mapping",
        max_length=32_768,
        description="For `csv` and `json`: what the columns are, as JSON in base64url.",
    ),
]
FORMS: dict[str, Form] = {"text/csv": "csv", "application/json": "json"}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {}}},
    }
}


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["imports"])
    use = Imports(plane)

    @routes.post("/v1/imports/{source}", responses=problems(415), openapi_extra=BODY)
    async def load(source: Source, request: Request, who: Importer, mapping: MappingHeader = "") -> dict[str, Any]:
        """Take in an export; a wrong row is a problem with its line, and every other row is loaded."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        form = FORMS.get(kind)
        if form is None:
            raise InputError("REQUEST_MEDIA_TYPE", "`text/csv` or `application/json`")
        table = _mapping(mapping) if mapping else None

        def work(chunks: Iterator[bytes]) -> dict[str, Any]:
            rows = rows_of(source, form, chunks, mapping=table, now=plane.now())
            return shown(use.load(source, rows, actor=who.actor))

        return await run_in_threadpool(work, _chunks(request.stream()))

    return routes


def _chunks(stream: AsyncIterator[bytes]) -> Iterator[bytes]:
    """Yield, in a thread, what comes in on the event loop; no more of it is held than one piece."""

    async def following() -> bytes | None:
        return await anext(stream, None)

    while (chunk := anyio.from_thread.run(following)) is not None:
        yield chunk


def _mapping(header: str) -> TableMapping:
    try:
        return read_mapping(read_object(from_base64url(header)))
    except (binascii.Error, ValueError) as error:
        if hasattr(error, "code"):  # the domain says which member is wrong
            raise
        raise InputError("IMPORT_FORM", "the mapping is no JSON object in base64url") from None
