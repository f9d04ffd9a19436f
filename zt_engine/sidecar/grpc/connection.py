"""One connection of a proxy that asks over gRPC: its calls, what it has room for, and its end.

Calls are unary: a message, an answer, a status. What is no call of ours is told so by its gRPC status; what breaks the
protocol ends the connection (RFC 9113 5.4.1). A connection whose peer may not ask is closed before it has said
anything.

Of HTTP/2 it speaks what a server of such calls needs, and no library's: one that does everything took two thirds of
the time of a call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog

from zt_engine.core.errors import InputError
from zt_engine.sidecar.connection import names_of, origin_of, peer_uid
from zt_engine.sidecar.grpc import check, frames, health
from zt_engine.sidecar.grpc.blocks import Begun, Blocks
from zt_engine.sidecar.grpc.frames import ACK, END_STREAM, MAX_WINDOW, Code, ConnectionFault, FrameReader
from zt_engine.sidecar.grpc.sending import FIRST_ROOM, Sending

if TYPE_CHECKING:
    from zt_engine.sidecar.grpc.listener import GrpcServer
    from zt_engine.sidecar.hooks.credentials import Peer

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 128 << 10
"""A question holds the headers of a request and a certificate."""
MAX_STREAMS = 128
MAX_HEADER_BYTES = 16 << 10
PREFIX_BYTES = 5
UNKNOWN_METHOD, INTERNAL, UNAUTHENTICATED, EXHAUSTED, INVALID = b"12", b"13", b"16", b"8", b"3"

_ROOM = 1 << 20
"""Of the connection, given back by the half of it. A call has no bound of its own but that of its message."""
_GREETING = frames.settings_frame(
    (frames.MAX_STREAMS, MAX_STREAMS),
    (frames.INITIAL_WINDOW, MAX_WINDOW),
    (frames.MAX_HEADER_LIST, MAX_HEADER_BYTES),
) + frames.more_room(_ROOM - FIRST_ROOM)
_LEAVING = frames.goaway(frames.MAX_STREAM, Code.NO_ERROR)
"""Begin nothing new, all that is under way is answered (RFC 9113 6.8)."""
_HEARD = b"zt-heard"
_OF_THE_CONNECTION = frozenset({frames.SETTINGS, frames.PING, frames.GOAWAY})


class Call:
    """One call: its message while it comes, and who gets its answer when its turn is sealed."""

    __slots__ = ("begun", "connection", "ended", "message", "rest", "room", "stream")

    def __init__(self, connection: GrpcConnection, stream: int, begun: Begun, room: int) -> None:
        self.connection = connection
        self.stream = stream
        self.begun = begun
        self.message: bytes | bytearray = b""
        self.ended = False
        """Whether the peer has said all of it."""
        self.room = room
        self.rest = b""

    def send(self, response: bytes, now: float) -> None:
        """Write a sealed answer."""
        self.connection.answer(self, response)

    def fail(self) -> None:
        """Refuse a call that we failed to answer: to Envoy any status but 0 is no allow."""
        self.connection.refuse(self, INTERNAL)


class GrpcConnection(asyncio.Protocol):
    """All calls of one connection."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._reader = FrameReader()
        self._blocks = Blocks(MAX_HEADER_BYTES)
        self._sending = Sending()
        self._calls: dict[int, Call] = {}
        """Those that are not answered yet, or not wholly."""
        self._newest = 0
        """The stream that was begun last."""
        self._reading = self._flushes = False
        self._peer: Peer = None
        self._dead = False
        self._draining = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("peercert")
        self._peer = names_of(tls) if tls is not None else peer_uid(transport.get_extra_info("socket"))
        if self._server.admit(self, self._peer, origin_of(self._peer, transport)):
            self._transport.write(_GREETING)
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._calls.clear()
        self._server.forget(self)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._dead:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        self._reading = True
        try:
            for kind, flags, stream, payload in self._reader.read(data):
                if kind == frames.DATA:
                    self._data(stream, flags, payload)
                    self._write()  # a turn that was full is sealed: the proxy has work while we go on
                elif kind == frames.HEADERS:
                    self._headers(stream, flags, payload)
                else:
                    self._other(kind, flags, stream, payload)
            if self._reader.counted >= _ROOM // 2:
                self._sending.out.append(frames.more_room(self._reader.counted))
                self._reader.counted = 0
        except ConnectionFault as fault:
            self._sending.out.append(frames.goaway(self._newest, fault.code))
            self._end()
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("grpc.failed", error=type(error).__name__)
            self._end()
        finally:
            self._reading = False
        self._flush()

    # -- one frame

    def _headers(self, stream: int, flags: int, block: bytes) -> None:
        if not stream & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if stream <= self._newest:
            self._trailers(stream, flags, block)
            return
        begun = self._blocks.request(block)  # also of one that is refused: the table follows from all of them
        self._newest = stream
        if len(self._calls) >= MAX_STREAMS:
            self._sending.out.append(frames.reset(stream, Code.REFUSED_STREAM))
            return
        call = self._calls[stream] = Call(self, stream, begun, self._sending.of_stream)
        if flags & END_STREAM:
            self._finish(call)

    def _trailers(self, stream: int, flags: int, block: bytes) -> None:
        call = self._calls.get(stream)
        if call is None or call.ended:
            raise ConnectionFault(Code.STREAM_CLOSED)
        self._blocks.trailers(block)
        if not flags & END_STREAM:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        self._finish(call)

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        call = self._calls.get(stream)
        if call is None:
            self._see_begun(stream)
            return  # it was under way when its call was answered or taken back
        if call.ended:
            raise ConnectionFault(Code.STREAM_CLOSED)
        if call.message:
            if isinstance(call.message, bytes):
                call.message = bytearray(call.message)
            call.message += payload
        else:
            call.message = payload
        if len(call.message) > MAX_MESSAGE_BYTES + PREFIX_BYTES:
            self.refuse(call, EXHAUSTED)
        elif flags & END_STREAM:
            self._finish(call)

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if stream and kind in _OF_THE_CONNECTION:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if kind == frames.WINDOW_UPDATE:
            self._more_room(stream, frames.number_of(payload) & MAX_WINDOW)
        elif kind == frames.PING:
            self._ping(flags, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.RST_STREAM:
            self._see_begun(stream)
            frames.number_of(payload)
            self._calls.pop(stream, None)
            self._sending.forget(stream)
        elif kind == frames.GOAWAY:
            if len(payload) < 8:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR)
            self._draining = True  # its sender begins nothing new, and is owed what it began
        elif kind == frames.PRIORITY:
            frames.number_of(payload, 5)
            if not stream:
                raise ConnectionFault(Code.PROTOCOL_ERROR)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(Code.PROTOCOL_ERROR)

    def _see_begun(self, stream: int) -> None:
        if not stream & 1 or stream > self._newest:
            raise ConnectionFault(Code.PROTOCOL_ERROR)

    def _more_room(self, stream: int, more: int) -> None:
        if not more:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if not stream:
            self._sending.widen(more)
        else:
            self._see_begun(stream)
            call = self._calls.get(stream)
            if call is not None:
                call.room += more
                if call.room > MAX_WINDOW:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR)
        self._go_on()

    def _ping(self, flags: int, payload: bytes) -> None:
        frames.number_of(payload, 8)
        if not flags & ACK:
            self._sending.out.append(frames.written(frames.PING, ACK, 0, payload))
        elif payload == _HEARD:
            # It has read that we leave, and what it began before that is here.
            self._draining = True

    def _settings(self, flags: int, payload: bytes) -> None:
        if not flags & ACK:
            self._sending.settle(payload, self._calls.values())
            self._go_on()
        elif payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)

    # -- one call

    def _finish(self, call: Call) -> None:
        call.ended = True
        begun, message = call.begun, call.message
        if begun.size is not None and begun.size != len(message):
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if not begun.grpc:
            del self._calls[call.stream]
            self._sending.no_grpc(call.stream)
        elif begun.method not in (check.METHOD, health.METHOD):
            self.refuse(call, UNKNOWN_METHOD)
        elif len(message) < PREFIX_BYTES or message[0] or int.from_bytes(message[1:5]) != len(message) - PREFIX_BYTES:
            self.refuse(call, INVALID)  # compressed, cut off, or more than one
        elif begun.method == health.METHOD:
            self.answer(call, health.response(ready=self._server.ready()))
        else:
            self._ask(call, bytes(message[PREFIX_BYTES:]))

    def _ask(self, call: Call, message: bytes) -> None:
        try:
            pending = self._server.hook.answer(message, self._peer)
        except InputError:
            self.refuse(call, UNAUTHENTICATED)
            return
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("answer.failed", error=type(error).__name__)
            self.refuse(call, INTERNAL)
            return
        self._server.turn.add(call, pending)

    def answer(self, call: Call, message: bytes) -> None:
        """Answer a call with a message, and with status 0; nothing is said to one that was taken back."""
        if self._calls.get(call.stream) is not call or self._dead:
            return
        if self._sending.answer(call, message):
            del self._calls[call.stream]
        self._flush_later()

    def refuse(self, call: Call, status: bytes) -> None:
        """Answer a call with a status alone; what else comes for it is dropped."""
        if self._calls.get(call.stream) is not call or self._dead:
            return
        del self._calls[call.stream]
        self._sending.status(call.stream, status)
        if not call.ended:
            self._sending.out.append(frames.reset(call.stream, Code.NO_ERROR))
        self._flush_later()

    def _go_on(self) -> None:
        for stream in self._sending.go_on():
            del self._calls[stream]

    # -- what is written, and the end

    def _flush_later(self) -> None:
        """Write what is to be written with what else this turn answers."""
        if not self._reading and not self._flushes:
            self._flushes = True
            self._server.turn.after(self._flush)

    def _flush(self) -> None:
        self._flushes = False
        if not self._dead:
            self._write()
            if self._draining and not self._calls:
                self._sending.out.append(frames.goaway(self._newest, Code.NO_ERROR))
                self._end()

    def _write(self) -> None:
        out = self._sending.out
        if out:
            self._transport.write(b"".join(out))
            out.clear()

    def drain(self) -> None:
        """Say that we leave, and close as soon as the peer has heard it and no answer is owed."""
        if not self._dead and not self._draining:  # a peer that leaves itself has nothing to hear
            self._sending.out += (_LEAVING, frames.written(frames.PING, 0, 0, _HEARD))
            self._flush()

    def _end(self) -> None:
        self._write()
        self._dead = True
        self._transport.close()

    def abort(self) -> None:
        """End it now."""
        self._dead = True
        self._transport.abort()
