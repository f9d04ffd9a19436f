"""One HTTP/2 connection of a proxy that asks over gRPC: h2 for the protocol, limits and answers ours.

Calls are unary: a message, an answer, a status. What is no call of ours is told so by its gRPC status; what breaks the
protocol ends the connection. A connection whose peer may not ask is closed before it has said anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import structlog

from zt_engine.core.errors import InputError
from zt_engine.sidecar.connection import names_of, peer_uid
from zt_engine.sidecar.grpc import check, health
from zt_engine.sidecar.grpc.blocks import KnownDecoder, KnownEncoder, Validity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hpack.struct import Header

    from zt_engine.sidecar.grpc.listener import GrpcServer
    from zt_engine.sidecar.hooks.credentials import Peer

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 128 << 10
"""A question holds the headers of a request and a certificate."""
MAX_STREAMS = 128
MAX_HEADER_BYTES = 16 << 10
PREFIX_BYTES = 5
UNKNOWN_METHOD, INTERNAL, UNAUTHENTICATED, EXHAUSTED, INVALID = b"12", b"13", b"16", b"8", b"3"
_SETTINGS = {
    h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
    h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
}
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_DONE = ((b"grpc-status", b"0"),)
_LEAVING = b"\0\0\x08\x07\0" + b"\0\0\0\0" + b"\x7f\xff\xff\xff" + b"\0\0\0\0"
"""GOAWAY that leaves no stream out (RFC 9113 6.8): begin nothing new, all that is under way is answered. h2 would take
it for the end of the connection, so that it is written past h2."""
_HEARD = b"zt-heard"


class _Connection(h2.connection.H2Connection):
    """h2 that goes on after a GOAWAY: its sender begins nothing new, and is owed what it began (RFC 9113 6.8)."""

    def clear_outbound_data_buffer(self) -> None:
        # h2 calls this when it has taken a GOAWAY for the end of the connection, and would drop what is to be sent.
        self.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN


class Call:
    """One call: its message while it comes, and its answer when its turn is sealed."""

    __slots__ = ("connection", "message", "method", "stream")

    def __init__(self, connection: GrpcConnection, stream: int, method: bytes) -> None:
        self.connection = connection
        self.stream = stream
        self.method = method
        self.message = b""

    def send(self, response: bytes, now: float) -> None:
        """Write a sealed answer; a connection that cannot take it ends, and the others of the turn get theirs."""
        try:
            self.connection.answer(self.stream, response)
        except h2.exceptions.H2Error as error:
            self._give_up(error)

    def fail(self) -> None:
        """Refuse a call that we failed to answer: to Envoy any status but 0 is no allow."""
        try:
            self.connection.refuse(self.stream, INTERNAL)
        except h2.exceptions.H2Error as error:
            self._give_up(error)

    def _give_up(self, error: h2.exceptions.H2Error) -> None:
        log.warning("grpc.unanswered", error=type(error).__name__)
        self.connection.abort()


class GrpcConnection(asyncio.Protocol):
    """All calls of one connection."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._calls: dict[int, Call] = {}
        self._waiting: deque[tuple[int, bytes]] = deque()
        """Bodies that the peer has no room for yet, in order."""
        self._peer: Peer = None
        self._dead = False
        self._draining = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            # `Validity` checks inbound headers, the same ones once; what we send is ours.
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = _Connection(config)
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=_SETTINGS)
        self._h2.decoder = KnownDecoder(MAX_HEADER_BYTES)
        self._h2.encoder = KnownEncoder()
        self._validity = Validity()

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("peercert")
        self._peer = names_of(tls) if tls is not None else peer_uid(transport.get_extra_info("socket"))
        if not self._server.admit(self, self._peer):
            self._end()
            return
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._calls.clear()
        self._waiting.clear()
        self._server.forget(self)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._dead:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        try:
            events = self._h2.receive_data(data)
            # h2 has read them all: it takes no answer any more for what was begun and taken back in one piece.
            reset = {event.stream_id for event in events if isinstance(event, h2.events.StreamReset)}
            if reset:
                self._forget(reset)
            for event in events:
                self._take(event, reset)
        except h2.exceptions.ProtocolError:
            self._flush()  # it says why
            self._end()
            return
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("grpc.failed", error=type(error).__name__)
            self._end()
            return
        self._flush()

    # -- one event

    def _take(self, event: h2.events.Event, reset: set[int]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._check(self._validity.of_request, event.headers)
            if event.stream_id not in reset:
                self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.message += event.data
                if len(call.message) > MAX_MESSAGE_BYTES + PREFIX_BYTES:
                    self.refuse(call.stream, EXHAUSTED)
        elif isinstance(event, h2.events.StreamEnded):
            call = self._calls.get(event.stream_id)
            if call is not None:
                self._finish(call)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._write_waiting()
        elif isinstance(event, h2.events.TrailersReceived):
            self._check(self._validity.of_trailers, event.headers)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._draining = True  # what came with it is heard first
        elif isinstance(event, h2.events.PingAckReceived) and event.ping_data == _HEARD:
            # It has read that we leave, and what it began before that is here.
            self._draining = True

    def _forget(self, streams: set[int]) -> None:
        for stream in streams:
            self._calls.pop(stream, None)
        self._waiting = deque(item for item in self._waiting if item[0] not in streams)

    def _check(self, valid: Callable[[Iterable[Header]], None], headers: Iterable[Header] | None) -> None:
        try:
            valid(headers or ())
        except h2.exceptions.ProtocolError as error:
            self._h2.close_connection(error.error_code)
            raise

    def _begin(self, event: h2.events.RequestReceived) -> None:
        stream = event.stream_id
        headers = dict(event.headers)
        if headers.get(b":method") != b"POST" or not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self._h2.send_headers(stream, ((b":status", b"415"),), end_stream=True)
            return
        path = headers.get(b":path", b"")
        self._calls[stream] = Call(self, stream, path)
        if path not in (check.METHOD, health.METHOD):
            self.refuse(stream, UNKNOWN_METHOD)

    def _finish(self, call: Call) -> None:
        prefix, message = call.message[:PREFIX_BYTES], call.message[PREFIX_BYTES:]
        if len(prefix) < PREFIX_BYTES or prefix[0] or int.from_bytes(prefix[1:]) != len(message):
            self.refuse(call.stream, INVALID)  # compressed, cut off, or more than one
            return
        if call.method == health.METHOD:
            self.answer(call.stream, health.response(ready=self._server.ready()))
            return
        try:
            pending = self._server.hook.answer(message, self._peer)
        except InputError:
            self.refuse(call.stream, UNAUTHENTICATED)
            return
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("answer.failed", error=type(error).__name__)
            self.refuse(call.stream, INTERNAL)
            return
        self._server.turn.add(call, pending)

    # -- answers

    def answer(self, stream: int, message: bytes) -> None:
        """Answer a call with a message, and with status 0."""
        if self._calls.pop(stream, None) is None or self._dead:
            return
        self._h2.send_headers(stream, _HEAD)
        self._waiting.append((stream, b"\0" + len(message).to_bytes(4) + message))
        self._write_waiting()
        self._flush()

    def refuse(self, stream: int, status: bytes) -> None:
        """Answer a call with a status alone; what else comes for it is dropped."""
        if self._calls.pop(stream, None) is None or self._dead:
            return
        self._h2.send_headers(stream, (*_HEAD, (b"grpc-status", status)), end_stream=True)
        self._flush()

    def _write_waiting(self) -> None:
        while self._waiting:
            stream, body = self._waiting[0]
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room < len(body):
                if room > 0:
                    self._h2.send_data(stream, body[:room])
                    self._waiting[0] = stream, body[room:]
                    continue
                return
            self._waiting.popleft()
            self._h2.send_data(stream, body)
            self._h2.send_headers(stream, _DONE, end_stream=True)

    def _flush(self) -> None:
        if not self._dead:
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)
            self._end_if_done()

    # -- the end

    def drain(self) -> None:
        """Say that we leave, and close as soon as the peer has heard it and no answer is owed."""
        if not self._dead and not self._draining:  # a peer that leaves itself has nothing to hear
            self._transport.write(self._h2.data_to_send() + _LEAVING)
            self._h2.ping(_HEARD)
            self._flush()

    def _end_if_done(self) -> None:
        if self._draining and not self._calls and not self._waiting and not self._dead:
            self._h2.close_connection()
            self._transport.write(self._h2.data_to_send())
            self._end()

    def _end(self) -> None:
        self._dead = True
        self._transport.close()

    def abort(self) -> None:
        """End it now."""
        self._dead = True
        self._transport.abort()
