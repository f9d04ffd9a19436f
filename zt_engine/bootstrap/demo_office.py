"""The demo's last chapter: this very machine, enrolled with a real control plane and looked at by the real agent.

A second installation, run by `zt up` as a small organisation would run it. What the machine shows is its own posture,
so nobody knows beforehand whether it may read the news; what holds anywhere is that a machine which only speaks for
itself opens no case file, and that once it is revoked it opens nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from device_inventory.agent import oidc_browser
from device_inventory.agent.collecting import ThisMachine
from device_inventory.agent.control_plane import Notice, Terms
from device_inventory.agent.enrolling import Enrolled, Enroller
from device_inventory.agent.errors import AgentError
from device_inventory.agent.keys import Choice, KeyWish
from device_inventory.agent.oidc import Binding, Client, SignedIn, discover
from device_inventory.agent.opening import connect, to_provider
from device_inventory.agent.state import CERTIFICATE, Home
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.control_http import ControlClient, read_key
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.demo_backend import DemoBackend
from zt_engine.bootstrap.demo_client import Answer, DemoClient, unix_get
from zt_engine.bootstrap.demo_provider import CLIENT, DemoProvider
from zt_engine.bootstrap.demo_world import BUDGET_MS, DemoWorld
from zt_engine.bootstrap.installation import ADMIN_KEY, Choices, install
from zt_engine.bootstrap.nginx_hook import find_proxy, nginx_block, write_key_include
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.bootstrap.supervision import ZT
from zt_engine.config import load, load_control
from zt_engine.core.errors import UnavailableError
from zt_engine.sidecar.hooks.snippet import render

AUDIENCE = "https://portal.example"
PERSON = "tanaka"
HOST = "portal.ministry.example"
READY_SECONDS = 60.0
NOTICE_SECONDS = 10.0
STAFF = {
    "status": "active", "groups": ["staff"], "compartments": ["case:123"], "clearance": 200, "org": "ministry/na1",
    "valid_until": None, "employment": "regular", "nationality": "JPN",
}  # fmt: skip


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the chapter. `faults` is empty when it came out as it has to on any machine."""

    target: str
    answer: Answer
    event: Mapping[str, Any]
    faults: tuple[str, ...] = ()
    revoked_ms: float | None = None
    """From the control plane's answer to the first refusal."""


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine shows, and what is missing, in the words of the control plane."""

    device_id: str
    facts: Mapping[str, object]
    unknown: int
    """Facts that were looked for and could not be observed."""
    missing: tuple[tuple[str, str], ...]
    """Label and text."""


class Office:
    """The second installation, running. A context manager."""

    def __init__(self, world: DemoWorld, backend: DemoBackend, nginx: Path, *, language: str) -> None:
        self._world = world
        self._backend = backend
        self._nginx = nginx
        self._language = language
        self._clock = SystemClock()
        self._provider = DemoProvider(self._clock, person=PERSON)
        self.folder = world.folder / "office"
        self._stack = contextlib.ExitStack()
        self.codes = CodeTexts(world.reasons)
        self._port = 0
        self._enrolled: Enrolled | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._provider)
            self._install()
            process = stack.enter_context(self._running())
            stack.enter_context(self._proxy())
            self._wait(process)
            self._admin = stack.enter_context(contextlib.closing(self._client()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- the chapter

    def enroll(self) -> Posture:
        """Invite the person, and have this machine enrolled by the agent; return what it shows."""
        self._admin.put("v1", "situation", "threat-level", body={"threat_level": 0, "reason": "demo"})
        self._admin.put("v1", "subjects", self._provider.issuer, PERSON, body=STAFF)
        invited = self._admin.post(
            "v1", "invitations", body={"subject": PERSON, "issuer": self._provider.issuer, "ownership": "corp"}
        )
        home = Home(self.folder / "agent")
        home.prepare()
        machine = ThisMachine(memory=None)
        wire, plane = connect(home, self._url, self._clock, language=self._language)
        with wire:
            talk = _Person(self._clock, language=self._language)
            enroller = Enroller(home, plane, machine, self._clock, talk, wish=KeyWish(wanted="file"))
            self._enrolled = done = enroller.enroll(invited["code"])
        state = home.load()
        assert state is not None
        assert state.key is not None
        certificate, key = home.read(CERTIFICATE), home.read(state.key.name)
        pem = self.folder / "clients" / "own.pem"
        pem.parent.mkdir(mode=0o700)
        with open(os.open(pem, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write((certificate or b"") + (key or b""))
        self._requests = DemoClient(self._world.server_ca, pem.parent)
        seen = machine.look(now=int(self._clock.now()), slow=False).facts
        return Posture(
            device_id=done.held.device_id,
            facts={name: fact.value for name, fact in sorted(seen.items()) if fact.status == "observed"},
            unknown=sum(fact.status != "observed" for fact in seen.values()),
            missing=tuple((item.label, item.text) for item in done.outcome.answer.items),
        )

    def ask(self) -> Iterator[Shown]:
        """Ask for the news and for a case file, revoke the device, and ask again."""
        news = self._until_known("/news/today")
        yield news
        case = self._once("/cases/123")
        opened = ("a machine that only speaks for itself opened a case file",) if _allowed(case) else ()
        yield msgspec.structs.replace(case, faults=opened)
        assert self._enrolled is not None
        self._admin.post("v1", "devices", self._enrolled.held.device_id, "revoke", body={"reason": "demo"})
        revoked = time.monotonic()
        while True:
            shown = self._once("/news/today")
            waited = time.monotonic() - revoked
            if "DEVICE_REVOKED" in shown.event.get("reasons", ()):
                yield msgspec.structs.replace(shown, revoked_ms=waited * 1000)
                return
            if waited > NOTICE_SECONDS:
                yield msgspec.structs.replace(shown, faults=("the revocation is not in force",))
                return

    def _until_known(self, target: str) -> Shown:
        """Ask until the sidecar was told of the device, which takes some milliseconds."""
        until = time.monotonic() + NOTICE_SECONDS
        while True:
            shown = self._once(target)
            unknown = {"CERT_UNTRUSTED", "DEVICE_UNKNOWN", "STALE_POLICY"}
            if unknown.isdisjoint(shown.event.get("reasons", ())):
                return shown
            if time.monotonic() > until:
                return msgspec.structs.replace(shown, faults=("the device is not known to the sidecar",))

    def _once(self, target: str) -> Shown:
        assert self._enrolled is not None
        keys = self._provider.keys
        claims = keys.claims(PERSON, now=self._clock.now(), certificate_digest=self._enrolled.held.x5t)
        claims.update(aud=AUDIENCE, acr="phr", amr=["hwk"], auth_time=int(self._clock.now()) - 5)
        token = keys.sign(claims).decode()
        headers = [("Authorization", f"Bearer {token}"), ("Accept", "text/html"), ("Accept-Language", self._language)]
        answer = self._requests.send(self._port, HOST, "own", method="GET", target=target, headers=headers)
        return Shown(target=target, answer=answer, event=self._event(answer))

    def _event(self, answer: Answer) -> Mapping[str, Any]:
        wanted, found = answer.decision_id.decode(), {}
        for path in sorted((self.folder / "log").glob("decisions*.jsonl")):
            for line in path.read_bytes().splitlines():
                event = json.loads(line)
                if event.get("effect") and (event["decision_id"] == wanted or not wanted):
                    found = event
        return found

    # -- what runs

    @property
    def _url(self) -> str:
        return load_control(self.folder / "zt.toml").control.public_url

    def _client(self) -> ControlClient:
        return ControlClient(self._url, key=read_key(self.folder / ADMIN_KEY), language=self._language)

    def _install(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        choices = Choices(
            pack="jp-gov",
            listen=f"unix:{self.folder}/zt.sock",
            admin_listen=f"unix:{self.folder}/admin.sock",
            issuer=self._provider.issuer,
            audience=AUDIENCE,
            jwks=f"{self._provider.issuer}/jwks",
            control_listen=f"127.0.0.1:{port}",
        )
        install(self.folder, choices, now=self._clock.now(), bundle=compiled_bundle("jp-gov"))
        config = self.folder / "zt.toml"
        text = config.read_text(encoding="utf-8")
        text = text.replace("[policy]\n", f"[policy]\nbudget_ms = {BUDGET_MS}\n", 1)
        text = text.replace("[log]\n", "[log]\nreserve_mib = 1\nsegment_mib = 16\nquota_mib = 64\n", 1)
        text += f'\n[enrollment]\nissuer = "{self._provider.issuer}"\nclient_id = "{CLIENT}"\n'
        config.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def _running(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZT_")}
        with (self.folder / "up.log").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # this interpreter, our own command
                [*ZT, "up", "--config", str(self.folder / "zt.toml")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                if unix_get(self.folder / "admin.sock", "/readyz").status == 200:
                    return
            time.sleep(0.02)
        log = self.folder / "up.log"
        text = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise UnavailableError("DEMO_NOT_READY", text, where=str(log))

    def _proxy(self) -> NginxProcess:
        settings, folder = load(self.folder / "zt.toml"), self.folder / "nginx"
        folder.mkdir(mode=0o700)
        sock, proxy = reserve(), find_proxy(settings, "front")
        write_key_include(settings, proxy)
        self._port = sock.getsockname()[1]
        block = nginx_block(
            settings,
            proxy,
            server_names=(HOST,),
            backend=self._backend.address,
            listen=(listen_text(sock),),
            certificate=self._world.server_certificate,
            certificate_key=self._world.server_key,
        )
        return NginxProcess.start(self._nginx, http=render(block), folder=folder, sockets=[sock])


class _Person:
    """Somebody who is signed in at the provider and agrees to the notice."""

    def __init__(self, clock: SystemClock, *, language: str) -> None:
        self._clock = clock
        self._language = language

    def sign_in(self, terms: Terms) -> SignedIn:
        """Sign in as a browser would: follow where the provider leads."""
        client = Client(issuer=terms.issuer, client_id=terms.client_id, scope=terms.scope)

        def visit(url: str) -> None:
            # The listener waits in this very thread.
            threading.Thread(target=_follow, args=(url,), daemon=True).start()

        with to_provider(self._clock, language=self._language) as wire:
            provider = discover(wire, terms.issuer, now=self._clock.now())
            binding, clock = Binding(terms.url), self._clock
            token = oidc_browser.sign_in(
                wire, provider, client, nonce=binding.nonce, show=visit, now=clock.now, elapsed=clock.elapsed
            )
            return binding.signed_in(token)

    def agree(self, notice: Notice, ownership: str) -> bool:
        """Agree."""
        return True

    def chose(self, choice: Choice) -> None:
        """A key in a file, as was asked for."""

    def unattested(self, error: AgentError) -> None:
        """Nothing to doubt: the key is in a file."""

    def step(self, name: str) -> None:
        """Say nothing: the demo prints what came of it."""


def _follow(url: str) -> None:
    with httpx.Client(follow_redirects=True, trust_env=False) as browser:
        browser.get(url)


def _allowed(shown: Shown) -> bool:
    return shown.event.get("effect") == "allow"
