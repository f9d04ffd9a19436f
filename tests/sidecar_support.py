"""A made-up installation, the sidecar as a process or in this one, and a client that speaks for nginx."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tests.bundles import TINY, compiled
from tests.forked import Forked
from tests.hook_support import LoopThread
from tests.peers import ROOT
from zt_engine.adapters.dev_issuer import DevCertificate
from zt_engine.adapters.log_checkpoints import CheckpointKeys, load_public_key
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport
from zt_engine.bootstrap.sandbox import Device, Sandbox, hook_headers
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import load
from zt_engine.ports import Clock

DEADLINE = 45.0
END = b"\r\n\r\n"
HEALTHY: Mapping[str, Any] = {
    "device.key_protection": "hw", "patch.pending_security": 0, "patch.oldest_pending_days": 0, "vuln.kev_open": [],
    "vuln.kev_overdue": [], "disk.encrypted": True, "edr.running": True, "av.realtime": True, "mdm.enrolled": True,
    "firewall.enabled": True, "boot.secure_boot": True, "screenlock.enabled": True, "user.is_admin": False,
    "integrity.rooted": False, "os.eol_date": "2030-01-01",
}  # fmt: skip
_certificates: WeakKeyDictionary[Sandbox, dict[str, DevCertificate]] = WeakKeyDictionary()
PUBLIC = "https://portal.example/"
CASE = "https://portal.example/cases/1"
NOTE = "https://portal.example/notes/a"
SECRET = "https://portal.example/secret"


def installation(folder: Path, opa: str, **choices: Any) -> Sandbox:
    """An installation with the tiny pack, a person and her healthy laptop."""
    catalogue = (TINY / "catalogue.yaml").read_bytes()
    sandbox = Sandbox(folder, pack="jp-gov", bundle=compiled(opa), catalogue=catalogue, **choices)
    sandbox.write("policy/trust.yaml", (TINY / "trust.yaml").read_bytes())
    sandbox.subject("tanaka")
    return sandbox


def laptop(sandbox: Sandbox, device_id: str = "laptop-1", **fields: Any) -> Device:
    """Tanaka's healthy laptop; given again with other fields, its record changes and its certificate stays."""
    known = _certificates.setdefault(sandbox, {}).get(device_id)
    device = sandbox.device(device_id, **{"assigned": ["tanaka"], "facts": HEALTHY, "certificate": known, **fields})
    _certificates[sandbox][device_id] = device.certificate
    return device


def edit(sandbox: Sandbox, relative: str, *changes: tuple[str, str]) -> None:
    """Replace text in a file of the installation; what is replaced must be there."""
    text = (sandbox.folder / relative).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    sandbox.write(relative, text.encode())


