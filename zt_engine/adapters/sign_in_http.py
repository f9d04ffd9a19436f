"""The control plane as a sidecar's sign-in desk: the routes of browser sign-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from zt_engine.adapters.stream_http import StreamClient
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.sessions import Begun, Finished

Kind = TypeVar("Kind")


class _Ended(msgspec.Struct):
    location: str = ""


class SignInClient:
    """Speaks for one sidecar, at whichever address of the control plane answers."""

    def __init__(self, client: StreamClient) -> None:
        self._client = client

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        """Begin a sign-in."""
        return _read(await self._client.call("/v1/sign-ins", asked), Begun)

    async def finish(self, told: Mapping[str, object]) -> Finished:
        """Finish one."""
        return _read(await self._client.call("/v1/sign-ins/finish", told), Finished)

    async def refresh(self, sid: str) -> None:
        """Have a session refreshed, if it is time; InputError SESSION_NOT_FOUND when it has ended."""
        await self._client.call(f"/v1/sessions/{sid}/refresh", {})

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        """End a session; return where its browser goes on to, empty for nowhere."""
        told = {"back": back, "state": state}
        return _read(await self._client.call(f"/v1/sessions/{sid}/end", told), _Ended).location


def _read(raw: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError:
        raise UnavailableError("SIGN_IN_PROVIDER", "the control plane answers something else") from None
