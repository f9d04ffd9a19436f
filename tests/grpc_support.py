"""The gRPC listener in a thread, and a client that speaks HTTP/2 frame by frame, and says what Envoy never would."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.hook_support import LoopThread
from zt_engine.sidecar.grpc import check
from zt_engine.sidecar.grpc.listener import GrpcServer
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.turn import Turn

CALL = [(":method", "POST"), (":scheme", "http"), (":authority", "zt"), ("content-type", "application/grpc")]
LEAVING = bytes.fromhex("0000080700000000007fffffff00000000")
"""GOAWAY that leaves no stream out (RFC 9113 6.8)."""
ANSWER = check.denied(403, [check.option(b"zt-reason", b"TRUST_LOW")], b"x" * 200_000)


class Hook:
    """Knows this user; answers every question alike, or breaks."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.breaks = self.unsealed = False
        self.user = os.getuid()

    def known(self, peer: Peer) -> bool:
        return peer == self.user

    def answer(self, message: bytes, peer: Peer) -> bytes:
        if self.breaks:
            raise RuntimeError("broken")
        self.asked.append(message)
        return ANSWER

    def seal(self, answers: list[Any]) -> list[bytes]:
        if self.unsealed:
            raise RuntimeError("no log")
        return answers


class Client:
    """One connection; `call` sends what it is told and returns status, gRPC status and message."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(path))
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self.h2.initiate_connection()

    def begin(self, method: bytes, body: bytes, *, verb: str = "POST", kind: str = "application/grpc") -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", verb), (":path", method.decode()), (":scheme", "http"), (":authority", "zt")]
        self.h2.send_headers(stream, [*headers, ("content-type", kind), ("te", "trailers")])
        for start in range(0, len(body), 16384):
            self.h2.send_data(stream, body[start : start + 16384])
        self.h2.end_stream(stream)
        return stream

    def call(self, method: bytes, body: bytes, **how: str) -> tuple[str, str, bytes]:
        stream = self.begin(method, body, **how)
        found: dict[str, str] = {}
        message = b""
        while True:
            self.sock.sendall(self.h2.data_to_send())
            data = self.sock.recv(65536)
            if not data:
                return "", "", b""
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found |= dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    message += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    self.sock.sendall(self.h2.data_to_send())
                    return found[":status"], found.get("grpc-status", ""), message[5:]


class Listening:
    """The listener in a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "grpc.sock"
        self.hook = Hook()
        self.meters = Meters()
        self.thread = LoopThread()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        sock.setblocking(False)

        def make() -> GrpcServer:
            loop = self.thread.loop
            hook = cast("EnvoyGrpcHook", self.hook)
            return GrpcServer(hook, Turn(self.hook, loop), loop, meters=self.meters, ready=lambda: not self.hook.breaks)

        self.server = self.thread.call(make)
        self.thread.run(self.server.listen(sock))
        self._clients: list[Client] = []

    def client(self) -> Client:
        self._clients.append(Client(self.path))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.sock.close()
        self.thread.run(self.server.close(grace=2.0))
        self.thread.close()
        assert self.thread.faults == []


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message
