"""Answers the browsers of this person, on loopback: a redirect that came goes back with what the device signed.

Everything that runs on the machine can reach the port, and every page can lead a browser here. So it answers only
navigations of a browser (not what a page fetches or embeds), under the one name that no other host can have (DNS
rebinding), of the very person the agent works for, about hosts that the control plane named, and not without end.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final

from msgspec import Struct

from device_inventory.agent.browser_proof import (
    Asked,
    covers,
    known_hosts,
    read_asked,
    statement,
    way_back,
)
from device_inventory.agent.browser_proof_peer import Tables, owner_of, port_of, read_tables
from device_inventory.agent.device import Clock
from device_inventory.agent.errors import AgentError
from device_inventory.agent.keys import open_key
from device_inventory.agent.loop import Tell
from device_inventory.agent.state import Home

PORT: Final = 29170
PORTS: Final = 8
MOST: Final = 16
"""Browsers answered at a time."""
A_MINUTE: Final = 30
"""Proofs given in a minute. A browser needs four an hour for each host."""
SECONDS: Final = 5

Page = Callable[[str, str], tuple[bytes, str]]
"""What a person is told, from a code and an Accept-Language: a page, and its Content-Security-Policy."""
STATUS: Final = {"AGENT_PROOF_BUSY": 429, "AGENT_PROOF_REQUEST": 404}


class Answer(Struct, frozen=True, kw_only=True):
    """Where a browser is sent, or why not."""

    location: str = ""
    code: str = ""


class Head(Struct, frozen=True, kw_only=True):
    """What of a request's head counts."""

    target: str
    hosts: tuple[str, ...]
    mode: tuple[str, ...]
    destination: tuple[str, ...]
    body: bool = False


class Answerer:
    """Decides about one request at a time. For use by many threads."""

    def __init__(
        self, home: Home, clock: Clock, tell: Tell, *, ports: range, uid: int | None = None,
        tables: Tables = read_tables,
    ) -> None:  # fmt: skip
        self._home = home
        self._clock = clock
        self._tell = tell
        self._ports = ports
        self._uid = os.getuid() if uid is None else uid
        self._tables = tables
        self._signing = threading.Lock()
        self._given: deque[float] = deque(maxlen=A_MINUTE)

    def answer(self, head: Head, *, peer: int, port: int) -> Answer:
        """Return where the browser at the loopback port `peer` goes that came to `port`; every refusal is a code."""
        host = ""
        try:
            asked = self._asked(head, port)
            owner = owner_of(peer, to=port, tables=self._tables)
            if owner != self._uid:
                return self._elsewhere(owner, head, asked, port)
            host = asked.host
            if not covers(known_hosts(self._home), asked.host):
                raise AgentError("AGENT_PROOF_HOST", "the control plane did not name this host")
            proof = self._proof(asked)
        except AgentError as error:
            self._tell("agent.browser_refused", code=error.code, message=error.message, host=host)
            return Answer(code=error.code)
        self._tell("agent.browser_answered", host=asked.host, port=asked.port, session=asked.sid[:12])
        return Answer(location=way_back(asked, proof))

    def failed(self, error: BaseException | None) -> None:
        """Take note that a browser was not answered."""
        self._tell("agent.browser_failed", code="INTERNAL_ERROR", message=type(error).__name__)

    def _asked(self, head: Head, port: int) -> Asked:
        """Return what is asked by a browser that navigates, and by nothing else."""
        if head.hosts != (f"127.0.0.1:{port}",):
            raise AgentError("AGENT_PROOF_REQUEST", "`Host` is not this very address")
        if head.mode != ("navigate",) or head.destination != ("document",) or head.body:
            raise AgentError("AGENT_PROOF_REQUEST", "this is not a browser that was sent here")
        return read_asked(head.target)

    def _elsewhere(self, owner: int | None, head: Head, asked: Asked, port: int) -> Answer:
        """Send another person's browser to that person's own agent, if there is one."""
        found = None if owner is None else port_of(owner, self._ports, tables=self._tables)
        if found is None or found == port:
            raise AgentError("AGENT_PROOF_USER", "the browser belongs to another account of this machine")
        self._tell("agent.browser_handed_on", port=found)
        return Answer(location=f"http://127.0.0.1:{found}{head.target}")

    def _proof(self, asked: Asked) -> str:
        with self._signing:  # a TPM does one thing at a time
            now = self._clock.elapsed()
            if len(self._given) == A_MINUTE and now - self._given[0] < 60:
                raise AgentError("AGENT_PROOF_BUSY", f"more than {A_MINUTE} proofs in a minute")
            self._given.append(now)
            state = self._home.load()
            if state is None or state.held is None or state.key is None:
                raise AgentError("AGENT_NOT_ENROLLED", "no device is enrolled here")
            return statement(
                open_key(self._home, state.key), state.held.certificate, asked, now=self._clock.now()
            )  # fmt: skip


