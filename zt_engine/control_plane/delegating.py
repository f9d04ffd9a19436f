"""Administrators who answer for one service: what they may submit, and withdraw."""

from __future__ import annotations

from typing import Protocol

from zt_engine.control_plane.access import Administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.examining import Examiner
from zt_engine.core.errors import BundleError, InputError
from zt_engine.core.release import Release
from zt_engine.ports.inventory import Transaction

DELEGATION = "delegation"
"""Where in the extras of a control plane it is."""


class DelegationJudge(Protocol):
    """Tells what is a service's own."""

    def read(self, record: str) -> Release:
        """Return a record that a bundle key signed."""
        ...

    def within(self, service: str, raw: bytes, active: bytes) -> None:
        """Refuse what differs from the active bundle in anything that is not the service's. Slow; raises ZtError."""
        ...


class Delegation:
    """What owners of services may release at one control plane."""

    def __init__(self, plane: ControlPlane, judge: DelegationJudge) -> None:
        self._plane = plane
        self._judge = judge
        self._examiner = Examiner()

    def close(self) -> None:
        """Examine no more."""
        self._examiner.close()

    def check(self, who: Administrator, record: str, *, staged: bool) -> None:
        """Refuse a submission that is not its submitter's alone to make; InputError or BundleError, answered 403.

        It is compared with its way back, which has to be in force when it is released: who is quicker makes it void.
        """
        if staged:
            raise InputError("AUTH_FORBIDDEN", f"the owner of `{who.service}` stages nothing", where="staged")
        release = self._judge.read(record)
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            active = tx.releases.last("released")
            raw = tx.bundles.get(release.bundle_digest)
            before = None if active is None else tx.bundles.get(active.bundle_digest)
        if active is None or before is None:
            raise BundleError("OWNER_FOREIGN", "nothing is in force to compare with")
        if active.content_digest not in (release.way_back, release.content_digest):
            raise InputError("RELEASE_CONFLICT", "something else is in force than its way back", where="way_back")
        if raw is None:
            raise BundleError("RELEASE_BUNDLE_MISSING", "send the bundle first", where="bundle_digest")
        self._examiner.run(lambda: self._judge.within(who.service, raw, before))


def delegation_of(plane: ControlPlane) -> Delegation:
    """Return it; AUTH_FORBIDDEN where nobody could tell what is whose."""
    found = plane.extras.get(DELEGATION)
    if not isinstance(found, Delegation):
        raise InputError("AUTH_FORBIDDEN", "this control plane takes no releases of services' owners")
    return found


def check_withdrawal(tx: Transaction, who: Administrator, seq: int) -> None:
    """Whether they may take this release back: their own."""
    kept = tx.releases.get(seq)
    if who.service and kept is not None and kept.submitted_by != who.actor:
        raise InputError("AUTH_FORBIDDEN", f"release {seq} is not of the owner of `{who.service}`")
