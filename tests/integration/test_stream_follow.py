"""A sidecar beside a control plane: what is revoked there is denied here, and silence ends what may be decided."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from tests.fakes.clock import FakeClock
from tests.sidecar_support import CASE, NOTE, PUBLIC, Client, in_process, question, wait_for
from tests.stream_server import Plane, Site
from tests.world import subject
from zt_engine.bootstrap import sidecar as programs
from zt_engine.bootstrap.joining import join, read_member
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, InputError, UnavailableError


def soon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a sidecar begin without its control plane, which is gone, at once instead of after five seconds."""
    monkeypatch.setattr(programs, "REACH_SECONDS", 0.1)


def test_invariant_08_what_is_lost_or_revoked_is_denied_at_the_next_request(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"

        plane.lose("laptop-1")

        wait_for(lambda: site.asked(sidecar) != "200", "the denial", seconds=5)
        assert site.asked(sidecar) == "DEVICE_REVOKED"


def test_what_changes_at_the_control_plane_changes_here_without_a_file(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"

        plane.put_subject(subject("tanaka", version=2, status="suspended"))
        wait_for(lambda: site.asked(sidecar) != "200", "the denial", seconds=5)
        plane.put_subject(subject("tanaka", version=3))
        wait_for(lambda: site.asked(sidecar) == "200", "the allow", seconds=5)

        assert sidecar.program.readiness()["control_plane"]["connected"]  # type: ignore[index]


def test_invariant_08_silence_ends_what_may_be_decided_label_by_label_and_its_end_opens_it_again(
    site: Site, plane: Plane
) -> None:
    clock = FakeClock(time.time())
    token = site.sandbox.token("tanaka", device=site.laptop, lifetime=3000)
    asked = {url: question(site.sandbox, url, device=site.laptop, token=token) for url in (PUBLIC, NOTE, CASE)}
    with in_process(site.sandbox, clock=clock) as sidecar:
        client = Client(sidecar.address)

        def answers() -> list[str]:
            replies = [client.send(raw) for raw in asked.values()]
            return ["200" if reply.status == 200 else str(reply.reason) for reply in replies]

        wait_for(lambda: answers() == ["200", "200", "200"], "the allows")
        assert answers() == ["200", "200", "200"]  # remembered, and asked for with the same bytes
        plane.close()

        clock.advance(65)
        assert answers() == ["200", "200", "STALE_POLICY"]

        again = site.plane()
        wait_for(lambda: answers() == ["200", "200", "200"], "the allows, after the silence")
        again.close()
        client.close()


def test_a_control_plane_that_comes_back_is_found_again(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        plane.close()
        wait_for(lambda: not sidecar.program.control.connected, "the loss")  # type: ignore[union-attr]
        assert site.asked(sidecar) == "200"  # the lease of C2 still runs

        again = site.plane()
        try:
            wait_for(lambda: sidecar.program.control.connected, "the return")  # type: ignore[union-attr]
            again.revoke("laptop-1")
            wait_for(lambda: site.asked(sidecar) != "200", "the denial", seconds=5)
            assert site.asked(sidecar) == "DEVICE_REVOKED"
        finally:
            again.close()


def test_what_was_known_survives_a_restart_without_the_control_plane(
    site: Site, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        assert site.asked(sidecar) == "200"
        plane.lose("laptop-1")
        wait_for(lambda: site.asked(sidecar) == "DEVICE_REVOKED", "the denial", seconds=5)
    plane.close()
    soon_alone(monkeypatch)

    with in_process(site.sandbox, clock=clock) as sidecar:
        assert site.asked(sidecar) == "DEVICE_REVOKED"
        assert sidecar.ask(PUBLIC).status == 200
        assert "STREAM_DOWN" in str(sidecar.program.readiness()["problems"])


@pytest.mark.parametrize("name", ["snapshot.jws", "batches.jws"])
def test_a_replica_that_was_changed_on_the_disk_is_not_believed(
    site: Site, plane: Plane, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_process(site.sandbox) as sidecar:
        plane.lose("laptop-1")
        wait_for(lambda: site.asked(sidecar) == "DEVICE_REVOKED", "the denial", seconds=5)
    plane.close()
    kept = site.sandbox.folder / "state/control-plane/replica" / name
    raw = bytearray(kept.read_bytes())
    raw[len(raw) // 2] ^= 1
    kept.write_bytes(raw)
    soon_alone(monkeypatch)

    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        if name == "snapshot.jws":
            assert (control.sync.position.seq, sidecar.program.replica.ready) == (0, False)
            assert site.asked(sidecar, NOTE) in ("DEVICE_UNKNOWN", "STALE_POLICY", "SUBJECT_UNKNOWN")
        else:
            assert sidecar.program.replica.ready


def test_a_sidecar_that_never_heard_anything_decides_nothing_above_c0(
    site: Site, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.close()
    soon_alone(monkeypatch)

    with in_process(site.sandbox) as sidecar:
        token = site.sandbox.token("tanaka")
        statuses = [sidecar.ask(url, token=token).status for url in (NOTE, CASE)]

        assert (statuses, sidecar.ask(PUBLIC).status) == ([403, 403], 200)
        assert sidecar.ask(NOTE).reason == "STALE_POLICY"
        assert not sidecar.program.readiness()["ready"]


def test_a_revoked_sidecar_is_cut_off_and_comes_no_more(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: plane.origin.hub.connected == ("edge-1",), "the stream")

        with plane.store.writing("default") as tx:
            sidecars = plane.plane.extras["sidecars"]
            sidecars.revoke(tx, "edge-1", reason="sold", actor="admin:owner", now=plane.now())
        sidecars.cut("edge-1")

        wait_for(lambda: control.fault is not None and control.fault.code == "STREAM_REFUSED", "the refusal")
        assert control.fault is not None and control.fault.where == str(control.member.folder)
        assert "zt sidecar join" in control.fault.hint
        assert plane.origin.hub.connected == ()


def test_a_wrong_clock_is_let_in_and_decides_nothing_secret(site: Site, plane: Plane) -> None:
    clock = FakeClock(time.time() - 3600)
    with in_process(site.sandbox, clock=clock) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: control.lease.offset is not None and control.connected, "the time")

        assert 3500 < (control.lease.offset or 0) < 3700
        wait_for(lambda: control.lease.ends[200] > clock.elapsed(), "the lease")
        assert control.lease.ends[300] < clock.elapsed()


# -- joining


def test_a_token_admits_once_and_only_in_its_time(site: Site, plane: Plane) -> None:
    settings, token = load(site.sandbox.config, {}), plane.token("edge-2")

    assert join(settings, token, authorities=None, now=time.time()).membership.id == "edge-2"
    with pytest.raises(UnavailableError, match="SIDECAR_TOKEN"):
        join(settings, token, authorities=None, now=time.time())
    with pytest.raises(InputError, match="SIDECAR_TOKEN"):
        join(settings, plane.token("edge-3"), authorities=None, now=time.time() + 3600)
    with pytest.raises(InputError, match="SIDECAR_TOKEN"):
        join(settings, plane.token("edge-3")[:-9], authorities=None, now=time.time())


def test_a_sidecar_is_bound_to_the_site_of_its_token_whatever_it_is_answered(
    site: Site, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(site.sandbox.config, {})
    joined = join(settings, plane.token("edge-2", site="hq"), authorities=None, now=time.time()).membership
    assert (joined.site, joined.bound, read_member(settings).membership.bound) == ("hq", "hq", "hq")

    pinned = load(site.sandbox.config, {"ZT_CONTROL_PLANE__SITE": "hq"})
    with pytest.raises(ConfigError, match="embassy-1"):
        join(pinned, plane.token("edge-3", site="embassy-1"), authorities=None, now=time.time())

    sidecars = plane.plane.extras["sidecars"]
    admit = sidecars.join
    monkeypatch.setattr(sidecars, "join", lambda *told, **at: replace(admit(*told, **at), site="embassy-1"))
    with pytest.raises(UnavailableError, match="JOIN_REFUSED"):
        join(settings, plane.token("edge-3", site="hq"), authorities=None, now=time.time())
    assert read_member(settings).membership.id == "edge-2"


def test_what_it_joined_with_is_its_owner_s_alone(site: Site, plane: Plane) -> None:
    folder = site.sandbox.folder / "state/control-plane"

    assert plane.port
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()} == {
        "sidecar.pem": 0o600, "membership.json": 0o600,
    }  # fmt: skip


def test_a_sidecar_that_has_not_joined_does_not_start(site: Site) -> None:
    with pytest.raises(ConfigError, match="SIDECAR_NOT_JOINED"), in_process(site.sandbox):
        pass


def test_files_beside_a_control_plane_say_nothing_of_devices_and_people(site: Site, plane: Plane) -> None:
    site.sandbox.subject("tanaka", status="suspended")
    site.sandbox.device("laptop-1", assigned=[], facts={}, certificate=site.laptop.certificate, status="revoked")
    site.sandbox.situation(threat_level=4, revocations=[{"kind": "device", "key": "laptop-1", "until": None}])

    with in_process(site.sandbox) as sidecar:
        assert plane.port
        assert site.asked(sidecar) == "200"
