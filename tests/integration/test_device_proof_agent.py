"""The agent's listener for browsers, with real sockets and the kernel's own word on whose they are."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from device_inventory.agent.browser_proof import keep_hosts
from device_inventory.agent.browser_proof_listener import MOST, BrowserProofs
from device_inventory.agent.browser_proof_peer import owner_of
from device_inventory.agent.state import Home
from tests.fakes.agent_world import who
from tests.fakes.control_plane_http import FakeControlPlane
from tests.integration.test_agent_commands import CLOCK, Desk
from tests.unit.test_device_proof_agent import home_of, query
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.demo_provider import DemoProvider
from zt_engine.cli.agent_proof import refusal_page

NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept-Language": "ja"}


class Running:
    """An agent that answers browsers at some free ports."""

    def __init__(self, folder: Path) -> None:
        self.home: Home = home_of(folder)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.proofs = BrowserProofs(
            self.home, SystemClock(), self.tell, page=refusal_page("en"), port=free_ports()
        )  # fmt: skip
        self.proofs.attend()

    def tell(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    @property
    def port(self) -> int:
        return self.proofs.port

    def ask(self, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        return ask(self.port, method, **headers)


def ask(port: int, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """What a browser is answered that was sent to a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, query(), headers={**NAVIGATES, **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def free_ports() -> int:
    """The first of eight ports in a row that nobody has, as far as one can know."""
    for first in range(20_000, 30_000, 16):
        held = [socket.socket() for _ in range(8)]
        try:
            for number, one in enumerate(held):
                one.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in held:
                one.close()
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("agent"))
    yield running
    running.proofs.close()


def test_a_browser_of_its_person_is_sent_back_and_every_answer_stays_with_it(agent: Running) -> None:
    status, headers, _ = agent.ask()

    assert (status, headers["Location"].partition("?")[0]) == (302, "https://portal.example/.zt/device")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.evil.example"}, 404), ({"Sec-Fetch-Mode": "cors"}, 404), ({"Sec-Fetch-Dest": "iframe"}, 404),
        ({"Content-Length": "0"}, 404),
    ],
)  # fmt: skip
def test_what_is_not_a_navigation_to_this_address_gets_a_page_and_no_location(
    agent: Running, headers: dict[str, str], status: int
) -> None:
    found, answered, page = agent.ask(**headers)

    assert (found, "Location" in answered) == (status, False)
    assert "この宛先は、端末の確認にのみ使われます" in page
    assert "default-src 'none'" in answered["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS"])
def test_no_other_method_is_answered(agent: Running, method: str) -> None:
    status, headers, _ = agent.ask(method)

    assert (status, "Location" in headers) == (501, False)
    assert "Access-Control-Allow-Origin" not in headers


ELSE = """
import encodings.idna, os, socket, sys
os.setuid(65_534)  # a socket belongs to whoever it was made by
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as browser:
    browser.sendall(sys.stdin.buffer.read())
    sys.stdout.buffer.write(browser.makefile("rb").read())
"""
"""Somebody else is another process: a process of many threads is not to be somebody else for a while."""


def test_the_browser_of_another_account_is_refused_by_the_kernel_s_word(agent: Running) -> None:
    if os.getuid() != 0:
        pytest.skip(reason="only root can be somebody else")
    lines = [f"GET {query()} HTTP/1.1", f"Host: 127.0.0.1:{agent.port}"]
    lines += [f"{name}: {value}" for name, value in NAVIGATES.items()]
    other = subprocess.run(
        [sys.executable, "-c", ELSE, str(agent.port)],
        input="\r\n".join([*lines, "", ""]).encode(), capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    head = other.stdout.partition(b"\r\n\r\n")[0]

    assert (head[9:12], b"Location" in head) == (b"403", False)
    assert agent.events[-1][1]["code"] == "AGENT_PROOF_USER"


def test_the_kernel_says_whose_a_connection_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as mine, server.accept()[0]:
            assert owner_of(mine.getsockname()[1], to=port) == os.getuid()
        assert owner_of(1, to=port) is None


def test_whoever_holds_connections_open_keeps_the_agent_from_nothing_for_long(
    agent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine, they are all still open when the next one asks.
    monkeypatch.setattr("device_inventory.agent.browser_proof_listener._Handler.timeout", 60)
    idle = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(MOST)]
    try:
        # One that came while an earlier test's browser was still being let go holds nothing: another one comes.
        for _ in range(MOST):
            if not answered(agent):
                break
            idle.append(socket.create_connection(("127.0.0.1", agent.port)))
        else:
            raise AssertionError(f"{len(idle)} open connections, and more are served")
    finally:
        for one in idle:
            one.close()
    assert any(answered(agent) for _ in range(200))


def answered(agent: Running) -> bool:
    try:
        return agent.ask()[0] in (302, 403)
    except (http.client.RemoteDisconnected, ConnectionError):
        return False


def test_a_port_somebody_else_has_is_said_and_the_next_one_taken(tmp_path: Path) -> None:
    first = free_ports()
    with socket.create_server(("127.0.0.1", first)):
        events: list[tuple[str, dict[str, Any]]] = []
        proofs = BrowserProofs(
            home_of(tmp_path), SystemClock(), lambda event, /, **facts: events.append((event, facts)),
            page=refusal_page("en"), port=first,
        )  # fmt: skip
        proofs.attend()
        try:
            assert events == [
                ("agent.browser_port_taken", {"port": first}), ("agent.browser_listening", {"port": first + 1})
            ]  # fmt: skip
        finally:
            proofs.close()


def test_where_no_host_is_named_no_port_is_open(tmp_path: Path) -> None:
    running = Running(tmp_path)
    assert running.port

    keep_hosts(running.home, [])
    running.proofs.attend()

    assert running.port == 0


def test_zt_agent_run_answers_browsers_from_the_report_that_names_their_host_until_it_is_stopped(
    tmp_path: Path,
) -> None:
    first = free_ports()
    with (
        DemoProvider(CLOCK, person="tanaka") as provider,
        FakeControlPlane(CLOCK, issuer=provider.issuer, who=who) as plane,
    ):
        plane.needed = {}
        desk = Desk(tmp_path, plane, provider)
        desk.already_looked()
        desk.enrolled()
        plane.proof_hosts = ("portal.example",)
        process = desk.start("run", "--proof-port", str(first))
        assert process.stderr is not None
        said = [json.loads(line) for line in until(process.stderr, "agent.browser_listening")]
        status, headers, _ = ask(first)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)

    told = [json.loads(line) for line in rest.splitlines()]
    assert [line["event"] for line in said] == [
        "agent.started", "agent.report_accepted", "agent.browser_listening"
    ]  # fmt: skip
    assert (status, headers["Location"].partition("?")[0]) == (302, "https://portal.example/.zt/device")
    assert [line["event"] for line in told] == ["agent.browser_answered", "agent.stopped"]
    assert headers["Location"].partition("proof=")[2][:40] not in rest
    assert process.returncode == 0


def until(lines: IO[str], event: str) -> Iterator[str]:
    """The lines up to that of an event."""
    for line in lines:
        yield line
        if event in line:
            return
