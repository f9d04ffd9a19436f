"""A random history of a world: updates, revocations, ticks, jumps of the clock, and requests among them."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from device_inventory.device import DeviceKey
from tests.world import HEALTHY, World, device, facts, situation, subject
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa, DevProver
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.core.errors import UnavailableError
from zt_engine.core.request import AccessRequest
from zt_engine.core.situation import Grant
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.outcomes import Outcome

PEOPLE = ("tanaka", "suzuki", "robot")
LAPTOPS = ("laptop-1", "laptop-2", "shared-1")
URLS = (
    *("https://portal.example/", "https://portal.example/cases/1", "https://portal.example/cases/2") * 3,
    *("https://portal.example/notes/a/b", "https://portal.example/secret", "https://pilot.example/x") * 2,
    *("https://portal.example/nowhere", "https://foreign.example/"),
)
ADDRESSES = ("203.0.113.7", "192.0.2.9", "2001:db8:1::5", "198.51.100.4")


class History:
    """Steps, drawn by a seeded generator. `step` returns the requests to be put to every authorizer, if any."""

    def __init__(self, world: World, seed: int, bundles: tuple[bytes, ...]) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.bundles = bundles
        self.authorizers: list[Authorizer] = []
        self.certificates: dict[str, DevCertificate] = {name: world.enroll(name) for name in LAPTOPS}
        self.prover = DevProver()
        self.tokens: list[tuple[bytes, bytes, DevCertificate | None]] = []
        self.revocations: list[dict[str, Any]] = []
        self.calm: dict[str, Any] = {}
        self.grants: tuple[Grant, ...] = ()
        self.version = 1
        self.asked: AccessRequest | None = None
        for name in PEOPLE:
            world.subjects[name] = subject(name)
        world.devices["shared-1"] = self._changed("shared-1", ownership="shared", assigned=())
        world.publish()
        self.mint()

    # -- one step

    def step(self) -> AccessRequest | None:
        """Ask mostly, and often the same again; change something or let time pass otherwise."""
        if self.chance.random() < 0.9:
            return self.ask()
        calmer = [self.tick, self.tick, self.tick, self.fetch, self.mint]
        steps: list[Callable[[], None]] = [*calmer, *calmer, self.long, self.back, self.source]
        steps += [self.device, self.device, self.clone, self.prover_device, self.prover_device, self.subject]
        steps += [self.situation, self.situation, self.revoke, self.rotate, self.fetch_fails, self.authorities]
        steps += [self.catalogue, self.catalogue, self.trust, self.bundle, self.heal, self.heal]
        self.chance.choice(steps)()
        return None

    def heal(self) -> None:
        """Everything is as it should be again."""
        world = self.world
        for name in LAPTOPS:
            world.devices[name] = self._changed(name)
        for name in PEOPLE:
            world.subjects[name] = subject(name, version=self.version, groups=("staff",))
        world.devices.pop("clone", None)
        self.calm, self.revocations, self.grants = {}, [], ()
        self._situate()
        self._trust_authority(world.authority.pem)
        world.published.error = None
        self.fetch()
        world.catalogue_text, world.trust_text = world.catalogue_source, world.trust_source
        self._activate()
        self.mint()

    def ask(self) -> AccessRequest:
        if self.chance.random() < 0.6 and self.asked is not None and not self.asked.dpop:
            return msgspec.structs.replace(self.asked, request_id=f"again-{self.chance.random()}"[2:])
        token, proof_key, bound = self.chance.choice(
            [*self.tokens, *self.tokens, (b"", b"", None), (b"garbage", b"", None)]
        )
        held = bound if self.chance.random() < 0.8 else self.chance.choice([None, *self.certificates.values()])
        url = self.chance.choice(URLS)
        method = self.chance.choice(["GET"] * 12 + ["POST", "PUT"])
        channel = self.chance.choice(["open"] * 8 + ["closed"])
        fields: dict[str, Any] = {
            "client_ip": self.chance.choice(ADDRESSES),
            "channel": channel,
            "pep": f"front-{channel}",
            "enforces": ("no_store",),
            "purpose": self.chance.choice([None, None, None, "audit"]),
        }
        if self.chance.random() < 0.2:
            fields |= {"pep": "bare", "enforces": ()}
        if proof_key:
            proof = self.prover.prove(token=token, method=method, url=url, now=self.world.clock.now())
            fields |= {"scheme": b"DPoP", "proof": proof}
        self.asked = self.world.request(url, method=method, token=token, certificate=held, **fields)
        return self.asked

    # -- time

    def tick(self) -> None:
        self.world.clock.advance(self.chance.choice([0.3, 1.0, 2.5, 5.0]))

    def long(self) -> None:
        self.world.clock.advance(self.chance.choice([60, 400, 1000, 5000]))
        self.fetch()
        self.mint()

    def back(self) -> None:
        self.world.clock.advance(-self.chance.choice([0.5, 4, 40]))
        self.mint()

    def source(self) -> None:
        self.world.clock.follows_a_source = not self.world.clock.follows_a_source

    # -- records

    def _changed(self, name: str, **fields: Any) -> Any:
        self.version += 1
        now = int(self.world.clock.now())
        key = DeviceKey(x5t=self.certificates[name].x5t, not_after=now + 86_400)
        known = {"now": now, "keys": (key,), "version": self.version, "assigned": ("tanaka", "suzuki"), **fields}
        return device(name, **known)

    def device(self) -> None:
        name, now = self.chance.choice(LAPTOPS), int(self.world.clock.now())
        self.world.devices[name] = self._changed(
            name,
            status=self.chance.choice(["active"] * 5 + ["quarantined", "lost", "revoked"]),
            ownership=self.chance.choice(["corp", "byod", "shared"]),
            assigned=self.chance.choice([("tanaka",), ("tanaka", "suzuki"), ()]),
            report_received_at=now - self.chance.choice([0, 0, 100_000]),
            facts=facts(
                {**HEALTHY, "disk.encrypted": self.chance.random() < 0.8}, now - self.chance.choice([0, 5_000])
            ),
            keys=()
            if self.chance.random() < 0.1
            else (DeviceKey(x5t=self.certificates[name].x5t, not_after=now + self.chance.choice([3, 100, 86_400])),),
        )
        if self.chance.random() < 0.15:
            del self.world.devices[name]
        self.world.publish()

    def clone(self) -> None:
        """Another record claims a laptop's key, or no longer does."""
        if self.world.devices.pop("clone", None) is None:
            x5t = self.certificates[self.chance.choice(LAPTOPS)].x5t
            self.world.devices["clone"] = device("clone", keys=(DeviceKey(x5t=x5t, not_after=2**40),))
        self.world.publish()

    def prover_device(self) -> None:
        """A device with the DPoP key appears or goes, or its key soon ends; at times it is a laptop's second key."""
        now = int(self.world.clock.now())
        key = DeviceKey(jkt=self.prover.jkt, not_after=now + self.chance.choice([3, 86_400, 86_400]))
        if self.chance.random() < 0.3:
            laptop = DeviceKey(x5t=self.certificates["laptop-1"].x5t, not_after=now + 86_400)
            self.world.devices["laptop-1"] = self._changed("laptop-1", keys=(laptop, key))
        elif self.world.devices.pop("phone-1", None) is None:
            self.world.devices["phone-1"] = device("phone-1", now=int(self.world.clock.now()), keys=(key,))
        self.world.publish()

    def subject(self) -> None:
        name = self.chance.choice(PEOPLE)
        self.version += 1
        self.world.subjects[name] = subject(
            name,
            version=self.version,
            status=self.chance.choice(["active"] * 4 + ["suspended"]),
            groups=self.chance.choice([(), ("staff",)]),
            clearance=self.chance.choice([100, 200, 300]),
            type=self.chance.choice(["user", "user", "workload"]),
        )
        if self.chance.random() < 0.2:
            del self.world.subjects[name]
        self.world.publish()

    # -- situation and keys

    def _situate(self) -> None:
        made = situation(**self.calm, revocations=self.revocations)
        self.world.situation = msgspec.structs.replace(made, grants=self.grants)
        self.world.publish()

    def situation(self) -> None:
        now = int(self.world.clock.now())
        effect = self.chance.choice(
            [
                "deny",
                "ceiling:100",
                "threshold:+20",
                "acr:phrh",
                "report_age:30",
                "obligation:no_store",
                "obligation:read_only",
            ]
        )
        scope = self.chance.choice(
            [
                "tenant",
                "service:portal",
                "subject:tanaka",
                "group:staff",
                "device:laptop-1",
                "ownership:byod",
                "label:C2",
            ]
        )
        start = now + self.chance.choice([-100, 2, 30])
        overlay = {
            "id": "o1",
            "effect": effect,
            "scope": scope,
            "not_before": start,
            "not_after": start + self.chance.choice([1, 7, 900]),
        }
        self.calm = {
            "threat_level": self.chance.choice([0, 0, 1, 4]),
            "overlays": [overlay] if self.chance.random() < 0.5 else [],
        }
        self.grants = ()
        if self.chance.random() < 0.3:
            self.grants = (
                Grant(
                    id="g1", kind="exception", subjects=frozenset({"tanaka"}), groups=frozenset(),
                    services=frozenset({"portal"}), ceiling=200, waives=("REPORT_STALE",), not_before=now - 3,
                    not_after=now + self.chance.choice([4, 60]), approvers=("boss",),
                ),
            )  # fmt: skip
        self._situate()

    def revoke(self) -> None:
        now = int(self.world.clock.now())
        kind, key = self.chance.choice(
            [
                ("device", self.chance.choice(LAPTOPS)),
                ("subject", self.chance.choice([*PEOPLE, "earlier-robot"])),
                ("cert", self.certificates["laptop-1"].x5t),
                ("jti", "jti-1"),
                ("session", "sid-1"),
            ]
        )
        until = now + self.chance.choice([2, 6, 600])
        self.revocations = [*self.revocations[-2:], {"kind": kind, "key": key, "until": until}]
        if self.chance.random() < 0.4:
            self.revocations = []
        self._situate()

    def rotate(self) -> None:
        """A new signing key; often the old one goes at once."""
        old = self.world.issuer.key_id
        self.world.issuer.rotate()
        if self.chance.random() < 0.6:
            self.world.issuer.retire(old)
        self.world.published.body = self.world.issuer.jwks()
        self.fetch()
        self.mint()

    def fetch(self) -> None:
        """The background loop fetches the key set, if it can be had."""
        with contextlib.suppress(UnavailableError):
            self.world.refresh_keys()

    def fetch_fails(self) -> None:
        """The key set cannot be fetched for a while, and is not usable for ever without."""
        self.world.published.error = (
            UnavailableError("KEYS_UNREACHABLE") if self.world.published.error is None else None
        )

    def authorities(self) -> None:
        """Another device CA, or the first one again."""
        own = self.chance.random() < 0.6
        self._trust_authority(self.world.authority.pem if own else DevDeviceCa(now=self.world.clock.now()).pem)

    def _trust_authority(self, pem: bytes) -> None:
        self.world.certificates.replace(pem)
        for authorizer in self.authorizers:
            authorizer.forget_principals()

    def mint(self) -> None:
        """New tokens: bound and unbound, for everybody; some with a short life."""
        world, life = self.world, self.chance.choice([4, 30, 900])
        self.tokens = [
            *((world.token(name, lifetime=life, jti=f"jti-{number}"), b"", None) for number, name in enumerate(PEOPLE)),
            *(
                (world.token("tanaka", bound_to=c, lifetime=life, sid="sid-1"), b"", c)
                for c in self.certificates.values()
            ),
            *[(world.token("suzuki", jkt=self.prover.jkt, lifetime=life), b"dpop", None)] * 3,
            (world.token("tanaka", lifetime=life, act={"sub": "robot", "act": {"sub": "earlier-robot"}}), b"", None),
            (world.token("tanaka", acr="pwd", amr=["pwd"], lifetime=life), b"", None),
        ]

    # -- policy

    def _activate(self) -> None:
        for authorizer in self.authorizers:
            authorizer.activate(self.world.policy())

    def catalogue(self) -> None:
        """A label, a channel, an onboarding or a declassification changes."""
        now = int(self.world.clock.now())
        text = (self.world.catalogue_source).decode()
        for old, new in self.chance.sample(
            [
                ("methods: [GET, HEAD, POST], label: C2}", "methods: [GET, HEAD, POST], label: C1}"),
                (
                    "methods: [GET, HEAD, POST], label: C2}",
                    'methods: [GET, HEAD, PUT], label: C2, compartments: ["case:{case_id}"]}',
                ),
                (
                    "methods: [GET, HEAD, POST], label: C2}",
                    f'methods: [GET], label: {{code: C2, declassify: {{at: "{instant(now + 2)}", to: C0}}}}}}',
                ),
                ("methods: [GET], label: C3}", "methods: [GET], label: C1}"),
                ("channels: [open]", "channels: [open, closed]"),
                ("observe: {until: 2030-01-01T00:00:00Z}", f'observe: {{until: "{instant(now + 4)}"}}'),
                ("hosts: [pilot.example]", "hosts: [foreign.example]"),
            ],
            self.chance.choice([0, 1, 2]),
        ):
            text = text.replace(old, new, 1)
        self.world.catalogue_text = text.encode()
        self._activate()

    def trust(self) -> None:
        text = self.world.trust_source.decode()
        if self.chance.random() < 0.6:
            text = text.replace("slack: 15", f"slack: {self.chance.choice([0, 5, 10])}")
        self.world.trust_text = text.encode()
        self._activate()

    def bundle(self) -> None:
        self.world.bundle = self.chance.choice(self.bundles)
        self._activate()


class Forgetful:
    """Decides everything from scratch: nothing survives a request but the proofs that were used."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._proofs = JwtDpopVerifier(not_before=0)

    def decide(self, request: AccessRequest) -> Outcome:
        """Make everything anew and decide."""
        fresh = self.world.authorizer(cache_entries=0, proofs=self._proofs)
        return self.world.decide(fresh, request)


def instant(seconds: float) -> str:
    """An instant as the catalogue writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seen(outcome: Outcome) -> tuple[object, ...]:
    """Everything of an outcome that leaves the sidecar, and what it was decided from.

    Decisions that the policy cannot tell apart are shared, and with them the one input that stands for all of them: it
    may have the address or path of another request, and nothing else.
    """
    members = re.sub(rb'"input_digest":"[0-9a-f]{64}"', b'"input_digest":"..."', outcome.members)
    document = msgspec.json.decode(outcome.document) if outcome.document else {}
    document.pop("request", None)
    return outcome.decision, outcome.head, members, outcome.rank, outcome.kind, document
