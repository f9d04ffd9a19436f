"""The floor: with every control plane dead, a plain folder tells sidecars what is revoked, and leases still end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.fakes.clock import FakeClock
from tests.sidecar_support import InProcess, edit, in_process, wait_for
from tests.stream_server import Site, free_port
from zt_engine.adapters.floor_folder import FloorFolder
from zt_engine.bootstrap import following_floor
from zt_engine.bootstrap import sidecar as programs
from zt_engine.core.errors import InputError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_floor, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(programs, "REACH_SECONDS", 0.1)


class Lab:
    """A control plane that writes a floor, and a sidecar that joined it and will never reach it again."""

    def __init__(self, folder: Path, opa: str, *, floor: str = "") -> None:
        self.floor = folder / "floor"
        self.site = Site(folder, opa)
        self.plane = self.site.plane()
        self.site.fill(self.plane)
        self.site.join(self.plane)
        with in_process(self.site.sandbox) as sidecar:  # once, so that it knows what time it is
            wait_for(lambda: self.site.asked(sidecar) == "200", "the allow")
            wait_for((folder / "edge/state/control-plane/replica/clock.json").exists, "the time")
        written = FloorFolder(self.floor, snapshot=self.plane.origin.whole)
        self.plane.origin.floor = written
        self.written = written
        url = floor or self.floor.as_uri()
        dead = f'url = ["http://127.0.0.1:{free_port()}"]\nfloor = "{url}"'
        edit(self.site.sandbox, "zt.toml", (f'url = ["http://127.0.0.1:{self.site.port}"]', dead))
        wait_for((self.floor / "watermark.jws").exists, "the floor")

    def close(self) -> None:
        if not self.plane.closed:
            self.plane.close()
        self.written.close()


@pytest.fixture
def lab(tmp_path: Path, opa: str) -> Iterator[Lab]:
    lab = Lab(tmp_path, opa)
    try:
        yield lab
    finally:
        lab.close()


def position(sidecar: InProcess) -> int:
    control = sidecar.program.control
    assert control is not None
    assert not control.connected
    return control.sync.position.seq


def test_with_every_relay_dead_a_folder_tells_what_is_revoked(lab: Lab) -> None:
    with in_process(lab.site.sandbox) as sidecar:
        wait_for(lambda: lab.site.asked(sidecar) == "200", "the allow")
        known = position(sidecar)

        lab.plane.lose("laptop-1")

        wait_for(lambda: lab.site.asked(sidecar) == "DEVICE_REVOKED", "the denial")
        assert position(sidecar) == known + 2


def test_a_floor_that_nobody_writes_any_more_renews_no_lease(lab: Lab) -> None:
    clock = FakeClock(time.time())
    with in_process(lab.site.sandbox, clock=clock) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: lab.site.asked(sidecar) == "200", "the allow")
        issued = control.lease.issued_at or 0.0
        wait_for(lambda: (control.lease.issued_at or 0.0) > issued, "the next watermark")
        lab.plane.close()
        lab.written.close()

        clock.advance(70)

        assert lab.site.asked(sidecar) == "STALE_POLICY"


def test_a_sidecar_that_is_too_far_behind_begins_with_the_snapshot_and_no_file_is_left_over(lab: Lab) -> None:
    for level in (1, 2, 1, 0):
        lab.plane.announce("threat_level.changed", b'{"threat_level":%d}' % level)
    lab.plane.lose("laptop-1")
    for name in ("index.json", "snapshot-2.jws"):
        (lab.floor / name).unlink()  # whoever cleans up there: it is made good
    wait_for(lambda: lab.plane.origin.hub.last >= 8, "their places in the order")
    for _ in range(2):
        lab.written.begin()  # as another sequencer does; the second one drops what was before the first
        mark = (lab.floor / "watermark.jws").read_bytes()
        wait_for(lambda mark=mark: (lab.floor / "watermark.jws").read_bytes() != mark, "the next watermark")  # type: ignore[misc]

    with in_process(lab.site.sandbox) as sidecar:
        wait_for(lambda: lab.site.asked(sidecar) == "DEVICE_REVOKED", "the denial")
        assert position(sidecar) == 8
    assert not list(lab.floor.glob("batch-*"))
    assert len(list(lab.floor.glob("snapshot-*"))) <= 2


def test_what_was_changed_in_the_folder_is_refused(lab: Lab) -> None:
    with in_process(lab.site.sandbox) as sidecar:
        wait_for(lambda: lab.site.asked(sidecar) == "200", "the allow")
        control, known = sidecar.program.control, position(sidecar)
        assert control is not None
        lab.plane.origin.floor = None
        source = following_floor.FloorFollower(
            lab.floor.as_uri(), sync=control.sync, clocks=control.clocks, heard=lambda: True, told=control.updates
        )
        raw = bytearray((lab.floor / "watermark.jws").read_bytes())
        raw[-10] = ord("A") if raw[-10] != ord("A") else ord("B")
        (lab.floor / "watermark.jws").write_bytes(raw)
        with pytest.raises(InputError, match="STREAM_SIGNATURE"):
            sidecar.thread.run(source.look())
        (lab.floor / "index.json").write_bytes(b'{"snapshot":')
        with pytest.raises(InputError, match="FLOOR_MALFORMED"):
            sidecar.thread.run(source.look())

        assert position(sidecar) == known


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_any_file_server_will_do(tmp_path: Path, opa: str) -> None:
    (tmp_path / "floor").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "floor")))
    serving = Thread(target=server.serve_forever)
    serving.start()
    lab = Lab(tmp_path, opa, floor=f"http://127.0.0.1:{server.server_port}")
    try:
        with in_process(lab.site.sandbox) as sidecar:
            lab.plane.revoke("laptop-1")
            wait_for(lambda: lab.site.asked(sidecar) == "DEVICE_REVOKED", "the denial")
    finally:
        lab.close()
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize("url", ["ftp://files.example/floor", "http://files.example", "file://host/x", "https://a/?b"])
def test_a_floor_somewhere_else_is_refused(url: str) -> None:
    from zt_engine.config.addresses import check_floor_url

    with pytest.raises(ValueError, match="floor"):
        check_floor_url(url)