def wait_for(found: Callable[[], Any], what: str, *, seconds: float = DEADLINE) -> Any:
    """Ask until the answer is true, and return it. The pause only keeps the asking cheap."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.005)
    return answer


# -- asking -----------------------------------------------------------------------------------------------------------


class Reply(NamedTuple):
    """One answer of the hook."""

    head: str
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(" ", 2)[1])

    def header(self, name: str) -> str | None:
        values = [
            line.partition(": ")[2]
            for line in self.head.split("\r\n")[1:]
            if line.lower().startswith(f"{name.lower()}:")
        ]
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def reason(self) -> str | None:
        return self.header("Zt-Reason")

    @property
    def decision(self) -> str:
        return self.header("Zt-Decision") or ""


def connect(address: str) -> socket.socket:
    """Connect to an address as the sidecar writes it."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(DEADLINE)
        sock.connect(address.removeprefix("unix:"))
        return sock
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def raw_request(path: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The bytes of a GET."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"GET {path} HTTP/1.1\r\nHost: zt\r\n{lines}\r\n".encode("latin-1")


class Closed(Exception):
    """The other end hung up without a whole answer; `asked` says whether it had been sent anything of this request."""


class Client:
    """One kept-alive connection, as nginx keeps them: a new one only when it was told that the old one ends."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.connections = 0
        self._sock: socket.socket | None = None

    def send(self, raw: bytes) -> Reply:
        """Ask and return the answer; raises Closed for anything less than a whole one."""
        if self._sock is None:
            self._sock = connect(self.address)
            self.connections += 1
        data = b""
        try:
            self._sock.sendall(raw)
            while END not in data:
                piece = self._sock.recv(65536)
                if not piece:
                    break
                data += piece
        except OSError as error:
            self.close()
            raise Closed(f"{type(error).__name__}: {error}") from error
        if END not in data:
            self.close()
            raise Closed(f"hung up after {data!r}")
        head, _, body = data.partition(END)
        reply = Reply(head.decode("latin-1"))
        length = int(reply.header("Content-Length") or 0)
        while len(body) < length:
            body += self._sock.recv(65536)
        if (reply.header("Connection") or "").lower() == "close":
            self.close()
        return Reply(reply.head, body)

    def get(self, path: str) -> Reply:
        return self.send(raw_request(path, ()))

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def question(
    sandbox: Sandbox, url: str = CASE, *, more: Sequence[tuple[str, str]] = (), without: Sequence[str] = (), **how: Any
) -> bytes:
    """The bytes nginx would send for a request; `more` and `without` change its headers."""
    headers = [(name, value) for name, value in hook_headers(sandbox, url, **how) if name.lower() not in without]
    return raw_request("/v1/hooks/nginx", [*headers, *more])


def ask(sandbox: Sandbox, address: str, url: str = CASE, **how: Any) -> Reply:
    """One question over a connection of its own."""
    client = Client(address)
    try:
        return client.send(question(sandbox, url, **how))
    finally:
        client.close()


class Load:
    """Threads that ask the same over kept-alive connections until they are told to stop; every fault is kept."""

    def __init__(self, address: str, raw: bytes, *, clients: int = 3, expect: int | None = 200) -> None:
        self.replies: list[Reply] = []
        self.faults: list[str] = []
        self._expect = expect
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Client(address), raw), daemon=True) for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, client: Client, raw: bytes) -> None:
        while not self._stop.is_set():
            try:
                reply = client.send(raw)
            except (Closed, OSError) as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                if len(self.faults) > 20:
                    return
                continue
            self.replies.append(reply)
            if self._expect is not None and reply.status != self._expect:
                self.faults.append(f"{reply.status} {reply.reason}")
            time.sleep(0.0005)  # a busy proxy, not a benchmark: the machine is shared
        client.close()

    def more(self, count: int = 50) -> None:
        """Return when so many further answers have come."""
        wanted = len(self.replies) + count
        wait_for(lambda: len(self.replies) >= wanted or len(self.faults) > 20, f"{count} more answers")

    def stop(self) -> list[Reply]:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        return self.replies


# -- running ----------------------------------------------------------------------------------------------------------


class Process:
    """`zt sidecar run` as a process of its own."""

    def __init__(self, sandbox: Sandbox, *, name: str = "sidecar", environ: Mapping[str, str] | None = None) -> None:
        self.sandbox = sandbox
        self.errors = sandbox.folder / f"{name}.stderr"
        self._stderr = self.errors.open("ab")
        self.process = Forked(
            ["sidecar", "run", "--config", str(sandbox.config)],
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        )

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it said about itself, in order; lines that are no JSON are kept under `text`."""
        found = []
        for line in self.errors.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": "", "text": line})
        return [event for event in found if name is None or event["event"] == name]

    def said(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until an event was logged so often, and return the last of them."""

        def look() -> list[dict[str, Any]]:
            assert self.process.poll() is None or self.events(name)[count - 1 :], self.errors.read_text()
            return self.events(name)[count - 1 :]

        return wait_for(look, f"event {name}")[-1]

    def started(self) -> Process:
        """Wait until it serves."""
        event = self.said("sidecar.started")
        self.address, self.admin = event["listen"][0], event["admin"]
        return self

    def ended(self, seconds: float = DEADLINE) -> int:
        """Wait until it has ended; return its status."""
        return self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        self._stderr.close()


@contextmanager
def running(sandbox: Sandbox, **how: Any) -> Iterator[Process]:
    """A process that serves, killed at the end if it is still there."""
    process = Process(sandbox, **how)
    try:
        yield process.started()
    finally:
        process.close()


class InProcess:
    """The program in a thread of this process, so that a test can set its clock and see into it."""

    def __init__(self, sandbox: Sandbox, *, clock: Clock | None = None) -> None:
        self.sandbox = sandbox
        self.thread = LoopThread()
        settings = load(sandbox.config, {})
        self.program = self.thread.call(lambda: SidecarProgram(settings, clock=clock))
        self.thread.run(self.program.start())
        self.address = self.program.addresses[0]
        self.admin = self.program.admin_address

    def ask(self, url: str = CASE, **how: Any) -> Reply:
        return ask(self.sandbox, self.address, url, **how)

    def refresh(self) -> None:
        """Let it read its folder now, instead of waiting until it notices."""
        self.thread.run(self.program.follower.refresh())

    def refresh_keys(self) -> None:
        self.thread.run(self.program._refresh_keys())

    def problems(self) -> list[str]:
        """The codes of what is refused now."""
        return [problem.code for problem in self.program.follower.problems]

    def close(self) -> None:
        self.thread.run(self.program.stop())
        self.thread.close()


@contextmanager
def in_process(sandbox: Sandbox, *, clock: Clock | None = None) -> Iterator[InProcess]:
    """The program, stopped in order at the end; it must not have left an exception to the event loop."""
    program = InProcess(sandbox, clock=clock)
    try:
        yield program
    finally:
        program.close()
    assert program.thread.faults == []


# -- what is left behind ----------------------------------------------------------------------------------------------


def logged(sandbox: Sandbox, folder: Path | None = None) -> list[dict[str, Any]]:
    """Every decision event, in the order of the log."""
    lines = [json.loads(line) for segment in read_log([folder or sandbox.folder / "log"]) for line in segment.lines()]
    return [line for line in lines if "decision_id" in line]


def verified(sandbox: Sandbox, folder: Path | None = None) -> AuditReport:
    """What `zt audit verify` finds."""
    keys = CheckpointKeys([load_public_key(sandbox.folder / "keys/log-signing.pub.pem")])
    checkpoints = read_checkpoints([sandbox.folder / "checkpoints"])
    return verify(read_log([folder or sandbox.folder / "log"]), checkpoints, genuine=keys.verify)
