"""What routes have in common: strict JSON, path parameters that may hold a slash, models without surprises."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from zt_engine.core.instants import LATEST
from zt_engine.core.strict_json import read_object


class _StrictRequest(Request):
    async def json(self) -> Any:
        # One reading only: no name twice, no NaN, no half of a character.
        return read_object(await self.body())


class StrictRoute(APIRoute):
    """A route whose JSON body is an object with one reading; anything else is REQUEST_MALFORMED."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with the request's own parser replaced."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


def strict_router(tag: str) -> APIRouter:
    """Return a router of strict routes: `POST`, `PUT` and `DELETE` of the administrators' side are made on it."""
    return APIRouter(route_class=StrictRoute, tags=[tag])


class Model(BaseModel):
    """A body: frozen, with nothing in it that is not expected and nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


PathText = Annotated[str, Path(min_length=1, max_length=512), AfterValidator(unquote)]
"""A path parameter that may hold any character; `path_of` left its slashes escaped."""
Words = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Sought = Annotated[str, Field(max_length=1025, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What is looked for: as long as the longest name that records know anybody by, an issuer and a `sub` of 512 each."""
Named = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Reason = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Why something is done: it stands in the audit for ever."""
Instant = Annotated[int, Field(ge=1, le=LATEST, description="Epoch seconds.")]
