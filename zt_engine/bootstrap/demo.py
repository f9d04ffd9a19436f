"""The demo, running: backend, sidecar and nginx as they run in production, and every request checked three times.

What the client received, what the backend received, and what the decision log says must all be what was expected.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Self

import msgspec

from zt_engine.adapters.log_checkpoints import CheckpointKeys, load_public_key
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.adapters.nginx_process import NginxProcess, find_nginx, listen_text, reserve
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.demo_backend import DemoBackend
from zt_engine.bootstrap.demo_client import Answer, DemoClient, unix_get
from zt_engine.bootstrap.demo_story import Sent, Step
from zt_engine.bootstrap.demo_world import PACK, PROXIES, DemoWorld
from zt_engine.bootstrap.nginx_hook import find_proxy, nginx_block, services, write_key_include
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, Problem, UnavailableError
from zt_engine.sidecar.hooks.snippet import render

READY_SECONDS = 20.0
NOTICE_SECONDS = 10.0
"""How long a change may take to be noticed on a very busy machine; it takes a tenth of a second."""

STOP_SECONDS = 10.0
COMMAND = "import sys; from zt_engine.cli import main; sys.argv[0] = 'zt'; main()"
"""The command `zt` of this very interpreter, wherever its scripts are installed."""

Event = Mapping[str, Any]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One step after it was run. `faults` is empty when everything was as expected."""

    step: Step
    answer: Answer
    event: Event
    faults: tuple[str, ...]
    noticed_ms: float | None = None
    """For a change: from the moment the file was written to the first answer that knows of it."""


class Demo:
    """Everything that runs. A context manager; leaving it stops all processes and leaves the folder."""

    def __init__(
        self, folder: Path, *, language: str, pack: str = PACK, nginx: Path | None = None, opa: str | None = None
    ) -> None:
        executable = nginx or find_nginx()
        if executable is None or not os.access(executable, os.X_OK):
            message = f"`{nginx}` is no executable" if nginx else "none in this Python environment, none on PATH"
            raise ConfigError((Problem(code="DEMO_NGINX_MISSING", message=message),))
        self.nginx = executable
        self._language = language
        self._stack = contextlib.ExitStack()
        self.world = DemoWorld(folder, pack=pack, opa=opa)
        self.codes = CodeTexts(self.world.reasons)
        self.backend = DemoBackend()
        self.client = DemoClient(self.world.server_ca, folder / "clients")
        self.ports: dict[str, int] = {}
        self._events = _Events(folder / "log")
        self._sidecar: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            stack.enter_context(self.backend)
            self._sidecar = stack.enter_context(_sidecar(self.world))
            stack.enter_context(self._start_nginx())
            wait_until_ready(self.world, self._sidecar)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, step: Step) -> Result:
        """Send a step's request; after a change, again and again until the answer is the expected one."""
        if step.change is None:
            return self._once(step)
        step.change(self.world)
        changed = time.monotonic()
        while True:
            result = self._once(step)
            waited = time.monotonic() - changed
            if not result.faults or waited > NOTICE_SECONDS:
                return msgspec.structs.replace(result, noticed_ms=waited * 1000)

    def stop_sidecar(self) -> None:
        """Stop the sidecar as a supervisor would: it signs the last checkpoint of its log."""
        if self._sidecar is not None:
            _stop(self._sidecar)

    def repeat(self, step: Step, times: int) -> tuple[int, int]:
        """Send one request again and again over one connection; the medians of decision and round trip in microseconds.

        After the first of a tick the decision is remembered, so this is what a person who works sees.
        """
        sent = step.sent
        headers = sent.headers(self.world, self.url(sent))
        spent = self.client.repeat(
            self.ports[sent.network], sent.host, sent.device, target=sent.target, headers=headers, times=times
        )
        latencies = self._events.latencies()
        return int(median(latencies)), int(median(spent))

    def verify_log(self) -> AuditReport:
        """Verify the decision log as `zt audit verify` does."""
        folder = self.world.folder
        trusted = CheckpointKeys([load_public_key(folder / "keys/log-signing.pub.pem")])
        checkpoints = list(read_checkpoints([folder / "checkpoints"]))
        return verify(read_log([folder / "log"]), checkpoints, genuine=trusted.verify)

    def url(self, sent: Sent) -> str:
        """The URL of a request, with nginx's port."""
        return f"https://{sent.host}:{self.ports[sent.network]}{sent.target}"

    # -- one request

    def _once(self, step: Step) -> Result:
        sent = step.sent
        self.backend.seen.clear()
        headers = [
            *sent.headers(self.world, self.url(sent).partition("?")[0]),
            ("Accept", "text/html"),
            ("Accept-Language", f"{self._language}, en;q=0.5"),
        ]
        answer = self.client.send(
            self.ports[sent.network], sent.host, sent.device, method=sent.method, target=sent.target, headers=headers
        )
        event = self._events.of(answer.decision_id)
        return Result(step=step, answer=answer, event=event, faults=tuple(self._faults(step, answer, event)))

    def _faults(self, step: Step, answer: Answer, event: Event) -> Iterator[str]:
        wanted, reasons = step.expected, list(event.get("reasons", ()))
        if answer.status != wanted.status:
            yield f"HTTP {answer.status} != {wanted.status}"
        if event.get("effect") != wanted.effect:
            yield f"effect {event.get('effect')} != {wanted.effect}"
        yield from (f"reasons {reasons} without {code}" for code in wanted.reasons if code not in reasons)
        duties = [duty["id"] for duty in event.get("obligations", ())]
        yield from (f"obligations {duties} without {duty}" for duty in wanted.duties if duty not in duties)
        if wanted.challenge not in answer.headers.get("www-authenticate", ""):
            yield f"WWW-Authenticate without {wanted.challenge}"
        yield from self._page_faults(step, answer)
        yield from self._backend_faults(step, event)

    def _page_faults(self, step: Step, answer: Answer) -> Iterator[str]:
        """The person must be told, in the language asked for, what it is and what to do."""
        if not step.expected.page:
            return
        page, entry = answer.body.decode("utf-8", "replace"), self.codes[step.expected.page]
        if f'lang="{self._language}"' not in page:
            yield f"the page is not in `{self._language}`"
        for text in (entry.text(self._language), entry.hint(self._language)):
            if text not in page:
                yield f"the page does not say `{text}`"

    def _backend_faults(self, step: Step, event: Event) -> Iterator[str]:
        """A 200 reaches the backend exactly as authorised, with our identity; anything else does not reach it."""
        seen = self.backend.seen
        if step.expected.effect != "allow":
            if seen:
                yield "the backend was reached"
            return
        if [(one.method, one.target) for one in seen] != [(step.sent.method, step.sent.target)]:
            yield f"the backend received {[(one.method, one.target) for one in seen]}"
            return
        told = seen[0].identity
        for name, member in (("zt-subject", "subject"), ("zt-device", "device"), ("zt-max-label", "label")):
            if told[name] != event.get(member):
                yield f"the backend was told {name} `{told[name]}`, decided was `{event.get(member)}`"

    # -- processes

    def _start_nginx(self) -> NginxProcess:
        """Print the server blocks as `zt hook nginx` does, and let a real nginx run them on sockets bound before."""
        world, settings = self.world, load(self.world.sandbox.config)
        folder = world.folder / "nginx"
        folder.mkdir(mode=0o700)
        sockets, blocks = [], []
        for name in PROXIES:
            sock, proxy = reserve(), find_proxy(settings, name)
            write_key_include(settings, proxy)
            sockets.append(sock)
            self.ports[name] = sock.getsockname()[1]
            blocks += [
                nginx_block(
                    settings,
                    proxy,
                    service=service,
                    backend=self.backend.address,
                    listen=(listen_text(sock),),
                    certificate=world.server_certificate,
                    certificate_key=world.server_key,
                )
                for service in services(settings, proxy)
            ]
        return NginxProcess.start(self.nginx, http="\n".join(map(render, blocks)), folder=folder, sockets=sockets)


