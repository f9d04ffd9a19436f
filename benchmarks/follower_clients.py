"""Sidecar clients of one process: each with a stream, a replica, a lease and an authorizer of its own.

    python -m benchmarks.follower_clients CONFIG FOLDER FIRST COUNT [URL]

The module of a policy is compiled once for all of them; nothing else is shared. What each keeps lies in FOLDER. Every
client is asked about the device in question all the time, and about one that was revoked before. It speaks JSON, a line
each:

`{"clients", "devices"}` once everybody follows; then for `{"do": "revoke", "escaped", "token", "host", "path"}` the
line `"ready"` when every client allows it and, when every client denies it, for each of them when its replica became
the one that denies (no allow can be later), and when it had read the message that made it so.
For `{"do": "release", "seq"}`, once every client decides by that release, when each asked for its bundle, had it, had
opened it, and decided by it; after `{"do": "offers", "heard": "no"}` they hear of no release before it is told. Clocks
are monotonic, and shared by all processes of a machine. For `{"do": "state"}` how they stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvloop

from benchmarks.client_releases import Compiled, Switched
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
from zt_engine.core.situation import Situation
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.replica import Records, Replica

PAUSE = 0.5
"""Between two requests of each client: 200 of them share two cores with all that is verified. When a client became one
that denies is known exactly, whenever it is asked."""
START_SECONDS = 120
REVOKED = "DEVICE_REVOKED"
"""Any other denial, such as that of an engine that had no processor in time, says nothing of a revocation."""


class Plenty:
    """A decision log with space; none is written here."""

    state = "ok"


class Watched(Replica):
    """A replica that remembers when it became another one, and when the message was read that made it so."""

    changed_at = heard_at = 0.0
    arrived_at = 0.0
    """When the newest message was read."""

    def adopt(self, records: Records, situation: Situation, *, now: float) -> None:
        """Take up a complete set in one step."""
        super().adopt(records, situation, now=now)
        self.changed_at, self.heard_at = time.monotonic(), self.arrived_at


class Client:
    """One sidecar without a listener."""

    def __init__(
        self, settings: Settings, trusted: Trusted, engine: PolicyEngine, parts: activation.Parts, compiled: Compiled
    ) -> None:
        self.clock = SystemClock()
        self.replica = Watched()
        certificates, self.lease = DeviceCertificates(), Lease(Staleness())
        shared = Shared(self.replica, certificates, JwtDpopVerifier(not_before=0), CodeTexts())
        wiring = Wiring(settings, trusted, trusted.sources, shared)
        self.authorizer = Authorizer(
            principals=wiring.principals, replica=self.replica, clock=self.clock, space=Plenty(), cache_entries=1000,
            assert_for=lambda _case, _label, _trust: "", lease=self.lease,
        )  # fmt: skip
        self.authorizer.activate(
            activation.make_policy(
                parts, engine, source="folder", strongest=wiring.strongest, path_key=b"k" * 32, tick_seconds=5
            )
        )
        self.follower = ControlFollower(
            settings, read_member(settings), read_situation=wiring.believed.read_situation, replica=self.replica,
            lease=self.lease, clock=self.clock,
            trust_devices=lambda pem: certificates.replace(pem, where="control plane"),
        )  # fmt: skip
        self.releases = Switched(self.follower, self.authorizer, wiring, compiled)
        self._messages = self.follower.client.messages
        self.follower.client.messages = self._read  # type: ignore[method-assign]
        self._say = self.follower.client.status
        self.follower.client.status = self._said  # type: ignore[method-assign]
        self.acknowledged = 0
        self.request: AccessRequest | None = None
        self.allowed = self.denied = False
        self.revoked: list[tuple[AccessRequest, int]] = []
        """What is denied here for good, and the `seq` by which it was."""
        self.reason = ""
        self._turn = 0
        self.asked = self.stale_allows = 0
        self.worst_age = 0.0

    async def _read(self, *, cursor: int, least: int) -> AsyncGenerator[tuple[str, bytes], None]:
        async with contextlib.aclosing(self._messages(cursor=cursor, least=least)) as messages:
            async for kind, raw in messages:
                self.replica.arrived_at = time.monotonic()
                yield kind, raw

    async def _said(self, said: Mapping[str, Any], *, known: Iterable[str] = ()) -> bytes:
        # Counted from when it is sent: whoever reads it may rely on it from then on.
        self.acknowledged = max(self.acknowledged, int(said["applied_seq"]))
        return await self._say(said, known=known)

    def begin(self, request: AccessRequest) -> None:
        """Ask for something else from now on."""
        self.request, self.allowed, self.denied = request, False, False

    def ask(self) -> None:
        """Decide about the device in question, and about one that was revoked before."""
        age = self.lease.age(self.clock.elapsed())
        self.worst_age = max(self.worst_age, age or 0.0)
        if self.request is not None and not self.denied:
            opened = self.opens(self.request)
            self.allowed = self.allowed or opened
            if self.allowed and self.reason == REVOKED:
                self.denied = True
                self.revoked.append((self.request, self.follower.sync.position.seq))
        if self.revoked:
            self._turn = (self._turn + 1) % len(self.revoked)
            request, seq = self.revoked[self._turn]
            self.stale_allows += self.opens(request) and self.acknowledged >= seq

    def opens(self, request: AccessRequest) -> bool:
        """Decide now; an allow that rests on something too old is counted."""
        self.asked += 1
        now = time.time()
        outcome = self.authorizer.decide(request, self.clock.now()).outcome
        self.reason = "" if outcome.decision.opens else str(outcome.decision.reasons[0])
        if self.reason:
            return False
        # Computed once more from the watermark alone: control plane and clients have one clock here.
        issued = self.lease.issued_at
        if issued is None or now - issued > self.lease.staleness.of(outcome.rank):
            self.stale_allows += 1
        return True


def settings_of(config: Path, folder: Path, number: int, url: str = "") -> Settings:
    """Return the settings of one client: its own key and replica."""
    settings = load(config, {})
    update: dict[str, Any] = {"state": folder / f"client-{number}"}
    if url:
        update["url"] = (url,)
    return settings.model_copy(update={"control_plane": settings.control_plane.model_copy(update=update)})


def asked(question: Mapping[str, str]) -> AccessRequest:
    """Return the request nginx's hook would have read."""
    target = canonical_target(question["path"].encode(), question["host"].encode(), scheme=b"https", port=b"443")
    return AccessRequest(
        hook="nginx", pep="front", proof="key", channel="open", enforces=ENFORCES, method="GET", target=target,
        client_ip="192.0.2.7", request_id="r1", authorization=b"Bearer " + question["token"].encode(),
        client_cert=question["escaped"].encode(), dpop=b"",
    )  # fmt: skip


