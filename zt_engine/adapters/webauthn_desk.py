"""The control plane as a sidecar's desk for step-up with a key."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zt_engine.adapters.stream_http import StreamClient
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.webauthn import StepUpBegun, StepUpRaised


class StepUpClient:
    """Speaks for one sidecar, at whichever address of the control plane answers."""

    def __init__(self, client: StreamClient) -> None:
        self._client = client

    async def begin(self, asked: Mapping[str, object]) -> StepUpBegun:
        """Begin a ceremony."""
        raw = await self._client.call("/v1/step-ups", asked)
        try:
            return msgspec.json.decode(raw, type=StepUpBegun)
        except msgspec.DecodeError:
            raise _no_answer() from None

    async def finish(self, told: Mapping[str, object]) -> StepUpRaised:
        """Finish one."""
        raw = await self._client.call("/v1/step-ups/finish", told)
        try:
            return msgspec.json.decode(raw, type=StepUpRaised)
        except msgspec.DecodeError:
            raise _no_answer() from None


def _no_answer() -> UnavailableError:
    return UnavailableError("SIGN_IN_PROVIDER", "the control plane answers something else")
