"""A control plane that serves the stream over HTTP in a thread of the test, on a database that outlives it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from msgspec.structs import replace

from device_inventory.facts import CATALOGUE
from device_inventory.inventory import Device, SourceFacts
from device_inventory.operations import report_lost, revoke
from tests.control_support import TENANT, FakeAdministrators, a_device, held_key
from tests.hook_support import LoopThread
from tests.sidecar_support import CASE, InProcess, edit, installation, wait_for
from tests.world import HEALTHY, facts, subject
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.control_records import StrictRecords
from zt_engine.adapters.direct_answer import DirectProtocol
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.joining import join
from zt_engine.bootstrap.sandbox import Device as MadeUp
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.bootstrap.serving_stream import open_stream
from zt_engine.config import load
from zt_engine.control_plane.app import create_app
from zt_engine.control_plane.context import ControlPlane, PlaneSettings
from zt_engine.control_plane.ledger import Ledger
from zt_engine.core.identity import SubjectRecord
from zt_engine.ports import Clock


class CaText:
    """The part of a certificate authority that sidecars are told of."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem

    def authorities(self) -> bytes:
        return self.pem


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Plane:
    """One control plane, served until `close`; another one on the same files is the same control plane again."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        url: str = "",
        device_cas: bytes = b"",
        clock: Clock | None = None,
        shared: bool = False,
        store: SqlStore | None = None,
        connections: int = 1000,
    ) -> None:
        self.closed = False
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.clock = clock or SystemClock()
        self.store = store or open_store(f"sqlite:///{folder / 'inventory.db'}")
        self.store.migrate()
        self.plane = ControlPlane(
            settings=PlaneSettings(
                tenant=TENANT, url=url or self.address, language="en", facts=frozenset(CATALOGUE)
            ),
            store=self.store, changes=self.store, clock=self.clock, administrators=FakeAdministrators(),
            records=StrictRecords({}), authority=CaText(device_cas), jws=DeviceJws(), extras={},  # type: ignore[arg-type]
        )  # fmt: skip
        self.key = stream_key(folder)
        self.origin = open_stream(self.plane, self.key, shared=shared, connections=connections)
        self.ledger = Ledger(CATALOGUE)
        self.thread = LoopThread()
        config = uvicorn.Config(
            create_app(self.plane), host="127.0.0.1", port=self.port, log_config=None, lifespan="off",
            timeout_graceful_shutdown=1, http=DirectProtocol,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread.call(lambda: self.origin.start(self.thread.loop))
        self._serving = asyncio.run_coroutine_threadsafe(self.server.serve(), self.thread.loop)

    def started(self) -> Plane:
        """Wait until it listens and is elected or follows."""
        wait_for(lambda: self.server.started and self.origin.hub.watermark, "the control plane")
        return self

    def close(self) -> None:
        """Stop serving, in order."""
        self.closed = True
        self.thread.call(self.origin.stop)
        self.server.should_exit = True
        self._serving.result(20)
        wait_for(lambda: not self.server.server_state.connections, "the last connection")
        self.thread.run(asyncio.sleep(0.01))  # what was closed is let go in the next turns
        self.thread.close()
        self.store.close()

    # -- what happens in it

    def now(self) -> int:
        return int(self.clock.now())

    def put(self, device: Device, action: str = "device.enrolled") -> Device:
        """Write a device down as it is now."""
        with self.store.writing(TENANT) as tx:
            before = tx.devices.get(device.device_id)
            self.ledger(tx, device, before=before, actor="system", action=action, now=self.now())
        return device

    def device(self, device_id: str) -> Device:
        with self.store.reading(TENANT) as tx:
            found = tx.devices.get(device_id)
        assert found is not None
        return found

    def lose(self, device_id: str) -> None:
        self.put(report_lost(self.device(device_id), reason="left on a train", now=self.now()), "device.lost")

    def revoke(self, device_id: str) -> None:
        self.put(revoke(self.device(device_id), reason="stolen", now=self.now()), "device.revoked")

    def put_subject(self, record: SubjectRecord) -> None:
        with self.store.writing(TENANT) as tx:
            tx.situation.put_subject(record)
            tx.outbox.announce("subject.changed", msgspec.json.encode(record))

    def announce(self, type_: str, data: bytes) -> None:
        with self.store.writing(TENANT) as tx:
            tx.outbox.announce(type_, data)

    def token(self, sidecar: str = "edge-1", *, site: str = "") -> str:
        """A join token."""
        with self.store.writing(TENANT) as tx:
            made: str = self.plane.extras["sidecars"].token(
                tx, sidecar, seconds=600, actor="admin:owner", now=self.now(), site=site
            )
        return made


def stream_key(folder: Path) -> StreamKey:
    path = folder / "stream.pem"
    if not path.exists():
        path.write_bytes(StreamKey.generate().pem())
        path.chmod(0o600)
    return StreamKey.load(path.read_bytes(), where=str(path))


def enrolled(device_id: str, x5t: str, *, now: int, **members: Any) -> Device:
    """A healthy laptop of tanaka with a certificate, as the inventory holds it."""
    key = replace(held_key(device_id, not_after=now + 86_400), x5t=x5t, not_before=now - 60)
    told = {name: value for name, value in HEALTHY.items() if name != "device.key_protection"}
    source = SourceFacts(source="intune", received_at=now, facts=facts(told, now, "mdm_server"))
    known = {
        "keys": (key,), "report_received_at": now, "created_at": now - 60, "changed_at": now, "boot_id": "b1",
        "sources": {"intune": source},
    }  # fmt: skip
    return a_device(device_id, **{**known, **members})


class Site:
    """An installation that joined a control plane, with one healthy laptop in the inventory."""

    def __init__(self, folder: Path, opa: str, *, urls: tuple[str, ...] = ()) -> None:
        """`urls` replace the control plane's own address."""
        self.folder = folder
        self.port = free_port()
        self.sandbox: Sandbox = installation(folder / "edge", opa)
        shutil.rmtree(self.sandbox.folder / "policy/devices")
        shutil.rmtree(self.sandbox.folder / "policy/subjects")
        for name in ("situation.json", "device-cas.pem"):
            (self.sandbox.folder / "policy" / name).unlink()
        (folder / "plane").mkdir()
        listed = ", ".join(f'"{url}"' for url in urls or (f"http://127.0.0.1:{self.port}",))
        url = f"[control_plane]\nurl = [{listed}]\n\n[policy]\n"
        edit(self.sandbox, "zt.toml", ("[policy]\n", url))
        certificate = self.sandbox.authority.issue("laptop-1", now=time.time())
        self.laptop = MadeUp("laptop-1", certificate)

    def plane(self, **how: object) -> Plane:
        how.setdefault("port", self.port)
        how.setdefault("url", f"http://127.0.0.1:{self.port}")
        return Plane(self.folder / "plane", device_cas=self.sandbox.authority.pem, **how).started()  # type: ignore[arg-type]

    def fill(self, plane: Plane) -> None:
        plane.put(enrolled("laptop-1", self.laptop.certificate.x5t, now=int(time.time())))
        plane.put_subject(subject("tanaka", issuer="https://idp.example"))

    def join(self, plane: Plane) -> None:
        join(load(self.sandbox.config, {}), plane.token(), authorities=None, now=time.time())

    @contextmanager
    def followed(self) -> Iterator[Plane]:
        """A control plane that knows the laptop and that this installation has joined; closed at the end."""
        plane = self.plane()
        try:
            self.fill(plane)
            self.join(plane)
            yield plane
        finally:
            if not plane.closed:
                plane.close()

    def asked(self, sidecar: InProcess, url: str = CASE) -> str:
        """`200`, or the reason of the denial."""
        token = self.sandbox.token("tanaka", device=self.laptop)
        reply = sidecar.ask(url, device=self.laptop, token=token)
        return "200" if reply.status == 200 else str(reply.reason)


@contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Plane]:
    """A control plane, closed at the end."""
    plane = Plane(folder, **how)
    try:
        yield plane.started()
    finally:
        plane.close()
