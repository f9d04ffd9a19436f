"""The control plane as a publisher sees it: the routes of releases, asked with an admin key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from zt_engine.adapters.control_http import ControlClient
from zt_engine.core.errors import UnavailableError
from zt_engine.core.release import ReleaseNotice

ToldT = TypeVar("ToldT")


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """The release in force."""

    seq: int
    content_digest: str
    bundle_digest: str


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What the next release has to be: its tenant and number, what is in force, how many people a weakening needs."""

    tenant: str
    seq: int
    active: Active | None = None
    approvals: int = 0
    approvals_always: bool = False
    """Whether so many approve every release, not only what weakens."""


class ReleasesHttp:
    """The releases of one control plane. Refusals are InputError with its code, silence is UnavailableError."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def next(self) -> Next:
        """Return what the next release has to be."""
        return _read(self._client.get("v1", "releases", "next"), Next)

    def put_bundle(self, digest: str, raw: bytes) -> None:
        """Have the bytes of a bundle kept; the same ones again change nothing."""
        self._client.put_bytes("v1", "bundles", digest, content=raw)

    def bundle(self, digest: str) -> bytes:
        """Return the bytes of a bundle; whoever believes them compares the digest first."""
        return self._client.get_bytes("v1", "bundles", digest)

    def submit(self, notice: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a release; the answer says whether it is `released` or `waiting`."""
        return self._client.post("v1", "releases", body=notice)

    def get(self, seq: int) -> dict[str, Any]:
        """Return what is held of a release."""
        return self._client.get("v1", "releases", str(seq))

    def history(self, *, most: int = 200) -> list[dict[str, Any]]:
        """Return releases, newest first."""
        found: list[dict[str, Any]] = []
        before = 0
        while len(found) < most:
            page = self._client.get("v1", "releases", before=before, limit=min(100, most - len(found)))
            found += page["items"]
            if page["next"] is None:
                break
            before = page["next"]
        return found

    def approve(self, seq: int, approval: Mapping[str, str]) -> dict[str, Any]:
        """Hand in a person's signature."""
        return self._client.post("v1", "releases", str(seq), "approvals", body=approval)

    def status(self, seq: int) -> dict[str, Any]:
        """Return who has it, since when, and why not."""
        return self._client.get("v1", "releases", str(seq), "status")

    def withdraw(self, seq: int, reason: str) -> None:
        """Take a waiting release back."""
        self._client.delete("v1", "releases", str(seq), reason=reason)


def notice_of(told: Mapping[str, Any]) -> ReleaseNotice:
    """Return the notice in what is held of a release."""
    return _read(told.get("notice", told), ReleaseNotice)


def _read(told: object, kind: type[ToldT]) -> ToldT:
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise UnavailableError("CONTROL_UNREACHABLE", f"no answer about releases: {error}") from None
