"""uvicorn's protocol, with a way past it for bodies that thousands are sent at once (`control_plane.sink`).

Through ASGI a message for one stream takes a task that wakes up, three calls and a framing of its own; here it is one
write to a transport. The head of the answer has to be sent before, without a length, so that the body goes in chunks.
"""

from __future__ import annotations

import asyncio
from typing import Final

from zt_engine.adapters.tls_client_certificate import ClientCertificateProtocol

EXTENSION: Final = "zt.sink"
END: Final = b"0\r\n\r\n"


class DirectProtocol(ClientCertificateProtocol):
    """Puts a `TransportSink` into the scope of each request."""

    def on_message_begin(self) -> None:
        """Put it there."""
        super().on_message_begin()
        given = self.scope.get("extensions") or {}
        self.scope["extensions"] = {**given, EXTENSION: TransportSink(self.transport)}  # type: ignore[dict-item]


class TransportSink:
    """One connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def waiting(self) -> int:
        """How many bytes the other side has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, framed: bytes) -> None:
        """Send a chunk."""
        if not self._transport.is_closing():
            self._transport.write(framed)

    def end(self, *, at_once: bool = False) -> None:
        """End body and connection: nothing may follow a body that was written past the protocol."""
        if at_once:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(END)
            self._transport.close()
