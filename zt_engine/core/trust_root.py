"""What a tenant's offline root vouches for: approvers, bundle keys, and how stale what was heard may grow at each site.

The control plane hands the document on and can neither make nor change it: whoever owns the control plane and its keys
still cannot approve, sign policy, or let a sidecar that is cut off decide for longer. Its versions only grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from zt_engine.core.bundle_signature import PublicKey, SigningKey, sign
from zt_engine.core.errors import InputError
from zt_engine.core.lease import Staleness
from zt_engine.core.stream_signing import payload_of

TRUST_TYPE: Final = "zt-trust+jwt"
EVERYWHERE: Final = "*"
"""The site that stands for all that are not named."""
LONGEST: Final[Mapping[str, float]] = {"C1": 30 * 86_400.0, "C2": 86_400.0, "C3": 10.0}
"""What not even the root may loosen: nothing secret is decided by what was heard more than ten seconds ago."""

Seconds = Annotated[int, msgspec.Meta(gt=0)]
Limits = Mapping[str, Seconds]
"""Seconds by label: C1, C2, C3."""


class SignedApprover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person and the Ed25519 point of their key, base64url."""

    person: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    x: Annotated[str, msgspec.Meta(min_length=43, max_length=43)]


class TrustDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the root signs."""

    tenant: str
    version: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    approvers: Mapping[str, SignedApprover] = {}
    """By key id. Empty: the settings of each sidecar say who approves."""
    bundle_keys: Mapping[str, Mapping[str, str]] = {}
    """JWKs by key id. Empty: the settings of each sidecar say which keys sign policy."""
    staleness: Mapping[str, Limits] = {}
    """By site, or `*`."""


def seal_trust(document: TrustDocument, root: SigningKey) -> str:
    """Return a document as it is handed on."""
    check_limits(document.staleness)
    return sign(msgspec.json.encode(document, order="sorted"), root, kind=TRUST_TYPE)


def open_trust(raw: str, root: PublicKey, root_id: str, *, tenant: str, known: int) -> TrustDocument:
    """Return a document that the root signed, at least as new as the known one.

    InputError STREAM_* where the signature does not hold, TRUST_DOCUMENT, or TRUST_ROLLBACK.
    """
    payload = payload_of(raw.encode("ascii", "replace"), TRUST_TYPE, {root_id: root})
    try:
        document = msgspec.json.decode(payload, type=TrustDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError("TRUST_DOCUMENT", str(error)[:200]) from None
    if document.tenant != tenant:
        raise InputError("STREAM_TENANT", "it belongs to another tenant")
    check_limits(document.staleness)
    if document.version < known:
        raise InputError("TRUST_ROLLBACK", f"version {document.version}, and {known} is known")
    return document


def check_limits(staleness: Mapping[str, Limits]) -> None:
    """Refuse limits that nobody may set; InputError TRUST_DOCUMENT."""
    for site, limits in staleness.items():
        for label, seconds in limits.items():
            if label not in LONGEST or not 0 < seconds <= LONGEST[label]:
                raise InputError("TRUST_DOCUMENT", f"`{site}`: `{label}` for {seconds} seconds is not to be had")


def staleness_at(site: str, signed: Mapping[str, Limits], tightened: Mapping[str, Limits]) -> Staleness:
    """Return what holds at a site: what the root signed for it, or the defaults; and no more than the key set says.

    INVARIANT: without the root nothing is longer than the defaults, and C3 is never longer than ten seconds.
    """
    base = {"C1": Staleness().c1, "C2": Staleness().c2, "C3": Staleness().c3}
    base |= _of(site, signed)
    for label, seconds in _of(site, tightened).items():
        base[label] = min(base.get(label, seconds), seconds)
    return Staleness(
        c1=min(base["C1"], LONGEST["C1"]), c2=min(base["C2"], LONGEST["C2"]), c3=min(base["C3"], LONGEST["C3"])
    )


def bound_staleness(bound: str, told: str, signed: Mapping[str, Limits], tightened: Mapping[str, Limits]) -> Staleness:
    """Return what holds for a sidecar bound to one site and told that it stands at another: of both the shorter.

    INVARIANT: who says where a sidecar stands makes nothing longer than it is at the site that it is bound to.
    """
    here, there = staleness_at(bound, signed, tightened), staleness_at(told, signed, tightened)
    return Staleness(c1=min(here.c1, there.c1), c2=min(here.c2, there.c2), c3=min(here.c3, there.c3))


def _of(site: str, limits: Mapping[str, Limits]) -> dict[str, float]:
    return {**limits.get(EVERYWHERE, {}), **(limits.get(site, {}) if site else {})}
