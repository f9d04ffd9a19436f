"""From the files of a folder to an active policy: verify, compile, warm up, and only then switch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import msgspec

from device_inventory.facts import CATALOGUE as FACTS
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.capabilities import INSIDE_WASM
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.rego_builtins import REGISTRY
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.config import Policy as PolicySettings
from zt_engine.core.bundle import Bundle, entrypoint, open_bundle
from zt_engine.core.catalogue import Catalogue
from zt_engine.core.decision import KINDS, meet, read_layers
from zt_engine.core.decision_cache import projection
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.identity import ANONYMOUS
from zt_engine.core.policy_input import INPUT_VERSION, NEVER, assemble, trust_fragment
from zt_engine.core.trust_model import TrustModel
from zt_engine.pages.registry import registry
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.moments import NO_DEVICE, Moments, subject_fragment
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.targets import Places

DEVICE_FACTS = "/device/facts"
PASSING = frozenset({"ENGINE_DOWN", "ENGINE_REVISION", "ENGINE_TIMEOUT"})
"""Failures of a smoke test that may be gone at the next attempt: an OPA that has not loaded the bundle, a busy host."""
OFFERED = frozenset(INSIDE_WASM | REGISTRY.keys())
"""Every builtin that a policy may use."""


REMEMBERED = 2
"""Texts of each kind: of what is in force and of what comes next."""
ReadT = TypeVar("ReadT")
_catalogues: dict[tuple[str, bytes], Catalogue] = {}
_trust_models: dict[tuple[str, bytes], TrustModel] = {}


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The three things a policy is made of, each checked by itself, with the digest of the text it came from."""

    bundle: Bundle
    catalogue: Catalogue
    catalogue_digest: str
    trust: TrustModel
    trust_digest: str


def read_bundle(raw: bytes, keys: Mapping[str, BundlePublicKey], *, baselines: Collection[str] = ()) -> Bundle:
    """Open a signed bundle; raises BundleError, also for a code of a kind nobody knows. No `baselines`: any will do."""
    bundle = open_bundle(raw, keys=keys, input_versions=(INPUT_VERSION,), builtins=OFFERED, baselines=baselines or None)
    for code, reason in bundle.reasons.items():
        if reason.kind not in KINDS:
            raise BundleError("BUNDLE_MALFORMED", f"code `{code}` has the unknown kind `{reason.kind}`")
    return bundle


def read_catalogue(raw: bytes, *, where: str) -> Catalogue:
    """Read the classification catalogue; raises ConfigError with every fault."""
    return _remembered(_catalogues, raw, where, lambda: load_catalogue(raw, where=where))


def read_trust(raw: bytes, *, where: str) -> TrustModel:
    """Read the trust model; raises ConfigError with every fault."""
    return _remembered(_trust_models, raw, where, lambda: load_trust(raw.decode("utf-8", "replace"), where=where))


def _remembered(known: dict[tuple[str, bytes], ReadT], raw: bytes, where: str, read: Callable[[], ReadT]) -> ReadT:
    """Read a text unless it is one of the last few: most releases leave it as it is. What was read is frozen."""
    name = where, hashlib.sha256(raw).digest()
    found = known.pop(name, None)
    if found is None:
        found = read()
    known[name] = found
    for old in tuple(known)[:-REMEMBERED]:
        known.pop(old, None)
    return found


def make_engine(bundle: Bundle, settings: PolicySettings) -> PolicyEngine:
    """Build the engine of a bundle. Compiles and loads data: never on the event loop."""
    if settings.engine == "opa":
        return OpaEngine(settings.opa_url, revision=bundle.revision, deadline_ms=settings.budget_ms)
    return WasmEngine(
        bundle.wasm,
        bundle.data,
        revision=bundle.revision,
        budget_ms=settings.budget_ms,
        memory_mib=settings.memory_mib,
    )


def make_policy(
    parts: Parts,
    engine: PolicyEngine,
    *,
    source: str,
    strongest: Mapping[str, str],
    path_key: bytes,
    tick_seconds: int,
) -> Policy:
    """Wire the parts into what the authorizer runs on."""
    bundle, catalogue, trust = parts.bundle, parts.catalogue, parts.trust
    wanted = projection(bundle.reads)
    return Policy(
        engine=engine,
        revision=bundle.revision,
        source=source,
        layers=bundle.layers,
        kinds=code_kinds(bundle),
        places=Places(catalogue, wanted, path_key),
        moments=Moments(trust, facts=facts_read(bundle.reads), tick_seconds=tick_seconds),
        wanted=wanted,
        assurance=trust.assurance,
        ranks=catalogue.scheme.ranks(),
        strongest=strongest,
        versions={
            "bundle": bundle.bundle_digest,
            "catalogue": parts.catalogue_digest,
            "trust": parts.trust_digest,
        },
    )


def code_kinds(bundle: Bundle) -> dict[str, str]:
    """Return what would turn each code into an allow: the engine's own codes, and the pack's."""
    kinds: dict[str, str] = {code: entry.kind for code, entry in registry().items()}
    kinds.update({code: reason.kind for code, reason in bundle.reasons.items()})
    return kinds


def facts_read(reads: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the facts the policy reads, so that no other leaves the replica; all known ones if that is not said."""
    if reads is None:
        return tuple(FACTS)
    named = set()
    for pointer in reads:
        if not pointer.startswith(DEVICE_FACTS):
            if DEVICE_FACTS.startswith(pointer.rstrip("/")):
                return tuple(FACTS)
            continue
        parts = pointer[len(DEVICE_FACTS) :].strip("/").split("/")
        if parts == [""]:
            return tuple(FACTS)
        named.add(parts[0].replace("~1", "/").replace("~0", "~"))
    return tuple(sorted(named))


def digest(raw: bytes) -> str:
    """Name a text by its SHA-256."""
    return hashlib.sha256(raw).hexdigest()


def smoke(bundle: Bundle, engine: PolicyEngine) -> None:
    """Ask every entrypoint about nobody, from no device, for nothing: each layer must answer in the legal shape.

    Warms the engine up at the same time. Raises BundleError BUNDLE_SMOKE: a bundle that cannot answer this would deny
    everything, so the one before it stays in force. Raises UnavailableError for what is not the bundle's fault.
    """
    document = nobody()
    kinds = code_kinds(bundle)
    for service, layers in bundle.layers.items():
        try:
            meet(read_layers(engine.evaluate(entrypoint(service), document)), required=layers, known=kinds)
        except UnavailableError as error:
            if error.code in PASSING:
                raise
            raise BundleError("BUNDLE_SMOKE", f"{error.code}: {error.message}", where=entrypoint(service)) from error


def nobody() -> bytes:
    """Return a policy input about an anonymous subject without a device and a resource nobody labelled."""
    return assemble(
        request=b'{"channel":"open","client_ip":"192.0.2.1","hook":"nginx","host":"smoke.invalid","method":"GET",'
        b'"params":{},"path":"/","purpose":null,"route":"/","write":false}',
        subject=subject_fragment(ANONYMOUS, "none", NEVER),
        device=NO_DEVICE,
        resource=b'{"attributes":{},"label":{"audience":[],"caveats":[],"code":"","compartments":[],"integrity":1,'
        b'"purpose":[],"rank":900,"rel_to":[]},"service":"smoke","service_ceiling":0,"state":null}',
        trust=trust_fragment(0, 0, 0, 0, 0, 0),
        grants=b"[]",
        situation=b'{"continuity":false,"overlays":[],"threat_level":0}',
        enforces=b"[]",
        tick_start=0,
        tick_end=5,
    )
