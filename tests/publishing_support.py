"""Publishing for tests: bundles of a shipped pack in several versions, signed records, approvers, a control plane."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.control_support import NOW, TENANT, URL, Control
from tests.peers import ROOT
from zt_engine.adapters.approvals import approve, read_approvers
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.bootstrap.releasing import Judge, Weakenings, open_releases
from zt_engine.bootstrap.serving_stream import open_stream
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, Bundle, make_bundle, open_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import BundleError
from zt_engine.core.release import Release, approved_content, write_release
from zt_engine.core.weakening import Weakening

COMPILED = ROOT / "policies/compiled/corp.tar.gz"
KEY = BundleSigningKey.generate("site-1")
STREAM = StreamKey.generate()
PEOPLE = {person: Ed25519PrivateKey.generate() for person in ("yamada", "suzuki", "sato")}
APPROVERS = read_approvers(
    {
        person: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for person, key in PEOPLE.items()
    }
)
LOOSE = "loose"
"""A version that has this in its name weakens the one before."""


@cache
def bundle_of(version: str = "1", *, key: BundleSigningKey = KEY, without: tuple[str, ...] = ()) -> bytes:
    """Return a signed bundle of the pack under another version, so that its content is another one."""
    files = dict(bundle_archive.read(COMPILED.read_bytes()))
    manifest = msgspec.json.decode(files.pop(MANIFEST))["metadata"]["zt"]
    files.pop(SIGNATURES, None)
    return make_bundle(
        {name: raw for name, raw in files.items() if name not in without},
        pack=manifest["pack"],
        version=version,
        input_version=manifest["input_version"],
        layers={service: tuple(names) for service, names in manifest["layers"].items()},
        reads=None if manifest["reads"] is None else tuple(manifest["reads"]),
        builtins=manifest["builtins"],
        key=key,
    )


@cache
def opened(raw: bytes) -> Bundle:
    """Return a bundle of ours as a value."""
    return open_bundle(raw, keys={KEY.key_id: KEY.public()})


def record_of(raw: bytes, seq: int, **members: Any) -> Release:
    """Return the record of a bundle."""
    wanted: dict[str, Any] = {
        "tenant": TENANT,
        "seq": seq,
        "content_digest": hashlib.sha256(bundle_archive.read(raw)[MANIFEST]).hexdigest(),
        "bundle_digest": hashlib.sha256(raw).hexdigest(),
        "size": len(raw),
        "not_before": NOW - 60,
        "not_after": NOW + 30 * 86_400,
        "author": "tanaka",
    }
    return Release(**(wanted | members))


def signatures(release: Release, *people: str) -> list[dict[str, str]]:
    """Return what these people sign when they approve a release."""
    return [approve(PEOPLE[person], "release", approved_content(release)) for person in people]


def by_version(active: Bundle | None, candidate: Bundle) -> Sequence[Weakening]:
    """Say that something is weaker when the version says so."""
    if active is None or LOOSE not in candidate.manifest.version or active.content_digest == candidate.content_digest:
        return ()
    return (Weakening(code="WEAKENS_LABEL", where="GET portal/", before="C2", after="C1"),)


class NoCertificates:
    """A certificate authority that has issued nothing."""

    def authorities(self) -> bytes:
        return b"-----BEGIN CERTIFICATE-----"


class QuickJudge(Judge):
    """Everything but the rehearsal, which takes a second."""

    def rehearse(self, bundle: Bundle) -> None:
        """See that it is whole."""
        if bundle.catalogue is None:
            raise BundleError("BUNDLE_FILE_MISSING", "no catalogue")


class Publishing(Control):
    """A control plane with bundle keys, approvers and a stream, and a publisher who works with it."""

    def __init__(
        self, *, people: int = 3, rehearsing: bool = False, weakenings: Weakenings = by_version, **parts: Any
    ) -> None:
        super().__init__(authority=NoCertificates(), extras={}, **parts)
        approvers = dict(list(APPROVERS.items())[:people])
        keys = {KEY.key_id: KEY.public()}
        releases = open_releases(self.plane, keys, approvers, weakenings=weakenings)
        assert releases is not None
        self.releases = releases
        if not rehearsing:
            self.releases.judge = QuickJudge(keys, approvers, weakenings=weakenings)
        self.origin = open_stream(self.plane, STREAM, shared=False)
        self.origin.turn()

    def upload(self, raw: bytes, *, who: str = "owner") -> httpx.Response:
        """Send a bundle."""
        return self.call("PUT", f"/v1/bundles/{hashlib.sha256(raw).hexdigest()}", raw, who=who)

    def publish(
        self,
        version: str,
        *,
        approved_by: Sequence[str] = (),
        who: str = "owner",
        key: BundleSigningKey = KEY,
        extra: dict[str, Any] | None = None,
        **members: Any,
    ) -> httpx.Response:
        """Release a version as a publisher does: ask what is next, send the bundle, sign, submit."""
        raw = bundle_of(version)
        assert self.upload(raw).is_success
        coming = self.call("GET", "/v1/releases/next").json()
        active = coming["active"]
        stated = {"seq": coming["seq"], "way_back": active["content_digest"] if active else ""} | members
        release = record_of(raw, **stated)
        body = {"record": write_release(release, key), "approvals": signatures(release, *approved_by), **(extra or {})}
        return self.call("POST", "/v1/releases", body, who=who)

    def states(self) -> list[tuple[int, str]]:
        """Return what became of each release, newest first."""
        return [(one["seq"], one["state"]) for one in self.call("GET", "/v1/releases").json()["items"]]

    def join(self, name: str = "edge-1") -> StreamKey:
        """Have a sidecar join."""
        token = self.call("POST", "/v1/sidecars/tokens", {"sidecar": name}).json()["token"]
        key = StreamKey.generate()
        assert self.call("POST", "/v1/sidecars", {"token": token, "public_key": dict(key.jwk)}, who=None).is_success
        return key

    def as_sidecar(
        self, key: StreamKey, method: str, path: str, body: object = None, *, name: str = "edge-1", **headers: str
    ) -> httpx.Response:
        """Send a request of a sidecar."""
        proof = statement(key, sidecar=name, audience=URL, now=self.clock.now())
        return self.call(method, path, body, who=None, authorization=f"Bearer {proof}", **headers)

    def acknowledge(self, key: StreamKey, name: str = "edge-1", **said: Any) -> None:
        """Have a sidecar say what it has."""
        body = {"nonce": secrets.token_hex(16), "applied_seq": 0, **said}
        assert self.as_sidecar(key, "POST", "/v1/status", body, name=name).is_success
