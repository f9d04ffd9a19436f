"""What does an inventory of 75,000 devices cost a sidecar: how much memory, and how many remembered decisions?

Memory is that of a whole process with the policy's engine, after it took the signed snapshot of 75,000 laptops. For
the decisions the clock is simulated: people of a hot set ask for three minutes, once while nobody reports and once
while 83 devices report each second, told once a minute as `device.seen`; the figure is the one hit rate over the other.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.bench import Run
from benchmarks.data import FACTS, HOT_PEOPLE, SEED, keys
from benchmarks.follower_clients import Plenty, asked
from benchmarks.inventory_site import TENANT, InventorySite, directory_record, inventoried
from benchmarks.processes import ROOT, BenchmarkError
from device_inventory.facts import CATALOGUE
from device_inventory.inventory import publish
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_jwks import refresh_due
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.bootstrap.told_records import readers
from zt_engine.bootstrap.wiring import Shared, Wiring, read_trusted
from zt_engine.config import load
from zt_engine.control_plane.snapshot import device_data
from zt_engine.core.jose import to_base64url
from zt_engine.core.lease import Lease, Reading, Staleness
from zt_engine.core.request import AccessRequest
from zt_engine.core.stream import Announced, Batch, Event, SnapshotPart
from zt_engine.core.stream_signing import seal
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.sync import KeepNothing, Sync

NAME = "replica_memory"
NEEDS = ()
DEVICES = 75_000
QUICK_DEVICES = 3_000
PEOPLE = 50_000
PART = 700
REPORTS = 83
"""Each second, from 75,000 devices every fifteen minutes."""
ASKED, SECONDS = 8_000, 180
"""Requests a simulated second, and how many of those."""
QUICK_ASKED, QUICK_SECONDS = 1_000, 61


class Simulated:
    """A clock that is set."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def elapsed(self) -> float:
        return self.time

    def synchronised(self) -> bool:
        return True