class _Events:
    """Reads the decision log as it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def of(self, decision_id: bytes) -> Event:
        """Return the event of a decision that was just answered: it was written before the answer left."""
        events = [event for event in self._new() if "effect" in event]
        by_id = {event["decision_id"]: event for event in events}
        return by_id.get(decision_id.decode(), events[-1] if events and not decision_id else {})

    def latencies(self) -> list[int]:
        """Return the decisions' own times, in microseconds, of everything since the last reading."""
        return [event["latency_us"] for event in self._new() if "effect" in event]

    def _new(self) -> Iterator[Event]:
        for path in sorted(self._folder.glob("decisions*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    yield json.loads(line)
                self._read[path] = file.tell()


@contextlib.contextmanager
def _sidecar(world: DemoWorld) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZT_")}
    with (world.folder / "sidecar.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # this interpreter, our own command
            [sys.executable, "-c", COMMAND, "sidecar", "run", "--config", str(world.sandbox.config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(world: DemoWorld, process: subprocess.Popen[bytes]) -> None:
    """Wait until the sidecar says that it can decide; raises UnavailableError DEMO_NOT_READY with what it wrote."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            if unix_get(world.admin_socket, "/readyz").status == 200:
                # A proof of possession says in whole seconds when it was made, and one of the second in which the
                # sidecar began is refused: it may have been used before.
                time.sleep(1.0 - world.clock.now() % 1.0)
                return
        time.sleep(0.02)
    log = world.folder / "sidecar.log"
    raise UnavailableError("DEMO_NOT_READY", log.read_text(encoding="utf-8", errors="replace")[-4000:], where=str(log))
