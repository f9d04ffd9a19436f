"""Who has a place at the FastCGI listener when there are more than places."""

from __future__ import annotations

import asyncio
import struct

import pytest

from zt_engine.sidecar import fastcgi, fastcgi_listener
from zt_engine.sidecar.fastcgi_listener import FastcgiConnection, FastcgiServer
from zt_engine.sidecar.turn import Turn

QUESTION = b"".join(
    (
        fastcgi.RECORD.pack(1, fastcgi.BEGIN, 1, 8, 0), struct.pack(">HB5x", fastcgi.AUTHORIZER, 0),
        fastcgi.RECORD.pack(1, fastcgi.PARAMS, 1, 4, 0), b"\x01\x01AB",
        fastcgi.RECORD.pack(1, fastcgi.PARAMS, 1, 0, 0),
    )
)  # fmt: skip


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted


class Sealer:
    def seal(self, answers: list[bytes]) -> list[bytes]:
        return answers


def test_who_only_connects_keeps_nobody_out_and_who_has_asked_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastcgi_listener, "MAX_CONNECTIONS", 2)
    loop = asyncio.new_event_loop()
    server = FastcgiServer(lambda _: b"Status: 200\r\n\r\n", Turn(Sealer(), loop), loop)

    def connected() -> tuple[FastcgiConnection, Wire]:
        connection, wire = FastcgiConnection(server), Wire()
        connection.connection_made(wire)
        return connection, wire

    asking, asked = connected()
    asking.data_received(QUESTION)
    _, silent = connected()
    latest, late = connected()
    latest.data_received(QUESTION)
    _, turned_away = connected()

    assert (asked.aborted, silent.aborted, late.aborted, turned_away.aborted) == (False, True, False, True)
    assert b"200" in asked.written and b"200" in late.written
    assert server.refusals == {"silent": 1, "connections": 1}
    loop.close()
