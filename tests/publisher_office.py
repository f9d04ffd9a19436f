"""A publisher before a whole control plane: its client speaks to the application without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.control_support import Control
from tests.peers import ROOT
from zt_engine.adapters.approvals import Approver, approve, key_id
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.releases_http import ReleasesHttp
from zt_engine.bootstrap.policy_before import Before, since
from zt_engine.bootstrap.publishing import Publisher
from zt_engine.bootstrap.release_reading import ReleaseReader
from zt_engine.bootstrap.releasing import open_releases
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, Bundle, make_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import InputError
from zt_engine.core.release import approved_content
from zt_engine.core.weakening import Weakening

KEY = BundleSigningKey.generate("site-1")
PEOPLE = {person: Ed25519PrivateKey.generate() for person in ("yamada", "suzuki")}
APPROVERS = {key_id(key.public_key()): Approver(person, key.public_key()) for person, key in PEOPLE.items()}
COMPILED = ROOT / "policies/compiled/corp.tar.gz"


_found: dict[tuple[str, str], tuple[Weakening, ...]] = {}


def remembered(active: Bundle | None, candidate: Bundle) -> tuple[Weakening, ...]:
    """What a candidate weakens, found out once for each pair: both ends of a release ask."""
    pair = ("" if active is None else active.content_digest, candidate.content_digest)
    if pair not in _found:
        _found[pair] = weakenings(active, candidate)
    return _found[pair]


class CalledClient:
    """Does what `ControlClient` does, as the application answers it."""

    def __init__(self, control: Control, who: str = "owner") -> None:
        self._control = control
        self._who = who

    def get(self, *path: str, **query: Any) -> dict[str, Any]:
        return self._json("GET", path, query=query)

    def post(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", path, body=dict(body))

    def delete(self, *path: str, **query: Any) -> dict[str, Any]:
        return self._json("DELETE", path, query=query)

    def put_bytes(self, *path: str, content: bytes) -> dict[str, Any]:
        self._call("PUT", path, content=content)
        return {}

    def get_bytes(self, *path: str) -> bytes:
        return self._call("GET", path)

    def _json(self, method: str, path: tuple[str, ...], *, body: object = None, query: Any = None) -> dict[str, Any]:
        given = urlencode({name: value for name, value in (query or {}).items() if value not in (None, "")})
        answer = self._call(method, path, body=body, query=given)
        found: dict[str, Any] = json.loads(answer) if answer else {}
        return found

    def _call(
        self, method: str, path: tuple[str, ...], *, body: object = None, query: str = "", content: bytes | None = None
    ) -> bytes:
        url = "/" + "/".join(quote(part, safe="") for part in path) + (f"?{query}" if query else "")
        sent = {} if content is None else {"content_type": "application/octet-stream"}
        answer = self._control.call(method, url, body if content is None else content, who=self._who, **sent)
        if not answer.is_success:
            told = answer.json()
            raise InputError(told["code"], told["detail"], where=told.get("where", ""), hint=str(answer.status_code))
        return answer.content


class Office:
    """A control plane with releases, a publisher and two approvers."""

    def __init__(
        self, control: Control, *, approvers: bool = True, key: BundleSigningKey = KEY,
        before: Callable[[], Before | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.control = control
        self.before = before
        self.key = key
        self.keys = {key.key_id: key.public()}
        known = APPROVERS if approvers else {}
        self.releases = open_releases(control.plane, self.keys, known, weakenings=since(before, remembered))
        self.publisher = self.publisher_of()
        self.plane = self.publisher.plane
        self.reader = ReleaseReader(self.plane, self.keys, before=before)

    def publisher_of(self, who: str = "owner") -> Publisher:
        return Publisher(
            ReleasesHttp(CalledClient(self.control, who)),  # type: ignore[arg-type]
            self.key, clock=self.control.clock.now, days=30, author="tanaka", before=self.before,
        )  # fmt: skip

    def approve(self, seq: int, person: str) -> dict[str, Any]:
        return self.plane.approve(seq, approve(PEOPLE[person], "release", approved_content(self.reader.record(seq))))


def version(name: str, edits: Mapping[str, tuple[str, str]] | None = None, *, key: BundleSigningKey = KEY) -> bytes:
    """The compiled pack under another version, with texts of some files replaced."""
    return remade(COMPILED.read_bytes(), name, edits, key=key)


def remade(
    raw: bytes, name: str | None, edits: Mapping[str, tuple[str, str]] | None = None, *, key: BundleSigningKey = KEY
) -> bytes:
    """A bundle with texts of some files replaced, `""` for a file that is not there, and its module left alone."""
    files = dict(bundle_archive.read(raw))
    manifest = json.loads(files.pop(MANIFEST))["metadata"]["zt"]
    files.pop(SIGNATURES, None)
    for file, (old, new) in (edits or {}).items():
        text = files.get(file, b"").decode()
        assert old in text
        files[file] = text.replace(old, new, 1).encode()
    return make_bundle(
        files,
        pack=manifest["pack"],
        version=name or manifest["version"],
        input_version=manifest["input_version"],
        layers={service: tuple(names) for service, names in manifest["layers"].items()},
        reads=None if manifest["reads"] is None else tuple(manifest["reads"]),
        builtins=manifest["builtins"],
        key=key,
    )
