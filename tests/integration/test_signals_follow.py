"""A signal that is told to the control plane changes what a running sidecar decides about that person, and no other."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.sidecar_support import CASE, InProcess, in_process, wait_for
from tests.stream_server import Plane, Site
from tests.world import subject
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.control_plane.housekeeping import Housekeeping
from zt_engine.control_plane.signals import RULES

HOUR = 3600
WRITTEN = """\
switches:
  - {id: burst, signal: login_failures, scope: subject, enter: 10, exit: 2, effects: [acr:unheard]}
risks:
  - {id: user-risk, signal: user_risk, scope: subject, gate: [deny]}
"""
NUMBERS = iter(range(1_000))


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


def tell(plane: Plane, kind: str, **said: object) -> list[str]:
    one = {"id": f"s{next(NUMBERS)}", "kind": kind, "at": plane.now(), "principal": "subject:tanaka", **said}
    answer = httpx.post(
        f"{plane.address}/v1/signals",
        json={"signals": [one]},
        headers={"authorization": "Bearer edr", "idempotency-key": f"integration-{one['id']:>16}".replace(" ", "0")},
    )
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["overlays"]
    return found


def asked(site: Site, sidecar: InProcess, person: str, url: str = CASE) -> str:
    reply = sidecar.ask(url, device=site.laptop, token=site.sandbox.token(person, device=site.laptop))
    return "200" if reply.status == 200 else f"{reply.status} {reply.reason}"


def test_a_signal_changes_decisions_over_the_stream_and_its_remedy_restores_them(site: Site) -> None:
    with site.followed() as plane, in_process(site.sandbox) as sidecar:
        plane.plane.extras[RULES] = load_signals(WRITTEN, where="signals.yaml")
        plane.plane.administrators.add("edr", "connector")  # type: ignore[attr-defined]
        plane.put_subject(subject("suzuki", issuer="https://idp.example"))
        assert asked(site, sidecar, "tanaka") == "200"

        assert tell(plane, "login_failures", value=14) == ["signals/burst/tanaka/1"]
        wait_for(lambda: asked(site, sidecar, "tanaka").startswith("401"), "the step-up", seconds=5)

        assert tell(plane, "user_risk", level="high") == ["signals/user-risk/tanaka/1", "signals/user-risk/tanaka/2"]
        wait_for(lambda: asked(site, sidecar, "tanaka") == "403 OVERLAY_DENIED", "the denial", seconds=5)
        other = asked(site, sidecar, "suzuki")
        assert "OVERLAY" not in other

        later = int(time.time()) + 2 * HOUR
        tell(plane, "user_risk", level="cleared", at=plane.now() + 1)  # of one second the risk counts, and not its end
        Housekeeping(plane.plane).turn(now=later)
        wait_for(lambda: asked(site, sidecar, "tanaka") == "200", "the allow", seconds=5)


def test_an_exercise_changes_no_decision(site: Site) -> None:
    with site.followed() as plane, in_process(site.sandbox) as sidecar:
        plane.plane.extras[RULES] = load_signals(WRITTEN, where="signals.yaml")
        plane.plane.administrators.add("edr", "connector")  # type: ignore[attr-defined]

        tell(plane, "user_risk", level="high", exercise=True)
        wait_for(lambda: len(sidecar.program.replica.situation.overlays) == 2, "the overlays")  # type: ignore[union-attr]

        assert asked(site, sidecar, "tanaka") == "200"
