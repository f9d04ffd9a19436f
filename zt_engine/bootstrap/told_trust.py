"""What a sidecar was told to trust: taken up only if its root signed it, and kept for the next start."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from zt_engine.adapters.trust_document import approvers_of, bundle_keys_of, open_document, root_jwk
from zt_engine.bootstrap.joining import Membership, read_member
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.lease import Staleness
from zt_engine.core.stream import KeySet
from zt_engine.core.trust_root import TrustDocument, bound_staleness, check_limits

log = structlog.get_logger()


def root_of(membership: Membership, settings: Settings) -> Mapping[str, str] | None:
    """Return the root that is believed: the one the settings pin, or the one that was named when the sidecar joined."""
    pinned = settings.control_plane.root_file
    if pinned is None:
        return membership.root
    path = settings.path(pinned)
    try:
        return root_jwk(path.read_bytes(), where=str(path))
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),)) from None


def document_of(membership: Membership, settings: Settings) -> TrustDocument | None:
    """Return the document that is believed; None without one, or when the root that is believed did not sign it."""
    root = root_of(membership, settings)
    if root is None or not membership.trust:
        return None
    try:
        return open_document(root, membership.trust, tenant=membership.tenant)
    except InputError as error:
        log.error("trust.refused", code=error.code, problem=error.message)
        return None


def told_document(settings: Settings) -> TrustDocument | None:
    """Return the document the settings' sidecar believes; None for one that follows no control plane yet."""
    if not settings.control_plane.url:
        return None
    try:
        membership = read_member(settings).membership
    except ConfigError:
        return None
    return document_of(membership, settings)


def site_of(membership: Membership, settings: Settings) -> str:
    """Return the site a sidecar is bound to: the settings', or the one of the token it joined with."""
    bound = membership.bound if membership.bound is not None else membership.site
    return settings.control_plane.site or bound


def taken(membership: Membership, told: KeySet, settings: Settings) -> Membership:
    """Return what is known after a key set, whose signature holds: of its trust document what the root has signed."""
    if told.sidecar not in ("", membership.id):
        log.warning("trust.refused", code="STREAM_TENANT", problem="the key set is another sidecar's")
        return membership
    after = msgspec.structs.replace(
        membership,
        stream_keys=told.stream_keys,
        device_cas=told.device_cas,
        version=told.version,
        site=told.site,
        bound=membership.bound if membership.bound is not None else membership.site,
        labels=told.labels,
        staleness=told.staleness,
        offered=told.trust,
    )
    bound = site_of(membership, settings)
    if told.site not in (bound, membership.site):
        problem = f"it is to stand at `{told.site}` and is bound to `{bound}`: of their limits the shorter ones hold"
        log.warning("trust.refused", code="TRUST_SITE", problem=problem)
    root = root_of(membership, settings)
    if not told.trust or told.trust == membership.trust:
        return after
    try:
        if root is None:
            raise InputError("TRUST_ROOT_UNKNOWN", "a trust document came, and no root is known here to verify it")
        before = document_of(membership, settings)
        document = open_document(
            root, told.trust, tenant=membership.tenant, known=before.version + 1 if before is not None else 0
        )
        approvers_of(document)
        bundle_keys_of(document)
        return msgspec.structs.replace(after, trust=told.trust)
    except InputError as error:
        log.warning("trust.refused", code=error.code, problem=error.message)
        return after


def staleness_of(membership: Membership, settings: Settings) -> Staleness:
    """Return how long what was heard may be decided by at this sidecar's site, as far as it is bound to that."""
    document = document_of(membership, settings)
    tightened = membership.staleness
    try:
        check_limits(tightened)
    except InputError:
        tightened = {}
    signed = document.staleness if document is not None else {}
    return bound_staleness(site_of(membership, settings), membership.site, signed, tightened)