class BrowserProofs:
    """The listener, from when there is a host to answer for until it is closed."""

    def __init__(self, home: Home, clock: Clock, tell: Tell, *, page: Page, port: int = PORT) -> None:
        self._home = home
        self._clock = clock
        self._tell = tell
        self._page = page
        self._ports = range(port, port + PORTS)
        self._server: _Server | None = None
        self.port = 0

    def attend(self) -> None:
        """Listen if there is a host to answer for, and stop if there is none any more."""
        wanted = self._ports.start > 0 and bool(known_hosts(self._home))
        if wanted and self._server is None:
            self._open()
        elif not wanted:
            self.close()

    def close(self) -> None:
        """Stop listening."""
        server, self._server, self.port = self._server, None, 0
        if server is not None:
            server.shutdown()
            server.server_close()

    def _open(self) -> None:
        answerer = Answerer(self._home, self._clock, self._tell, ports=self._ports)
        for port in self._ports:
            try:
                server = _Server(port, answerer, self._page)
            except OSError:
                # Somebody else's agent, or whoever wants to be taken for one: a browser is shown that, not the proof.
                self._tell("agent.browser_port_taken", port=port)
                continue
            self._server, self.port = server, port
            threading.Thread(target=server.serve_forever, name="browser-proof", daemon=True).start()
            self._tell("agent.browser_listening", port=port)
            return
        self._tell("agent.browser_failed", code="AGENT_PROOF_PORT", message="every port for browsers is taken")


class _Server(ThreadingMixIn, HTTPServer):
    """Serves one loopback port, so many connections at a time and no more."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False
    request_queue_size = MOST

    def __init__(self, port: int, answerer: Answerer, page: Page) -> None:
        self.answerer = answerer
        self.page = page
        self._room = threading.BoundedSemaphore(MOST)
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up hears nothing, and neither does anybody of it; what is broken here is said."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.answerer.failed(error)

    def server_bind(self) -> None:
        """Bind without asking a resolver for a name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS
    server: _Server

    def do_GET(self) -> None:
        heads = self.headers
        head = Head(
            target=self.path,
            hosts=tuple(heads.get_all("Host") or ()),
            mode=tuple(heads.get_all("Sec-Fetch-Mode") or ()),
            destination=tuple(heads.get_all("Sec-Fetch-Dest") or ()),
            body="Content-Length" in heads or "Transfer-Encoding" in heads,
        )
        answer = self.server.answerer.answer(head, peer=self.client_address[1], port=self.server.server_port)
        body, policy = b"", ""
        if not answer.location:
            body, policy = self.server.page(answer.code, heads.get("Accept-Language", "")[:256])
        self.send_response_only(302 if answer.location else STATUS.get(answer.code, 403))
        if answer.location:
            self.send_header("Location", answer.location)
        else:
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing: the request line holds what is signed."""