class Follower:
    """A sidecar without listener and link: what it is told is signed here."""

    def __init__(self, config: Path, key: StreamKey, clock: Simulated) -> None:
        settings = load(config, {})
        trusted = read_trusted(settings)
        asyncio.run(refresh_due(tuple(trusted.sources.values()), clock.now()))
        self.clock, self.key, self.replica, lease = clock, key, Replica(), Lease(Staleness())
        self.certificates = DeviceCertificates()
        shared = Shared(self.replica, self.certificates, JwtDpopVerifier(not_before=0), CodeTexts())
        wiring = Wiring(settings, trusted, trusted.sources, shared)
        folder = config.parent / "policy"
        bundle = activation.read_bundle((folder / "bundle.tar.gz").read_bytes(), trusted.bundle_keys)
        parts = activation.Parts(
            bundle=bundle, catalogue=activation.read_catalogue((folder / "catalogue.yaml").read_bytes(), where=""),
            catalogue_digest="", trust=activation.read_trust((folder / "trust.yaml").read_bytes(), where=""),
            trust_digest="",
        )  # fmt: skip
        self.authorizer = Authorizer(
            principals=wiring.principals, replica=self.replica, clock=clock, space=Plenty(), cache_entries=50_000,
            assert_for=lambda _case, _label, _trust: "",
        )  # fmt: skip
        engine = activation.make_engine(bundle, settings.policy)
        self.authorizer.activate(
            activation.make_policy(
                parts, engine, source="folder", strongest=wiring.strongest, path_key=b"k" * 32, tick_seconds=5
            )
        )
        self.sync = Sync(
            tenant=TENANT, keys={key.key_id: key.public()}, readers=readers(wiring.believed.read_situation),
            replica=self.replica, lease=lease, keep=KeepNothing(),
        )  # fmt: skip

    def take(self, kind: str, raw: bytes) -> None:
        """Take a message."""
        self.sync.take(kind, raw, Reading(self.clock.now(), self.clock.elapsed()))

    def told(self, events: Iterator[tuple[str, bytes]], count: int) -> None:
        """Take a snapshot of `count` events."""
        of = -(-count // PART)
        for part in range(1, of + 1):
            some = itertools.islice(events, PART)
            announced = tuple(Announced(type=kind, data=msgspec.Raw(data)) for kind, data in some)
            self.take(
                "snapshot",
                seal(SnapshotPart(tenant=TENANT, fence=1, seq=1, part=part, of=of, events=announced), self.key),
            )

    def seen(self, seq: int, devices: Mapping[str, object]) -> None:
        """Take a minute's reports."""
        data = msgspec.Raw(msgspec.json.encode({"at": int(self.clock.now()), "devices": devices}))
        event = Event(seq=seq, type="device.seen", data=data)
        self.take("batch", seal(Batch(tenant=TENANT, fence=1, first=seq, last=seq, events=(event,)), self.key))


def filler(count: int, *, now: int) -> Iterator[tuple[str, bytes]]:
    """Yield laptops nobody asks for, each with a certificate, facts and a report of its own."""
    draw = random.Random(SEED)
    for number in range(count):
        received = now - draw.randrange(900)
        facts = {}
        for name, value in {**FACTS, "patch.oldest_pending_days": draw.randrange(12)}.items():
            envelope = {"method": "signed_agent", **(value if isinstance(value, dict) else {"value": value})}
            facts[name] = {"status": "observed", "received_at": received, **envelope}
        name = f"{number:08x}-{draw.getrandbits(96):024x}"
        x5t = to_base64url(hashlib.sha256(name.encode()).digest())
        record = {
            "tenant": TENANT, "device_id": name, "version": 1 + draw.randrange(9), "status": "active",
            "ownership": "corp", "assigned": [f"person-{number % PEOPLE}"],
            "keys": [{"x5t": x5t, "not_after": now + 86_400}], "boot_id": f"{draw.getrandbits(128):032x}",
            "report_received_at": received, "facts": facts,
        }  # fmt: skip
        yield "device.changed", msgspec.json.encode(record)


def measure(run: Run) -> None:
    """Measure the memory in a process of its own, and the hit rates here."""
    quick = run.plan.rounds == 1
    devices = QUICK_DEVICES if quick else DEVICES
    site = InventorySite(run.place(NAME) / "site", HOT_PEOPLE, bundle=run.bundle)
    memory(run, site, devices)
    load = (QUICK_ASKED, QUICK_SECONDS) if quick else (ASKED, SECONDS)
    hits(run, site, devices, load)


def memory(run: Run, site: InventorySite, devices: int) -> None:
    """Measure what a whole process takes."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.replica_memory", str(site.sandbox.config), str(devices)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchmarkError(done.stderr[-500:])
    found = json.loads(done.stdout)
    run.report.figure("replica_mb_75k", found["rss_mib"])
    run.report.samples["replica_memory"] = found
    run.say(f"  {found['devices']} devices: {found['rss_mib']:.0f} MiB, taken up in {found['seconds']:.0f} s")


def hits(run: Run, site: InventorySite, devices: int, load: tuple[int, int]) -> None:
    """Measure what reports cost remembered decisions."""
    rates = [hit_rate(site, devices, load, reports=reports) for reports in (0, REPORTS)]
    run.report.figure("device_seen_cache_loss", rates[1] / rates[0])
    run.report.samples["device_seen"] = rates
    run.say(f"  hit rate {rates[0]:.2%} without reports, {rates[1]:.2%} with {REPORTS} a second")


def hit_rate(site: InventorySite, devices: int, load: tuple[int, int], *, reports: int) -> float:
    """Return the share of remembered decisions of some simulated minutes."""
    asked_each, seconds = load
    clock = Simulated(time.time())
    now = int(clock.now())
    follower = Follower(site.sandbox.config, StreamKey.generate(), clock)
    follower.certificates.replace(site.device_cas, where="benchmark")
    hot: list[tuple[str, bytes]] = [("threat_level.changed", b'{"threat_level":0}')]
    for person, laptop in zip(site.people, site.laptops, strict=True):
        device = inventoried(person, laptop, now=now)
        hot.append(("device.changed", device_data(publish(device, names=CATALOGUE, now=now))))
        hot.append(("subject.changed", msgspec.json.encode(directory_record(person))))
    others = devices - len(site.people)
    follower.told(itertools.chain(hot, filler(others, now=now)), len(hot) + others)
    requests = hot_requests(site, clock.now())
    following = itertools.cycle(requests).__next__
    draw, ids = random.Random(SEED), list(follower.replica.devices)
    authorizer = follower.authorizer
    assert authorizer.cache is not None
    for second in range(seconds):
        for _ in range(asked_each):
            clock.time += 1 / asked_each
            decision = authorizer.decide(following(), clock.now()).outcome.decision
            if not decision.opens:
                raise BenchmarkError(f"a request of the hot set is denied: {decision.reasons}")
        if reports and second % 60 == 59:
            at = int(clock.now())
            told = draw.sample(ids, min(len(ids), reports * 60 * len(ids) // DEVICES))
            follower.seen(2 + second // 60, {one: [at, list(FACTS)] for one in told})
    cache = authorizer.cache
    return cache.hits / (cache.hits + cache.misses)


def hot_requests(site: InventorySite, now: float) -> Sequence[AccessRequest]:
    """Return a request for every key of the hot set."""
    tokens = [site.token(number, now=now) for number in range(len(site.people))]
    return [
        asked(
            {
                "escaped": site.laptops[key.person].escaped.decode(), "token": tokens[key.person],
                "host": key.target.host, "path": key.target.path,
            }
        )
        for key in keys(site.people)
    ]  # fmt: skip


def resident_mib() -> float:
    """Return this process's resident memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main(config: Path, devices: int) -> None:
    """Take up an inventory, and say what it takes."""
    follower = Follower(config, StreamKey.generate(), Simulated(time.time()))
    now = int(follower.clock.now())
    started = time.perf_counter()
    calm = iter([("threat_level.changed", b'{"threat_level":0}')])
    follower.told(itertools.chain(calm, filler(devices, now=now)), 1 + devices)
    seconds = time.perf_counter() - started
    gc.collect()
    found = {"rss_mib": resident_mib(), "devices": len(follower.replica.devices), "seconds": seconds}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
