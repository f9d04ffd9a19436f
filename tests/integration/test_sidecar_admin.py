"""What operators see of a running sidecar: whether it is ready, what it decided, how old what it knows is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.clock import FakeClock
from tests.sidecar_support import (
    CASE,
    PUBLIC,
    Client,
    InProcess,
    Reply,
    in_process,
    installation,
    laptop,
    logged,
    question,
    raw_request,
    wait_for,
)
from zt_engine.bootstrap.sandbox import Device, Sandbox

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Place:
    """A sidecar in this process under a clock that stands still, and somebody who looks at its admin listener."""

    def __init__(self, program: InProcess, sandbox: Sandbox, clock: FakeClock, device: Device) -> None:
        self.program, self.sandbox, self.clock, self.device = program, sandbox, clock, device
        self.token = sandbox.token("tanaka", device=device)

    def ask(self, url: str = CASE) -> Reply:
        return self.program.ask(url, token=self.token, device=self.device)

    def get(self, path: str) -> Reply:
        client = Client(self.program.admin)
        reply = client.get(path)
        client.close()
        return reply

    def samples(self) -> Samples:
        families = text_string_to_metric_families(self.get("/metrics").body.decode())
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}

    def gauge(self, name: str) -> float:
        return self.samples()[name, ()]

    def readiness(self) -> tuple[int, dict[str, Any]]:
        reply = self.get("/readyz")
        return reply.status, json.loads(reply.body)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Place]:
    sandbox = installation(tmp_path_factory.mktemp("admin") / "zt", opa)
    device, clock = laptop(sandbox), FakeClock(sandbox.now)
    with in_process(sandbox, clock=clock) as program:
        yield Place(program, sandbox, clock, device)


def test_decisions_are_counted_and_timed_and_what_was_remembered_is_told_from_the_rest(place: Place) -> None:
    before = place.samples()
    for url in (CASE, CASE, PUBLIC, "https://portal.example/nowhere"):
        place.ask(url)
    after = place.samples()

    def more(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert more("zt_decisions_total", effect="allow", reason="", label="C2") == 2
    assert more("zt_decisions_total", effect="allow", reason="", label="C0") == 1
    assert more("zt_decisions_total", effect="deny", reason="ROUTE_UNKNOWN", label="") == 1
    assert more("zt_decision_cache_total", result="hit") + more("zt_decision_cache_total", result="miss") == 4
    assert more("zt_decision_cache_total", result="hit") >= 1
    assert more("zt_decision_seconds_count") == more("zt_decision_seconds_bucket", le="+Inf") == 4
    assert more("zt_decision_seconds_sum") > 0
    assert more("zt_engine_calls_total") >= 1
    assert more("zt_engine_seconds_total") > 0


def test_how_old_policy_records_and_keys_are_is_measured_by_the_clock(place: Place) -> None:
    replica = place.program.program.replica
    began = {name: place.gauge(name) for name in ("zt_policy_age_seconds", "zt_keys_age_seconds")}
    place.clock.advance(100)

    assert {name: place.gauge(name) for name in began} == {name: age + 100 for name, age in began.items()}
    loaded = replica.loaded_at
    age = place.gauge("zt_replica_age_seconds")
    assert age in {place.clock.now() - (at or 0) for at in (loaded, replica.loaded_at)}
    assert place.gauge("zt_devices") == 1


def test_the_lag_of_the_log_is_what_no_checkpoint_covers_yet(place: Place) -> None:
    place.ask()

    assert place.gauge("zt_log_records") >= 1
    assert place.gauge("zt_log_available") == 1
    wait_for(lambda: place.gauge("zt_log_unanchored_records") == 0, "a checkpoint")


def test_every_event_of_a_sidecar_that_follows_a_folder_says_so(place: Place) -> None:
    place.ask()
    place.ask("https://portal.example/nowhere")

    assert {event["source"] for event in logged(place.sandbox)} == {"folder"}


def test_an_unready_log_takes_the_sidecar_out_of_rotation_and_a_live_one_stays_alive(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (place.readiness()[0], place.get("/healthz").status) == (200, 200)
    log = type(place.program.program.log)
    monkeypatch.setattr(log, "state", property(lambda _log: "unavailable"))

    status, state = place.readiness()

    assert (status, state["ready"], state["log"]) == (503, False, "unavailable")
    assert place.get("/healthz").status == 200
    assert place.gauge("zt_log_available") == 0


def test_nothing_but_the_three_pages_is_there(place: Place) -> None:
    assert {place.get(path).status for path in ("/", "/v1/hooks/nginx", "/metrics/", "/readyz?x")} <= {400, 404}
    client = Client(place.program.admin)
    reply = client.send(raw_request("/metrics", ()).replace(b"GET ", b"HEAD ", 1))
    client.close()
    assert reply.status in {400, 403, 405}
    # The hook is not on this listener, and these pages are not on the hook's.
    client = Client(place.program.address)
    assert client.get("/metrics").status == 404
    client.close()


def test_what_the_folder_holds_is_read_beside_the_event_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = place.program.program.follower
    seen: list[int] = []
    read = follower._read

    def watched(named: Any) -> Any:
        seen.append(threading.get_ident())
        return read(named)

    monkeypatch.setattr(follower, "_read", watched)
    place.program.refresh()

    loop: list[int] = []
    place.program.thread.call(lambda: loop.append(threading.get_ident()))
    assert seen
    assert loop[0] not in seen


@pytest.mark.parametrize(
    ("name", "lacking"), [("bundle.tar.gz", "revision"), ("situation.json", "records"), ("catalogue.yaml", "revision")]
)
def test_without_a_pack_or_records_a_sidecar_starts_is_not_ready_and_denies_until_they_are_there(
    tmp_path_factory: pytest.TempPathFactory, opa: str, name: str, lacking: str
) -> None:
    sandbox = installation(tmp_path_factory.mktemp("unready") / "zt", opa)
    content = (sandbox.folder / "policy" / name).read_bytes()
    (sandbox.folder / "policy" / name).unlink()
    with in_process(sandbox) as program:
        place = Place(program, sandbox, FakeClock(), laptop(sandbox))
        status, state = place.readiness()
        client = Client(program.address)
        refused = client.send(question(sandbox, PUBLIC))
        client.close()
        sandbox.write(f"policy/{name}", content)
        program.refresh()
        healed = place.readiness()[0]

    assert (status, state["ready"], bool(state[lacking])) == (503, False, False)
    assert any("FOLDER_FILE_MISSING" in problem for problem in state["problems"])
    assert (refused.status, refused.reason) == (403, "NOT_READY")
    assert healed == 200
