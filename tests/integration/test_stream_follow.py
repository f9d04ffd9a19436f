"""A sidecar beside a control plane: what is revoked there is denied here, and silence ends what may be decided."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.sidecar_support import CASE, NOTE, PUBLIC, InProcess, edit, in_process, installation, wait_for
from tests.stream_server import Plane, enrolled, free_port, serving
from tests.world import subject
from zt_engine.bootstrap.joining import join
from zt_engine.bootstrap.sandbox import Device, Sandbox
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, InputError, UnavailableError


class Site:
    """An installation that joined a control plane, with one healthy laptop in the inventory."""

    def __init__(self, folder: Path, opa: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.sandbox: Sandbox = installation(folder / "edge", opa)
        shutil.rmtree(self.sandbox.folder / "policy/devices")
        shutil.rmtree(self.sandbox.folder / "policy/subjects")
        for name in ("situation.json", "device-cas.pem"):
            (self.sandbox.folder / "policy" / name).unlink()
        (folder / "plane").mkdir()
        url = f'[control_plane]\nurl = ["http://127.0.0.1:{self.port}"]\n\n[policy]\n'
        edit(self.sandbox, "zt.toml", ("[policy]\n", url))
        certificate = self.sandbox.authority.issue("laptop-1", now=time.time())
        self.laptop = Device("laptop-1", certificate)

    def plane(self, **how: object) -> Plane:
        how.setdefault("port", self.port)
        how.setdefault("url", f"http://127.0.0.1:{self.port}")
        return Plane(self.folder / "plane", device_cas=self.sandbox.authority.pem, **how).started()  # type: ignore[arg-type]

    def fill(self, plane: Plane) -> None:
        plane.put(enrolled("laptop-1", self.laptop.certificate.x5t, now=int(time.time())))
        plane.put_subject(subject("tanaka", issuer="https://idp.example"))

    def join(self, plane: Plane) -> None:
        join(load(self.sandbox.config, {}), plane.token(), authorities=None, now=time.time())

    def asked(self, sidecar: InProcess, url: str = CASE) -> str:
        """`200`, or the reason of the denial."""
        token = self.sandbox.token("tanaka", device=self.laptop)
        reply = sidecar.ask(url, device=self.laptop, token=token)
        return "200" if reply.status == 200 else str(reply.reason)


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


@pytest.fixture
def plane(site: Site) -> Iterator[Plane]:
    plane = site.plane()
    try:
        site.fill(plane)
        site.join(plane)
        yield plane
    finally:
        plane.close()


def test_what_is_revoked_is_denied_at_the_next_request(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"

        plane.lose("laptop-1")

        wait_for(lambda: site.asked(sidecar) != "200", "the denial", seconds=5)
        assert site.asked(sidecar) == "DEVICE_REVOKED"
