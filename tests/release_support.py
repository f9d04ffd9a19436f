"""Releases for tests: signed records around compiled packs, and whatever can be wrong with them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.sidecar_support import InProcess
from tests.stream_server import Plane
from zt_engine.adapters.approvals import Approver, approve, key_id
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.core.approval import Approval
from zt_engine.core.bundle import MANIFEST, sign_bundle
from zt_engine.core.bundle_archive import read
from zt_engine.core.jose import from_base64url
from zt_engine.core.release import Release, ReleaseNotice, approved_content, write_notice, write_release

TENANT = "default"
DAY = 86_400


def record_of(raw: bytes, *, seq: int, now: float | None = None, **members: Any) -> Release:
    """The record of a bundle, in force from an hour ago until tomorrow."""
    at = int(time.time() if now is None else now)
    release = Release(
        tenant=TENANT, seq=seq, content_digest=hashlib.sha256(read(raw)[MANIFEST]).hexdigest(),
        bundle_digest=hashlib.sha256(raw).hexdigest(), size=len(raw), not_before=at - 3600, not_after=at + DAY,
        author="publisher",
    )  # fmt: skip
    return msgspec.structs.replace(release, **members)


def notice_of(
    release: Release, key: BundleSigningKey, *, people: Sequence[Ed25519PrivateKey] = (), **members: Any
) -> ReleaseNotice:
    """The notice of a record, signed, and approved by these people."""
    given = [approve(person, "release", approved_content(release)) for person in people]
    notice = ReleaseNotice(
        seq=release.seq, record=write_release(release, key), approvals=tuple(Approval(**one) for one in given)
    )
    return msgspec.structs.replace(notice, **members)


def published(unsigned: bytes, key: BundleSigningKey, *, seq: int, **members: Any) -> tuple[ReleaseNotice, bytes]:
    """A whole release: its notice and its bytes."""
    raw = sign_bundle(unsigned, key)
    return notice_of(record_of(raw, seq=seq, **members), key), raw


def approvers_of(people: Mapping[str, Ed25519PrivateKey]) -> dict[str, Approver]:
    """The keys of people as a sidecar knows them."""
    return {key_id(key.public_key()): Approver(person, key.public_key()) for person, key in people.items()}


def tell(plane: Plane, notice: ReleaseNotice, raw: bytes = b"") -> None:
    """Have a bundle at the control plane, and everybody told of it."""
    release = msgspec.json.decode(payload_of(notice))
    with plane.store.writing("default") as tx:
        if raw and not tx.bundles.has(release["bundle_digest"]):
            tx.bundles.put(release["bundle_digest"], raw, now=plane.now())
        tx.outbox.announce("bundle.released", write_notice(notice))


def payload_of(notice: ReleaseNotice) -> bytes:
    return from_base64url(notice.record.split(".")[1].encode())


def seq_of(sidecar: InProcess) -> int:
    control = sidecar.program.control
    assert control is not None and control.releases is not None
    return control.releases.bundle_seq
