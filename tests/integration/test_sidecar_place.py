"""Where a sidecar stands comes from its record at the control plane, reaches it while it runs, and says its turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.bundles import compiled
from tests.release_support import published, seq_of, tell
from tests.sidecar_support import InProcess, in_process, wait_for
from tests.stream_server import Plane, Site
from zt_engine.bootstrap.joining import join
from zt_engine.config import load
from zt_engine.core.rollout import Place, Ring, Staged

CANARY = {"stage": "canary"}
RINGS = (Ring(name="first", labels={"site": "osaka", **CANARY}), Ring(name="everybody", percent=100))


def place(plane: Plane, site: str, labels: dict[str, str]) -> httpx.Response:
    return httpx.put(
        f"{plane.address}/v1/sidecars/edge-1/place",
        json={"site": site, "labels": labels, "reason": "moved"},
        headers={"Authorization": "Bearer owner"},
        trust_env=False,
    )


def stands(sidecar: InProcess) -> Place:
    control = sidecar.program.control
    assert control is not None
    return control.sync._standing._place


def hurry(sidecar: InProcess) -> None:
    """Have it acknowledge now rather than within ten seconds."""
    control = sidecar.program.control
    assert control is not None
    sidecar.thread.call(control.updates.set)


def overlay() -> dict[str, Any]:
    now = int(time.time())
    return {"id": "o1", "scope": "tenant", "effect": "deny", "not_before": now - 60, "not_after": now + 3600}


def test_a_sidecar_stands_where_its_record_says_and_a_change_reaches_it_while_it_runs(tmp_path: Path, opa: str) -> None:
    site = Site(tmp_path, opa)
    plane = site.plane()
    try:
        site.fill(plane)
        with plane.store.writing("default") as tx:
            token = plane.plane.extras["sidecars"].token(
                tx, "edge-1", seconds=600, actor="admin:owner", now=plane.now(), site="tokyo", labels=CANARY
            )
        join(load(site.sandbox.config, {}), token, authorities=None, now=time.time())
        staged = Staged(ref_seq=7, rings=RINGS)
        notice, raw = published(compiled(opa), site.sandbox.bundle_key, seq=4)
        with in_process(site.sandbox) as sidecar:
            assert stands(sidecar) == Place(sidecar="edge-1", site="tokyo", labels=CANARY)
            plane.announce("overlay.changed", msgspec.json.encode({"staged": staged, "record": overlay()}))
            tell(plane, msgspec.structs.replace(notice, staged=Staged(ref_seq=8, rings=RINGS)), raw)
            wait_for(lambda: sidecar.program.control.sync.position.seq >= 4, "both")  # type: ignore[union-attr]
            assert (site.asked(sidecar), seq_of(sidecar)) == ("200", 0)

            assert place(plane, "osaka", CANARY).json()["site"] == "osaka"
            hurry(sidecar)
            wait_for(lambda: stands(sidecar).site == "osaka", "the place")
            assert site.asked(sidecar) != "200"
            wait_for(lambda: seq_of(sidecar) == 4, "the release whose turn has come")
        with in_process(site.sandbox) as again:
            assert stands(again) == Place(sidecar="edge-1", site="osaka", labels=CANARY)

            assert place(plane, "osaka", {}).is_success
            hurry(again)
            wait_for(lambda: stands(again).labels == {}, "the labels")
            assert site.asked(again) == "200"
    finally:
        plane.close()
