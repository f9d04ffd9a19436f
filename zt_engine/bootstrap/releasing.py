"""Policy releases of a control plane, wired: whose keys count, and how a candidate is examined."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from zt_engine.adapters.approvals import Approvers, verify_approvals
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.opa_clients import OpaClients
from zt_engine.adapters.opa_log_files import OpaLogFiles
from zt_engine.bootstrap.activation import make_engine, read_bundle, read_catalogue, read_trust, smoke
from zt_engine.bootstrap.delegating import check_delegated
from zt_engine.config import Policy
from zt_engine.control_plane.api.opa import OPA
from zt_engine.control_plane.api.releases import RELEASES
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.delegating import DELEGATION, Delegation
from zt_engine.control_plane.opa import OpaService
from zt_engine.control_plane.released_names import NAMES, ReleasedNames
from zt_engine.control_plane.releases import Releases
from zt_engine.control_plane.rollouts import stage_release
from zt_engine.core import bundle_archive
from zt_engine.core.approval import Approval
from zt_engine.core.bundle import CATALOGUE, TRUST, Bundle, open_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.effect_names import EffectNames
from zt_engine.core.errors import BundleError
from zt_engine.core.release import Release, approved_content, check_release, check_turn, read_release
from zt_engine.core.weakening import Weakening
from zt_engine.ports.releases import Examined

Weakenings = Callable[[Bundle | None, Bundle], Sequence[Weakening]]
_WORD: Final = re.compile(rb"[a-z][a-z0-9_]{0,63}")
_QUOTED: Final = re.compile(rb'["`]([a-z][a-z0-9_]{0,63})["`]')
_ENGINE: Final = Policy(budget_ms=1000)
"""A candidate is rehearsed on the engine that sidecars have by default, and in no hurry."""


class Judge:
    """Verifies a release as every sidecar does, with the keys and approvers that are believed here."""

    def __init__(
        self,
        keys: Mapping[str, BundlePublicKey],
        approvers: Approvers,
        *,
        weakenings: Weakenings,
        always: bool = False,
    ) -> None:
        self.always = always
        self._keys = keys
        self._approvers = approvers
        self._weakenings = weakenings

    @property
    def people(self) -> int:
        """How many people may approve."""
        return len({approver.person for approver in self._approvers.values()})

    def believe(self, keys: Mapping[str, BundlePublicKey], approvers: Approvers) -> None:
        """Judge by these from now on."""
        self._keys, self._approvers = keys, approvers

    def read(self, record: str) -> Release:
        """Return a record that a bundle key signed."""
        return read_release(record, self._keys, where="record")

    def check_time(self, release: Release, *, now: float) -> None:
        """Whether a release may be in force now."""
        check_turn(release, active_seq=0, minimum_seq=0, now=now)

    def approved(self, release: Release, approvals: Sequence[Approval]) -> tuple[str, ...]:
        """Return the people who approved it; one signature that does not hold spoils all."""
        return verify_approvals("release", approved_content(release), approvals, approvers=self._approvers, needed=0)

    def examine(self, release: Release, raw: bytes, active: bytes | None, *, active_seq: int, now: float) -> Examined:
        """Open a candidate, read its models, ask every entrypoint, and compare it with what is active."""
        bundle = read_bundle(raw, self._keys)
        check_release(release, bundle, active_seq=active_seq, minimum_seq=0, now=now, from_folder=False)
        self.rehearse(bundle)
        before = None if active is None else _reopened(active)
        return Examined(revision=bundle.revision, weakens=tuple(self._weakenings(before, bundle)))

    def within(self, service: str, raw: bytes, active: bytes) -> None:
        """Refuse what differs from what is active in anything that is not the service's."""
        check_delegated(raw, read_bundle(raw, self._keys), active, _reopened(active), service=service)

    def rehearse(self, bundle: Bundle) -> None:
        """Have a candidate answer once for every service, by its own catalogue and trust model."""
        if bundle.catalogue is None or bundle.trust is None:
            missing = CATALOGUE if bundle.catalogue is None else TRUST
            raise BundleError("BUNDLE_FILE_MISSING", "a release holds its own", where=missing)
        read_catalogue(bundle.catalogue, where=CATALOGUE)
        read_trust(bundle.trust, where=TRUST)
        engine = make_engine(bundle, _ENGINE)
        try:
            smoke(bundle, engine)
        finally:
            engine.close()


def open_opa(plane: ControlPlane, *, clients: Path, logs: Path) -> OpaService:
    """Serve OPA clients: their tokens' file, and the folder their decision logs go to."""
    service = OpaService(plane, OpaClients(clients), OpaLogFiles(logs))
    plane.extras[OPA] = service
    releases = plane.extras.get(RELEASES)
    if isinstance(releases, Releases):
        releases.changed = service.feed.wake
    return service


def close_releases(plane: ControlPlane) -> None:
    """Let no OPA wait for a release any more, and examine none."""
    service, releases = plane.extras.get(OPA), plane.extras.get(RELEASES)
    if isinstance(service, OpaService):
        service.feed.close()
    if isinstance(releases, Releases):
        releases.close()
    delegation = plane.extras.get(DELEGATION)
    if isinstance(delegation, Delegation):
        delegation.close()


def _reopened(raw: bytes) -> Bundle:
    """Return what is active, which was verified when it was released; its key may have been taken out since."""
    files = {name: content for name, content in bundle_archive.read(raw).items() if name != SIGNATURES}
    return open_bundle(bundle_archive.write(files), keys={}, require_signature=False)


def _names(raw: bytes) -> EffectNames:
    """Return the names that effects of overlays may have by a released bundle.

    What stands in quotes in its Rego and data, and each word of its catalogue, may be an obligation: rather one too
    many, since a pack names its own and nothing lists them.
    """
    bundle = _reopened(raw)
    texts = b"\n".join(
        content for name, content in bundle_archive.read(raw).items() if name.endswith((".rego", ".json"))
    )
    found = {*_QUOTED.findall(texts), *_WORD.findall(bundle.catalogue or b"")}
    acrs = frozenset() if bundle.trust is None else frozenset(read_trust(bundle.trust, where=TRUST).assurance)
    return EffectNames(acrs=acrs, words=frozenset(word.decode("ascii") for word in found))


def open_releases(
    plane: ControlPlane, keys: Mapping[str, BundlePublicKey], approvers: Approvers, *, weakenings: Weakenings
) -> Releases | None:
    """Put the releases of a control plane where its routes find them; None where no bundle key is configured."""
    if not keys:
        return None
    judge = Judge(keys, approvers, weakenings=weakenings)
    releases = Releases(plane, judge)
    releases.stage = lambda tx, plan: stage_release(tx, plan, now=plane.now())
    plane.extras[RELEASES] = releases
    plane.extras[NAMES] = ReleasedNames(_names)
    plane.extras[DELEGATION] = Delegation(plane, judge)
    return releases
