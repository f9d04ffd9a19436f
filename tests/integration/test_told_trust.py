"""A running sidecar is told what its root has signed: keys and limits are others from then on, and nothing restarts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.sidecar_support import in_process, wait_for
from tests.stream_server import Plane, Site
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.trust_document import TrustFile, TrustHandout, bundle_entry
from zt_engine.core.trust_root import TrustDocument, seal_trust

ROOT, FOREIGN = StreamKey.generate(), StreamKey.generate()


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


@pytest.fixture
def handed(tmp_path: Path) -> Path:
    return tmp_path / "trust-root.json"


@pytest.fixture
def plane(site: Site, handed: Path) -> Iterator[Plane]:
    plane = site.plane()
    try:
        plane.plane.extras["trust"] = TrustFile(handed).read
        sign(handed, 1)
        site.fill(plane)
        site.join(plane)
        yield plane
    finally:
        if not plane.closed:
            plane.close()


def sign(handed: Path, version: int, *, key: StreamKey = ROOT, c2: int = 60, keys: Mapping[str, Any] = {}) -> None:
    document = TrustDocument(tenant="default", version=version, staleness={"*": {"C2": c2}}, bundle_keys=keys)
    handed.write_bytes(msgspec.json.encode(TrustHandout(dict(ROOT.jwk), seal_trust(document, key))))


def test_limits_and_keys_follow_what_the_root_signs_and_nothing_else(site: Site, plane: Plane, handed: Path) -> None:
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        assert site.asked(sidecar) == "200"
        assert control.lease.staleness.c2 == 60

        sign(handed, 2, c2=7200)
        control.updates.set()
        wait_for(lambda: control.lease.staleness.c2 == 7200, "the limits")
        held = control.member.membership.trust

        sign(handed, 3, key=FOREIGN, c2=86_400)
        control.updates.set()
        wait_for(lambda: control.member.membership.offered not in ("", held), "what another key signed")
        assert control.member.membership.trust == held
        assert control.lease.staleness.c2 == 7200
        assert site.asked(sidecar) == "200"

        other = {"another": bundle_entry(FOREIGN.public_pem(), where="")}
        sign(handed, 4, c2=30, keys=other)
        control.updates.set()
        wait_for(lambda: site.asked(sidecar) != "200", "the bundle of a key that signs no more")
        assert set(sidecar.program.wiring.trusted.bundle_keys) == {"another"}
        assert control.lease.staleness.c2 == 30


def test_what_was_signed_is_known_at_the_next_start(site: Site, plane: Plane, handed: Path) -> None:
    sign(handed, 2, c2=7200)
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: control.lease.staleness.c2 == 7200, "the limits")
    plane.close()
    with in_process(site.sandbox) as again:
        assert again.program.control is not None
        assert again.program.control.lease.staleness.c2 == 7200
