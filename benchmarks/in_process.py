"""Where do the microseconds of a decision go: scoring, route matching, canonical targets, the whole decision?

Everything runs in this process on the contestants' core. The catalogue has 50 systems of 200 routes at its largest,
and is asked for routes drawn from the seed, so that no branch predictor learns them.

What has a bar in microseconds (and scoring) is the least of many short batches of processor time, each of which asks
for all there is; whole decisions, which write logs, are the median of the time that passed. The output says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from benchmarks import documents
from benchmarks.bench import Run
from benchmarks.data import FACTS, HOT_PEOPLE, catalogue_text, keys, people, route_requests
from benchmarks.processes import free_port
from benchmarks.report import rounded
from benchmarks.site import PACK, Site
from benchmarks.timing import per_call_us, processor_us
from device_inventory.fact_sheet import fact_sheet
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.bootstrap.activation import facts_read
from zt_engine.bootstrap.packs import pack_folder
from zt_engine.bootstrap.sandbox import ISSUER
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import load
from zt_engine.core.bundle import open_bundle
from zt_engine.core.identity import Subject
from zt_engine.core.jose import to_base64url
from zt_engine.core.request import canonical_target
from zt_engine.core.trust import combine, context_points
from zt_engine.core.trust_readings import pillar_at, read_device, read_subject
from zt_engine.sidecar.app import Pending
from zt_engine.sidecar.hooks.nginx import PATH
from zt_engine.sidecar.turn import MOST_TOGETHER

NAME = "in_process"
NEEDS = ()
TURN = MOST_TOGETHER
"""Requests that one turn of the event loop answers together."""
SHORTER = 8
"""So many times more batches where the least of them counts."""
ROUTES_ASKED = 2000
SIZES = ((1, 10), (5, 200), (50, 200))
"""Systems and routes of each: 10, 1,000 and 10,000 routes."""


def measure(run: Run) -> None:
    """Time every part."""
    place = run.place(NAME)
    for part in (targets, matching, scoring):
        part(run)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    decisions(run, site, place)


def keep(run: Run, name: str, found: list[float]) -> None:
    """Take the median of batches as a figure, and the batches as its samples."""
    run.report.figure(name, median(found))
    run.report.samples[name] = found
    run.say(f"  {name:<20} {median(found):8.2f} us, median of {len(found)} batches")


def keep_least(run: Run, name: str, call: Callable[[], object], *, calls: int) -> None:
    """Take the least of many batches of a call's processor time as a figure, and the batches as its samples."""
    found = processor_us(call, calls=calls, batches=SHORTER * run.plan.repeats)
    run.report.figure(name, min(found))
    run.report.samples[name] = [rounded(us) for us in found]
    run.say(
        f"  {name:<20} {min(found):8.2f} us of processor, least of {len(found)} batches (median {median(found):.2f})"
    )


def targets(run: Run) -> None:
    """Time `canonical_target` over every target of the hot set, none of them remembered."""
    opened = [target for person in people(HOT_PEOPLE) for target in person.targets]
    paths = [(f"{target.path}?page={number}".encode(), target.host.encode()) for number, target in enumerate(opened)]
    following = cycle(paths).__next__

    def call() -> None:
        uri, host = following()
        canonical_target(uri, host, scheme=b"https", port=b"443")

    keep_least(run, "gate_us", call, calls=len(paths))


def matching(run: Run) -> None:
    """Time `Catalogue.match` for catalogues of three sizes."""
    for services, routes in SIZES:
        catalogue = load_catalogue(catalogue_text(services, routes), where="benchmark")
        following = cycle(route_requests(services, routes, ROUTES_ASKED)).__next__

        def call() -> None:
            catalogue.match(*following())  # noqa: B023

        keep_least(run, f"catalogue_us_{services * routes}", call, calls=ROUTES_ASKED)


def scoring(run: Run) -> None:
    """Time what a request costs (`combine` of prepared parts) and what a report costs (preparing them)."""
    model = load_trust((pack_folder(PACK) / "trust.yaml").read_text(), where="trust.yaml")
    names = facts_read(open_bundle(run.bundle, keys={}, require_signature=False).reads)
    now = 1_790_000_000
    record = decode_device(device_text(now), where="benchmark")
    subject = Subject(type="user", id="u00000", issuer=ISSUER, amr=("hwk", "user"), acr="phr", auth_time=now - 60)
    device = pillar_at(read_device(model, record), now + 5)
    person = pillar_at(read_subject(model, subject, binding="mtls", strongest="phrh"), now + 5)
    context = context_points(model, location="", path="key", in_hours=True)

    def report() -> None:
        read_device(model, record)
        fact_sheet(record, names=names, ranges=model.freshness).at(now + 5)

    def score() -> None:
        combine(model, device, person, context)

    keep_least(run, "scoring_us", score, calls=2000)
    keep_least(run, "scoring_device_us", report, calls=200)


def device_text(now: int) -> bytes:
    """Return the record of a healthy laptop."""
    facts = {}
    for name, value in FACTS.items():
        envelope = {"status": "observed", "method": "signed_agent", "received_at": now - 60}
        facts[name] = {**envelope, **value} if isinstance(value, dict) else {**envelope, "value": value}
    record = {
        "tenant": "default", "device_id": "laptop-00000", "version": 1, "status": "active", "ownership": "corp",
        "assigned": ["u00000"], "keys": [{"x5t": to_base64url(bytes(32)), "not_after": now + 86_400}],
        "boot_id": "boot-1", "report_received_at": now - 60, "facts": facts,
    }  # fmt: skip
    return msgspec.json.encode(record)


def decisions(run: Run, site: Site, place: Path) -> None:
    """Time whole decisions to the bytes of the answer: with and without the cache, and of heads that were read before.

    The first two begin behind the parser, with a dictionary of headers; the last begins with the bytes of the head.
    """
    requests = [site.request(key) for key in keys(site.people)]
    for name, cache in (("decision_cold_us", False), ("decision_warm_us", True), ("decision_repeat_us", True)):
        config = site.clone(place / name, port=free_port(), admin_port=free_port(), cache=cache)
        repeats = run.plan.repeats
        keep(run, name, uvloop.run(decide(config, requests, repeats, read=name != "decision_repeat_us")))


async def decide(config: Path, requests: list[bytes], repeats: int, *, read: bool) -> list[float]:
    """Answer every request in turns of eight, as the listener does; unless told to read, by what came before."""
    program = SidecarProgram(load(config))
    await program.start()
    try:
        app = program.app
        asked = [(*documents.parsed(request), request) for request in requests]
        turns = [asked[at : at + TURN] for at in range(0, len(asked) - TURN + 1, TURN)]
        following = cycle(turns).__next__

        def turn() -> None:
            if read:
                app.seal([app.answer(PATH, b"GET", dict(headers), names, None) for names, headers, _ in following()])
            else:
                app.seal([app.repeat(head, None) or answer(*rest, head) for *rest, head in following()])

        def answer(names: tuple[bytes, ...], headers: dict[bytes, bytes], head: bytes) -> Pending:
            return app.answer(PATH, b"GET", dict(headers), names, None, head)

        found = per_call_us(turn, calls=len(turns), repeats=repeats)
        await asyncio.sleep(0)
        return [us / TURN for us in found]
    finally:
        await program.stop()
