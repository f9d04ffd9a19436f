"""A sidecar beside a control plane takes up releases between two requests, keeps them, and refuses what is wrong."""

from __future__ import annotations

import time

import msgspec
import pytest

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.release_support import payload_of, published, seq_of, tell
from tests.sidecar_support import in_process, logged, wait_for
from tests.stream_server import Plane, Site
from zt_engine.bootstrap import sidecar as programs
from zt_engine.core.errors import InputError

STRICT = (('"threshold": 0', '"threshold": 1000'),)
"""A policy that no trust score satisfies."""


def test_a_release_decides_from_the_next_request_on_and_survives_a_restart_where_the_folder_does_not(
    site: Site, plane: Plane, opa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        assert site.asked(sidecar) == "200"

        tell(plane, *published(compiled(opa, edits=STRICT), site.sandbox.bundle_key, seq=1))

        wait_for(lambda: seq_of(sidecar) == 1, "the release", seconds=10)
        assert site.asked(sidecar) == "TRUST_LOW"
        wait_for(lambda: _acknowledged(plane) == 1, "the acknowledgement")
        assert sidecar.program.readiness()["control_plane"]["release"]["seq"] == 1  # type: ignore[index]
        site.sandbox.publish(compiled(opa))
        sidecar.refresh()
        assert site.asked(sidecar) == "TRUST_LOW"
    assert logged(site.sandbox)[-1]["source"] == "control_plane"
    plane.close()
    monkeypatch.setattr(programs, "REACH_SECONDS", 0.1)  # there is nobody to be reached

    with in_process(site.sandbox, clock=clock) as sidecar:
        assert (seq_of(sidecar), site.asked(sidecar)) == (1, "TRUST_LOW")


def _acknowledged(plane: Plane) -> int:
    with plane.store.reading("default") as tx:
        found = tx.sidecars.get("edge-1")
    return found.bundle_seq if found is not None else 0


def test_a_refused_release_leaves_the_one_in_force_and_its_code_is_told(site: Site, plane: Plane, opa: str) -> None:
    key = site.sandbox.bundle_key
    with in_process(site.sandbox) as sidecar:
        tell(plane, *published(compiled(opa), key, seq=1))
        wait_for(lambda: seq_of(sidecar) == 1, "the release")

        tell(plane, *published(compiled(opa, edits=STRICT), key, seq=2, tenant="another"))

        wait_for(lambda: "BUNDLE_TENANT" in str(sidecar.program.readiness()["problems"]), "the refusal")
        assert (seq_of(sidecar), site.asked(sidecar)) == (1, "200")
        wait_for(lambda: "BUNDLE_TENANT" in _refusals(plane), "the acknowledgement")


def _refusals(plane: Plane) -> tuple[str, ...]:
    with plane.store.reading("default") as tx:
        found = tx.sidecars.get("edge-1")
    return tuple(found.refusals) if found is not None else ()


def test_a_fetch_that_broke_off_goes_on_behind_what_came(site: Site, plane: Plane, opa: str) -> None:
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        notice, raw = published(compiled(opa), site.sandbox.bundle_key, seq=1)
        tell(plane, notice, raw)
        into, path = bytearray(b"x" * 1000), f"/v1/bundles/{msgspec.json.decode(payload_of(notice))['bundle_digest']}"

        sidecar.thread.run(control.client.content(path, into, size=len(raw), url=control.client.url))

        assert bytes(into) == b"x" * 1000 + raw[1000:]
        with pytest.raises(InputError, match="STREAM_TOO_LARGE"):
            sidecar.thread.run(control.client.content(path, bytearray(), size=len(raw) - 1, url=control.client.url))


def test_the_lease_counts_the_release_that_decides(site: Site, plane: Plane, opa: str) -> None:
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        sync = control.sync
        assert sync._bundle_seq() == 0

        tell(plane, *published(compiled(opa), site.sandbox.bundle_key, seq=4))

        wait_for(lambda: sync._bundle_seq() == 4, "the release")
