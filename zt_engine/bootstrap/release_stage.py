"""Where releases decide: the authorizer, the log that its decisions are replayed from, the texts for people."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.adapters.release_disk import ReleaseDisk
from zt_engine.adapters.release_fetch import BundleFetcher
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.following import FolderFollower
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust
from zt_engine.core.bundle import Bundle
from zt_engine.sidecar.authorize import Authorizer

log = structlog.get_logger()

SOURCE = "control_plane"


class ReleaseStage:
    """Switches bundle, catalogue and trust model together."""

    def __init__(
        self,
        authorizer: Authorizer,
        folder: FolderFollower,
        texts: CodeTexts,
        decision_log: DecisionLog,
        trust: Callable[[], ReleaseTrust],
        *,
        path_key: bytes,
        tick_seconds: int,
    ) -> None:
        self._authorizer = authorizer
        self._folder = folder
        self._texts = texts
        self._log = decision_log
        self._trust = trust
        self._path_key = path_key
        self._tick_seconds = tick_seconds

    def archive(self, opened: Opened) -> None:
        """Keep bundle, catalogue and trust model by their digests."""
        for kind, digest, raw in _texts(opened):
            self._log.archive(kind, digest, raw)

    def switch(self, opened: Opened) -> None:
        """Have a release decide from the next request on, and the folder never again."""
        self._folder.supersede()
        policy = activation.make_policy(
            opened.parts,
            opened.engine,
            source=SOURCE,
            strongest=self._trust().strongest,
            path_key=self._path_key,
            tick_seconds=self._tick_seconds,
        )
        for kind, digest, _ in _texts(opened):
            self._log.note(kind, digest)
        self._authorizer.activate(policy)
        self._texts.replace(opened.parts.bundle.reasons)
        log.info("policy.activated", revision=policy.revision, **policy.versions)

    def withdraw(self, code: str, message: str) -> None:
        """Have nothing decide."""
        self._folder.supersede()
        self._authorizer.withdraw(code, message)


def _texts(opened: Opened) -> tuple[tuple[str, str, bytes], ...]:
    bundle: Bundle = opened.parts.bundle
    return (
        ("bundle", bundle.bundle_digest, opened.raw),
        ("catalogue", opened.parts.catalogue_digest, bundle.catalogue or b""),
        ("trust", opened.parts.trust_digest, bundle.trust or b""),
    )


def releases_of(control: ControlFollower, stage: ReleaseStage, trust: Callable[[], ReleaseTrust]) -> ReleaseFollower:
    """Return what follows the releases that a control plane tells of."""
    return ReleaseFollower(
        control.sync,
        tenant=control.member.membership.tenant,
        disk=ReleaseDisk(control.member.folder / "release"),
        fetcher=BundleFetcher(control.client),
        stage=stage,
        trust=trust,
        now=control.now,
        draw=control.draw,
        changed=control.updates.set,
    )
