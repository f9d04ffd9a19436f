"""Sidecar clients of one process: each with a stream, a replica, a lease and an authorizer of its own.

    python -m benchmarks.follower_clients CONFIG FIRST COUNT

The module of the policy is compiled once for all of them; nothing else is shared. Reads one question a line from
standard input (`{"number", "device", "escaped", "token", "host", "path"}`), says `ready` when every client allows it,
and then, when every client denies it, when each of them allowed it last (monotonic clock, which processes share).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

import structlog
import uvloop

from benchmarks.site import ENFORCES
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_jwks import refresh_due
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.bootstrap.joining import read_member
from zt_engine.bootstrap.wiring import Shared, Trusted, Wiring, read_trusted
from zt_engine.config import Settings, load
from zt_engine.core.lease import Lease, Staleness
from zt_engine.core.request import AccessRequest, canonical_target
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.replica import Replica

PAUSE = 0.004
"""Between two requests of each client: what the last allow is known to."""


class Plenty:
    """A decision log with space; none is written here."""

    state = "ok"


class Client:
    """One sidecar without a listener."""

    def __init__(self, settings: Settings, trusted: Trusted, engine: PolicyEngine, parts: activation.Parts) -> None:
        self.clock = SystemClock()
        self.replica = Replica()
        certificates, lease = DeviceCertificates(), Lease(Staleness())
        shared = Shared(self.replica, certificates, JwtDpopVerifier(not_before=0), CodeTexts())
        wiring = Wiring(settings, trusted, trusted.sources, shared)
        self.authorizer = Authorizer(
            principals=wiring.principals, replica=self.replica, clock=self.clock, space=Plenty(), cache_entries=1000,
            assert_for=lambda _case, _label, _trust: "", lease=lease,
        )  # fmt: skip
        self.authorizer.activate(
            activation.make_policy(
                parts, engine, source="folder", strongest=wiring.strongest, path_key=b"k" * 32, tick_seconds=5
            )
        )
        self.follower = ControlFollower(
            settings, read_member(settings), read_situation=wiring.believed.read_situation, replica=self.replica,
            lease=lease, clock=self.clock,
            trust_devices=lambda pem: certificates.replace(pem, where="control plane"),
        )  # fmt: skip

    def allows(self, request: AccessRequest) -> bool:
        """Decide now."""
        return self.authorizer.decide(request, self.clock.now()).outcome.decision.opens


def settings_of(config: Path, number: int) -> Settings:
    """Return the settings of one client: its own key and replica."""
    settings = load(config, {})
    held = settings.control_plane.model_copy(update={"state": Path(f"state/client-{number}")})
    return settings.model_copy(update={"control_plane": held})


def asked(question: dict[str, str]) -> AccessRequest:
    """Return the request nginx's hook would have read."""
    target = canonical_target(question["path"].encode(), question["host"].encode(), scheme=b"https", port=b"443")
    return AccessRequest(
        hook="nginx", pep="front", proof="key", channel="open", enforces=ENFORCES, method="GET", target=target,
        client_ip="192.0.2.7", request_id="r1", authorization=b"Bearer " + question["token"].encode(),
        client_cert=question["escaped"].encode(), dpop=b"",
    )  # fmt: skip


async def last_allow(client: Client, request: AccessRequest, ready: asyncio.Event, count: list[int]) -> float:
    """Ask until it was allowed once and is then denied; return when the last allow was decided."""
    allowed, counted = 0.0, False
    while True:
        at = time.monotonic()
        if client.allows(request):
            allowed = at
            if not counted:
                counted = True
                count[0] -= 1
                if not count[0]:
                    ready.set()
        elif counted:
            return allowed
        await asyncio.sleep(PAUSE)


async def serve(config: Path, first: int, count: int) -> None:
    """Follow, and answer what is asked on standard input."""
    trusted = read_trusted(settings_of(config, first))
    await refresh_due(tuple(trusted.sources.values()), time.time())
    folder = config.parent / "policy"
    bundle = activation.read_bundle((folder / "bundle.tar.gz").read_bytes(), trusted.bundle_keys)
    engine = activation.make_engine(bundle, load(config, {}).policy)
    catalogue, trust = (folder / "catalogue.yaml").read_bytes(), (folder / "trust.yaml").read_bytes()
    parts = activation.Parts(
        bundle=bundle, catalogue=activation.read_catalogue(catalogue, where=""), catalogue_digest="",
        trust=activation.read_trust(trust, where=""), trust_digest="",
    )  # fmt: skip
    clients = [Client(settings_of(config, number), trusted, engine, parts) for number in range(first, first + count)]
    loop = asyncio.get_running_loop()
    tasks = []
    for client in clients:
        await client.follower.load()
        tasks += [loop.create_task(task) for task in client.follower.tasks()]
    await asyncio.gather(*(client.follower.reached(60) for client in clients))
    print(json.dumps({"clients": count, "devices": len(clients[0].replica.devices)}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        request = asked(json.loads(line))
        ready, missing = asyncio.Event(), [count]
        asking = asyncio.gather(*(last_allow(client, request, ready, missing) for client in clients))
        await ready.wait()
        print("ready", flush=True)
        print(json.dumps(await asking), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    # Standard output is what the benchmark reads.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
