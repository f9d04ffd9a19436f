"""One small world in memory: people, devices, an issuer, a policy, a clock that is set, and authorizers over them.

Everything is real (signatures, certificates, Rego in Wasm) except time, files and sockets.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from device_inventory.device import DeviceKey, DeviceRecord
from device_inventory.facts import FactEnvelope
from tests.bundles import TINY
from tests.fakes.clock import FakeClock
from tests.fakes.decision_log import FakeDecisionLog
from tests.issuer import Published
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa, DevIssuer
from zt_engine.adapters.device_proof_jws import JwsDeviceProofs
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.bootstrap.activation import Parts, digest, make_policy
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.issuer import IssuerConfig, IssuerMapping
from zt_engine.core.request import AccessRequest, canonical_target
from zt_engine.core.situation import Situation
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.principals import Principals
from zt_engine.sidecar.replica import Replica

NOW = 1_790_000_000
ISSUER = "https://idp.example"
AUDIENCE = "https://portal.example"
HEALTHY: Mapping[str, Any] = {
    "device.key_protection": "hw", "patch.pending_security": 0, "patch.oldest_pending_days": 0, "vuln.kev_open": (),
    "vuln.kev_overdue": (), "disk.encrypted": True, "edr.running": True, "av.realtime": True, "mdm.enrolled": True,
    "firewall.enabled": True, "boot.secure_boot": True, "screenlock.enabled": True, "user.is_admin": False,
    "integrity.rooted": False, "os.eol_date": "2030-01-01",
}  # fmt: skip


@cache
def opened(raw: bytes) -> Bundle:
    """A bundle, read once."""
    return open_bundle(raw, keys={}, require_signature=False)


@cache
def engine_of(raw: bytes) -> WasmEngine:
    """The engine of a bundle; one for the whole run of the suite, with time for a busy machine."""
    bundle = opened(raw)
    return WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=1000)


def facts(values: Mapping[str, Any], received_at: int, method: str = "signed_agent") -> dict[str, FactEnvelope]:
    """Observed facts, all received at one instant."""
    return {
        name: FactEnvelope(status="observed", value=value, method=method, received_at=received_at)  # type: ignore[arg-type]
        for name, value in values.items()
    }


def device(device_id: str = "laptop-1", *, now: int = NOW, **fields: Any) -> DeviceRecord:
    """A healthy, active device of the organisation that belongs to tanaka."""
    known: dict[str, Any] = {
        "tenant": "default", "device_id": device_id, "version": 1, "status": "active", "ownership": "corp",
        "assigned": ("tanaka",), "keys": (), "boot_id": "b1", "report_received_at": now, "facts": facts(HEALTHY, now),
    }  # fmt: skip
    return DeviceRecord(**{**known, **fields})


def subject(subject_id: str = "tanaka", **fields: Any) -> SubjectRecord:
    """An active person cleared for C2."""
    known: dict[str, Any] = {
        "id": subject_id, "issuer": ISSUER, "version": 1, "status": "active", "groups": (), "compartments": (),
        "clearance": 200, "org": "", "valid_until": None,
    }  # fmt: skip
    return SubjectRecord(**{**known, **fields})


def situation(**fields: Any) -> Situation:
    """What `situation.json` would say."""
    document = {"threat_level": 0, "overlays": [], "grants": [], "revocations": [], **fields}
    return decode_situation(msgspec.json.encode(document), where="situation.json")


class World:
    """Everything that decides, and authorizers that share it."""

    def __init__(self, bundle: bytes, *, pack: Path = TINY, now: int = NOW) -> None:
        self.clock = FakeClock(now)
        self.bundle = bundle
        self.catalogue_source = self.catalogue_text = (pack / "catalogue.yaml").read_bytes()
        self.trust_source = self.trust_text = (pack / "trust.yaml").read_bytes()
        self.issuer = DevIssuer(ISSUER, audience=AUDIENCE)
        self.published = Published(self.issuer.jwks())
        self.config = IssuerConfig(
            issuer=ISSUER, audiences=(AUDIENCE,), algorithms=("ES256",), keys="jwks.json",
            mapping=IssuerMapping(), strongest_acr="phrh", max_lifetime=86_400,
        )  # fmt: skip
        self.keys = KeySource(self.published, algorithms=("ES256",), hard_limit=90)
        self.refresh_keys()
        self.authority = DevDeviceCa(now=now)
        self.certificates = X509CertificateVerifier(self.authority.pem)
        self.replica = Replica()
        self.situation = situation()
        self.devices: dict[str, DeviceRecord] = {}
        self.subjects: dict[str, SubjectRecord] = {}
        self._request_ids = itertools.count(1)
        self.engine: PolicyEngine | None = None

    # -- what changes

    def refresh_keys(self) -> None:
        """Let the key set be fetched now, as the background loop would."""
        asyncio.run(self.keys.refresh(self.clock.now()))

    def publish(self) -> None:
        """Bring the replica up to date with `devices`, `subjects` and `situation`."""
        self.replica.replace(
            self.devices.values(), self.subjects.values(), self.situation, now=self.clock.now()
        )  # fmt: skip

    def enroll(self, device_id: str = "laptop-1", **fields: Any) -> DevCertificate:
        """Add a healthy device with a certificate."""
        certificate = self.authority.issue(device_id, now=self.clock.now())
        key = DeviceKey(x5t=certificate.x5t, not_after=int(self.clock.now()) + 86_400)
        known = {"now": int(self.clock.now()), "keys": (key,), **fields}
        self.devices[device_id] = device(device_id, **known)
        return certificate

    def policy(self) -> Policy:
        """A policy made anew from the present bundle, catalogue and trust file."""
        bundle = opened(self.bundle)
        parts = Parts(
            bundle=bundle,
            catalogue=_catalogue(self.catalogue_text),
            catalogue_digest=digest(self.catalogue_text),
            trust=_trust(self.trust_text),
            trust_digest=digest(self.trust_text),
        )
        return make_policy(
            parts,
            self.engine or engine_of(self.bundle),
            source="folder",
            strongest={ISSUER: self.config.strongest_acr},
            path_key=b"k" * 32,
            tick_seconds=5,
        )

    def authorizer(self, *, cache_entries: int = 10_000, proofs: JwtDpopVerifier | None = None) -> Authorizer:
        """An authorizer with memories of its own over the shared world."""
        principals = Principals(
            tokens=JwtVerifier([TrustedIssuer(self.config, self.keys)]),
            certificates=self.certificates,
            proofs=proofs or JwtDpopVerifier(not_before=0),
            mappings={ISSUER: self.config.mapping},
            replica=self.replica,
            keys={ISSUER: self.keys},
            tick_seconds=5,
            device_proofs=JwsDeviceProofs(self.certificates),
        )
        authorizer = Authorizer(
            principals=principals,
            replica=self.replica,
            clock=self.clock,
            space=FakeDecisionLog(),
            cache_entries=cache_entries,
            assert_for=lambda _case, _label, _trust: "",
        )
        authorizer.activate(self.policy())
        return authorizer

    # -- what is asked

    def token(self, subject_id: str = "tanaka", *, bound_to: DevCertificate | None = None, **claims: Any) -> bytes:
        """An access token, minted now, after a strong sign-in a minute ago."""
        now = self.clock.now()
        defaults = {"acr": "phr", "amr": ["hwk", "user"], "auth_time": int(now) - 60, "lifetime": 900}
        x5t = bound_to.x5t if bound_to is not None else ""
        return self.issuer.mint(subject_id, now=now, certificate_digest=x5t, **{**defaults, **claims})

    def request(
        self,
        url: str = "https://portal.example/cases/1",
        *,
        method: str = "GET",
        token: bytes = b"",
        scheme: bytes = b"Bearer",
        proof: bytes = b"",
        certificate: DevCertificate | None = None,
        **fields: Any,
    ) -> AccessRequest:
        """A request as the hook would have read it."""
        host, _, path = url.removeprefix("https://").partition("/")
        known: dict[str, Any] = {
            "hook": "nginx", "pep": "front", "proof": "key", "channel": "open", "enforces": ("no_store",),
            "method": method,
            "target": canonical_target(b"/" + path.encode(), host.encode(), scheme=b"https", port=b"443"),
            "client_ip": "203.0.113.7", "request_id": f"r{next(self._request_ids)}",
            "authorization": scheme + b" " + token if token else b"", "dpop": proof,
            "client_cert": certificate.escaped if certificate is not None else b"",
        }  # fmt: skip
        return AccessRequest(**{**known, **fields})

    def decide(self, authorizer: Authorizer, request: AccessRequest) -> Outcome:
        """Decide now."""
        return authorizer.decide(request, self.clock.now())[0]


@cache
def _catalogue(text: bytes) -> Any:
    return load_catalogue(text, where="catalogue.yaml")


@cache
def _trust(text: bytes) -> Any:
    return load_trust(text.decode(), where="trust.yaml")


def reasons(outcome: Outcome) -> Sequence[str]:
    """The reasons of an outcome."""
    return outcome.decision.reasons
