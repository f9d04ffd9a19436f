"""A control plane that runs with everything it is made of, and machines with a TPM in software that enroll with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from device_inventory.device import DeviceRecord
from device_inventory.device_json import read_device
from device_inventory.inventory import Device
from tests import forked
from tests.integration.tpm_lab import Tpm
from tests.peers import ROOT, find_peer
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.store_sql import open_store
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.demo_provider import CLIENT, DemoProvider
from zt_engine.bootstrap.installation import ADMIN_KEY, Choices, install
from zt_engine.config import load_control
from zt_engine.ports.inventory import DeviceFilter

PATIENCE = 100
TENANT = "default"
PERSON = "tanaka"
CHANGED = "device.changed"
BROWSER = """#!{python}
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(sys.argv[1], timeout=20).read()
"""


class Ahead(SystemClock):
    """This machine's clock, some seconds ahead of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        system = self.now
        self.now = lambda: system() + self.seconds


class Office:
    """A control plane over one folder: a context manager, as often as a test wants it to be started anew."""

    def __init__(self, folder: Path, *, enrollment: str) -> None:
        self.folder = folder
        # swtpm dates its certificates by the machine's clock.
        self.clock = Ahead(3600)
        self._provider = DemoProvider(self.clock, person=PERSON)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        choices = Choices(
            pack="corp",
            control_listen=self.url.removeprefix("http://"),
            issuer=self._provider.issuer,
            audience="https://portal.example",
            jwks="keys/jwks.json",
        )
        install(folder, choices, now=self.clock.now())
        jwks = folder / "keys/jwks.json"
        jwks.write_bytes(self._provider.keys.jwks())
        jwks.chmod(0o600)
        with (folder / "zt.toml").open("a") as file:
            file.write(f'\n[enrollment]\nissuer = "{self._provider.issuer}"\nclient_id = "{CLIENT}"\n{enrollment}')
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._program = ControlProgram(load_control(self.folder / "zt.toml", {}), clock=self.clock)
            self._started = threading.Event()
            thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
            thread.start()
            stack.callback(thread.join)
            assert self._started.wait(PATIENCE)
            stack.callback(lambda: self._loop.call_soon_threadsafe(self._stopped.set))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        await self._program.start()
        self._started.set()
        await self._stopped.wait()
        await self._program.stop()

    def signing_in(self) -> DemoProvider:
        """The identity provider; it outlives the control plane."""
        return self._provider

    def invite(self) -> str:
        answer = httpx.post(
            f"{self.url}/v1/invitations",
            json={"subject": PERSON, "issuer": self._provider.issuer, "ownership": "corp"},
            headers={
                "Authorization": f"Bearer {(self.folder / ADMIN_KEY).read_text().strip()}",
                "Idempotency-Key": secrets.token_hex(16),
            },
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    def device(self, device_id: str) -> Device:
        """What the inventory holds."""
        with self._program.parts.store.reading(TENANT) as tx:
            found = tx.devices.get(device_id)
        assert found is not None
        return found

    def devices(self) -> list[Device]:
        """Everything the inventory holds."""
        with self._program.parts.store.reading(TENANT) as tx:
            return list(tx.devices.page(DeviceFilter(), after="", limit=100))

    def told(self, device_id: str) -> DeviceRecord:
        """What sidecars were last told of a device; the control plane has to be stopped."""
        store = open_store(f"sqlite:///{self.folder / 'control/zt.db'}")
        try:
            fence = store.elect()
            assert fence is not None
            store.sequence(TENANT, fence=fence, limit=10_000)
            store.resign()
            said = [event.data for event in store.events(TENANT, after=0, limit=10_000) if event.type == CHANGED]
        finally:
            store.close()
        return [record for record in map(read_device, said) if record.device_id == device_id][-1]


class Laptop:
    """A machine with a TPM, its browser, and `zt agent`."""

    def __init__(self, folder: Path, office: Office, tpm: Tpm) -> None:
        self.office = office
        self.tpm = tpm
        self.home = folder / "home"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        browser = programs / "xdg-open"
        browser.write_text(BROWSER.format(python=sys.executable))
        browser.chmod(0o755)
        self._environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "TSS2_LOG": "all+none",
        }

    def agent(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its status and what it said."""
        python = find_peer("tpm2-pytss")
        assert python is not None
        packages = next(python.parent.parent.glob("lib/python3.*/site-packages"))
        given = [str(packages), str(self.office.clock.seconds), *words, "--home", str(self.home)]
        return forked.run(given, env=self._environment, target="tests.integration.tpm_agent:run")

    def enroll(self, *more: str) -> tuple[int, str, str]:
        where = ("--server", self.office.url, "--key", "tpm", "--tpm", self.tpm.tcti)
        return self.agent("enroll", self.office.invite(), *where, "--yes", *more)

    @property
    def state(self) -> Mapping[str, Any]:
        """What the agent remembers."""
        document: Mapping[str, Any] = json.loads((self.home / "state.json").read_bytes())
        return document
