"""From a notice to something that may be switched to: everything is verified before anything is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from zt_engine.adapters.approvals import Approvers, verify_approvals
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.release_smoke import Smoke
from zt_engine.config import Policy as PolicySettings
from zt_engine.core.bundle import CATALOGUE, TRUST, Bundle
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.release import Release, ReleaseNotice, approved_content, check_bundle, record_of
from zt_engine.ports import PolicyEngine

SMOKE = Smoke()
TRIES = 3
"""So often may the engine be late before that is the bundle's fault."""


class ReleaseTrust(msgspec.Struct, frozen=True):
    """Whose releases count, and what they run on."""

    keys: Mapping[str, BundlePublicKey]
    approvers: Approvers
    settings: PolicySettings
    strongest: Mapping[str, str]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A release that holds, compiled and tried."""

    notice: ReleaseNotice
    release: Release
    raw: bytes
    parts: activation.Parts
    engine: PolicyEngine
    key: BundlePublicKey | None
    """The key that signed the bundle."""


def believed(notice: ReleaseNotice, trust: ReleaseTrust, *, tenant: str) -> Release:
    """Return the record of a notice: signed by a key, and approved by as many people as it needs.

    Raises BundleError, or InputError APPROVAL_*. An approval by a key nobody knows here counts for nothing; a wrong one
    by a known key spoils the release.
    """
    release = record_of(notice, trust.keys, tenant=tenant)
    if release.approvals_needed:
        known = [approval for approval in notice.approvals if approval.key_id in trust.approvers]
        verify_approvals(
            "release", approved_content(release), known, approvers=trust.approvers, needed=release.approvals_needed
        )
    return release


def open_release(notice: ReleaseNotice, raw: bytes, trust: ReleaseTrust, *, tenant: str) -> Opened:
    """Verify, compile and try a release. Not for the event loop; the caller closes the engine of what is not used.

    Raises BundleError, InputError or ConfigError when it is refused, UnavailableError when it may be tried again.
    """
    release = believed(notice, trust, tenant=tenant)
    where = f"release {release.seq}"
    if len(raw) != release.size or hashlib.sha256(raw).hexdigest() != release.bundle_digest:
        raise BundleError("BUNDLE_RELEASE", "these are not the bytes the record is of", where=where)
    bundle = activation.read_bundle(raw, trust.keys, baselines=trust.settings.baselines)
    check_bundle(release, bundle)
    parts = _parts(bundle)
    return Opened(
        notice=notice,
        release=release,
        raw=raw,
        parts=parts,
        engine=_engine(parts, trust.settings),
        key=trust.keys.get(bundle.key_id) if bundle.key_id is not None else None,
    )


def warm_release(release: Release, raw: bytes, trust: ReleaseTrust) -> object:
    """Verify and compile what may be released, and return what keeps it compiled; raises ZtError. In a thread."""
    if hashlib.sha256(raw).hexdigest() != release.bundle_digest:
        raise BundleError("BUNDLE_RELEASE", "these are not the bytes the record is of")
    bundle = activation.read_bundle(raw, trust.keys, baselines=trust.settings.baselines)
    check_bundle(release, bundle)
    parts = _parts(bundle)
    if trust.settings.engine != "wasm":
        return None
    compiled = WasmEngine.compile(bundle.wasm)
    _engine(parts, trust.settings).close()
    return compiled


def _parts(bundle: Bundle) -> activation.Parts:
    catalogue, model = _held(bundle.catalogue, CATALOGUE), _held(bundle.trust, TRUST)
    return activation.Parts(
        bundle=bundle,
        catalogue=activation.read_catalogue(catalogue, where=CATALOGUE),
        catalogue_digest=activation.digest(catalogue),
        trust=activation.read_trust(model, where=TRUST),
        trust_digest=activation.digest(model),
    )


def _held(content: bytes | None, name: str) -> bytes:
    if content is None:
        raise BundleError("BUNDLE_FILE_MISSING", "a release holds its own", where=name, hint="zt policy build")
    return content


def _engine(parts: activation.Parts, settings: PolicySettings) -> PolicyEngine:
    bundle = parts.bundle
    try:
        engine = activation.make_engine(bundle, settings)
    except UnavailableError as error:
        if settings.engine == "wasm":  # nothing outside this process is asked, so another try ends alike
            raise BundleError("BUNDLE_SMOKE", f"{error.code}: {error.message}") from error
        raise
    try:
        _try(bundle, engine, settings)
        SMOKE.check(parts, engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _try(bundle: Bundle, engine: PolicyEngine, settings: PolicySettings) -> None:
    for left in reversed(range(TRIES)):
        try:
            activation.smoke(bundle, engine)
        except UnavailableError as error:
            if settings.engine != "wasm":
                raise
            if not left:
                raise BundleError("BUNDLE_SMOKE", f"{error.code}: {error.message}") from error
        else:
            return
