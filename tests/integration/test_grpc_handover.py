"""A second sidecar takes over from the first while questions come over gRPC: each is answered, by one of the two."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.sidecar_support import Process, edit, installation, logged, running, verified, wait_for
from tests.unit.test_envoy_grpc_messages import question
from zt_engine.sidecar.grpc.check import METHOD

ALLOWED = b"\x0a\x02\x08\x00"
"""How a CheckResponse begins whose status is 0."""
CALL = (
    (":method", "POST"), (":scheme", "http"), (":path", METHOD.decode()), (":authority", "zt"),
    ("content-type", "application/grpc"), ("te", "trailers"),
)  # fmt: skip


LEAVING = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"
"""The other end wants nothing new and answers what it has (RFC 9113 6.8); h2 would take it for the end."""


class Connection:
    """One connection, as a proxy has it: once the other end says that it leaves, questions go elsewhere.

    Nothing is asked again: a proxy would have to deny a question that was begun and not answered.
    """

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(20)
        self._sock.connect(path)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self._h2.initiate_connection()
        self._leaving = False

    def ask(self, message: bytes) -> bytes | None:
        """Return the answer; None, and nothing is sent, where the other end has said that it leaves."""
        self._read(wait=False)
        if self._leaving:
            return None
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, CALL)
        self._h2.send_data(stream, b"\0" + len(message).to_bytes(4) + message, end_stream=True)
        self._send()
        answer = b""
        while True:
            for event in self._read():
                if isinstance(event, h2.events.DataReceived):
                    answer += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    return answer[5:]
                elif isinstance(event, h2.events.ConnectionTerminated):
                    pytest.fail(f"question {stream} was begun and is not answered")

    def _read(self, *, wait: bool = True) -> list[h2.events.Event]:
        if not wait and not select.select([self._sock], [], [], 0)[0]:
            return []
        data = self._sock.recv(65536)
        if not data:
            assert not wait and self._leaving, "the connection ended before it was said to"
        if LEAVING in data:
            self._leaving = True
            data = data.replace(LEAVING, b"")
        events = self._h2.receive_data(data)
        self._send()
        return events

    def _send(self) -> None:
        # Even nothing at all cannot be sent to whom has closed.
        if data := self._h2.data_to_send():
            self._sock.sendall(data)

    def close(self) -> None:
        self._sock.close()


class Load:
    """Threads that ask one after the other until they are told to stop."""

    def __init__(self, path: str, clients: int = 3) -> None:
        self.answers: list[bytes] = []
        self.faults: list[str] = []
        self._path = path
        self._number = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        try:
            connection = Connection(self._path)
            while not self._stop.is_set():
                headers = [(b"x-forwarded-proto", b"https"), (b"x-request-id", b"load-%06d" % next(self._number))]
                answer = connection.ask(question(host=b"portal.example", path=b"/", headers=headers))
                if answer is None:
                    connection.close()
                    connection = Connection(self._path)
                else:
                    self.answers.append(answer)
            connection.close()
        except (OSError, AssertionError, pytest.fail.Exception) as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def more(self, count: int = 60) -> None:
        wanted = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= wanted or self.faults, f"{count} more answers")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def test_no_question_over_grpc_is_lost_when_a_successor_takes_over(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    path = str(tmp_path / "grpc.sock")
    mesh = f'[[proxies]]\nname = "mesh"\nhook = "envoy_grpc"\nsocket_uids = [{os.getuid()}]\n\n[policy]\n'
    edit(sandbox, "zt.toml", ("[policy]\n", mesh), ("[sidecar]\n", f'[sidecar]\ngrpc_listen = ["unix:{path}"]\n'))

    with running(sandbox, name="first") as first:
        load = Load(path)
        load.more()
        with running(sandbox, name="second") as second:
            load.more()
            assert first.ended() == 0
            load.more()
            load.stop()
            _end(second)

    assert load.faults == []
    assert {answer[:4] for answer in load.answers} == {ALLOWED}
    asked = [event for event in logged(sandbox) if event["request_id"].startswith("load-")]
    assert len(asked) == len({event["request_id"] for event in asked}) == len(load.answers)
    assert verified(sandbox).faults == ()


def _end(process: Process) -> None:
    process.signal(signal.SIGTERM)
    assert process.ended() == 0