async def ask_always(clients: Sequence[Client]) -> None:
    """Ask every client, over and over."""
    while True:
        for client in clients:
            client.ask()
            await asyncio.sleep(PAUSE / len(clients))


async def until(clients: Sequence[Client], true: Callable[[Client], bool]) -> None:
    """Wait until something is true of every client."""
    while not all(true(client) for client in clients):  # noqa: ASYNC110  (many, each changing by itself)
        await asyncio.sleep(PAUSE / 20)


def state(clients: Sequence[Client]) -> dict[str, object]:
    """Return how they stand, and the greatest age a watermark had since this was asked last."""
    now = clients[0].clock.elapsed()
    found = {
        "connected": sum(client.follower.connected for client in clients),
        "oldest": max(client.lease.age(now) or 0.0 for client in clients),
        "worst_age": max(client.worst_age for client in clients),
        "stale_allows": sum(client.stale_allows for client in clients),
        "asked": sum(client.asked for client in clients),
        "acknowledged": min(client.acknowledged for client in clients),
        "issued_at": min(client.lease.issued_at or 0.0 for client in clients),
    }
    for client in clients:
        client.worst_age = 0.0
    return found


def made(config: Path, kept: Path, first: int, count: int, url: str) -> list[Client]:
    """Return the clients; their policy is read and compiled once."""
    trusted = read_trusted(settings_of(config, kept, first))
    asyncio.run(refresh_due(tuple(trusted.sources.values()), time.time()))
    folder = config.parent / "policy"
    bundle = activation.read_bundle((folder / "bundle.tar.gz").read_bytes(), trusted.bundle_keys)
    engine = activation.make_engine(bundle, load(config, {}).policy)
    catalogue, trust = (folder / "catalogue.yaml").read_bytes(), (folder / "trust.yaml").read_bytes()
    parts = activation.Parts(
        bundle=bundle, catalogue=activation.read_catalogue(catalogue, where=""), catalogue_digest="",
        trust=activation.read_trust(trust, where=""), trust_digest="",
    )  # fmt: skip
    settings = [settings_of(config, kept, number, url) for number in range(first, first + count)]
    compiled = Compiled()
    return [Client(each, trusted, engine, parts, compiled) for each in settings]


async def serve(clients: Sequence[Client]) -> None:
    """Follow, and answer what is asked on standard input."""
    loop = asyncio.get_running_loop()
    tasks = []
    for client in clients:  # one after the other: everybody's snapshot on one core takes longer than silence may
        await client.follower.load()
        tasks += [loop.create_task(task) for task in client.follower.tasks()]
        if not await client.follower.reached(START_SECONDS):
            raise RuntimeError(f"not reached: {client.follower.state()} {client.follower.problems}")
    # As a sidecar does (`bootstrap.collector`): what a hundred of them hold would be gone through again and again.
    gc.collect()
    gc.freeze()
    gc.disable()
    tell({"clients": len(clients), "devices": len(clients[0].replica.devices)})
    tasks.append(loop.create_task(ask_always(clients)))
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        question = json.loads(line)
        if question["do"] == "state":
            tell(state(clients))
            continue
        if question["do"] == "offers":
            for client in clients:
                client.releases.deaf = question["heard"] == "no"
            continue
        if question["do"] == "release":
            await released(clients, int(question["seq"]))
            continue
        request = asked(question)
        for client in clients:
            client.begin(request)
        await until(clients, lambda client: client.allowed)
        tell("ready")
        await until(clients, lambda client: client.denied)
        tell([(client.replica.changed_at, client.replica.heard_at) for client in clients])
    for task in tasks:
        task.cancel()


async def released(clients: Sequence[Client], seq: int) -> None:
    """Tell when everybody decided by a release."""
    await until(clients, lambda client: client.releases.seq == seq)
    tell([client.releases.times(seq) for client in clients])


def tell(said: object) -> None:
    """Write a line."""
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    # Standard output is what the benchmark reads.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    everybody = made(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), "".join(sys.argv[5:6]))
    uvloop.run(serve(everybody))
