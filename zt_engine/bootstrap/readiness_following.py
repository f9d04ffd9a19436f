"""The policy in a folder, asked about devices, and read again when it has become another one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from device_inventory.device import DeviceRecord
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.following import POLICY_FILES
from zt_engine.bootstrap.readiness import PolicyReadiness, read_readiness
from zt_engine.control_plane.remedies import Readiness, Unmet
from zt_engine.core.classification import Level
from zt_engine.core.errors import ZtError

log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int], ...]


class FolderReadiness:
    """The `Readiness` of a folder. Whoever finds it changed compiles it, while the others still ask the one before."""

    def __init__(
        self, folder: Path, keys: Mapping[str, BundlePublicKey], *, otherwise: Readiness, strongest: str = ""
    ) -> None:
        """`otherwise` answers until a policy has been read; `strongest` as in `PolicyReadiness`."""
        self._folder = folder
        self._keys = keys
        self._otherwise = otherwise
        self._strongest = strongest
        self._stamp: _Stamp | None = None
        self._current: PolicyReadiness | None = None
        self.codes = CodeTexts()
        """What codes mean to people, those of the present policy among them."""
        self._lock = threading.Lock()
        self._policy()  # now rather than in the first report's time

    def believe(self, keys: Mapping[str, BundlePublicKey]) -> None:
        """Read the policy again under other keys; while none holds, the one before answers."""
        self._keys, self._stamp = keys, None

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        """Return what the present policy misses about a device. Never raises."""
        return (self._policy() or self._otherwise).unmet(record, now=now)

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        """Return the highest label a device may be used for; empty for none, or without a policy."""
        policy = self._policy()
        return "" if policy is None else policy.labels(record, now=now)

    def levels(self) -> Mapping[str, Level]:
        """Return the labels of the present policy, with the names people know them by; empty without a policy."""
        policy = self._policy()
        return {} if policy is None else policy.levels

    def close(self) -> None:
        """Free the engine."""
        with self._lock:
            if self._current is not None:
                self._current.close()

    def _policy(self) -> PolicyReadiness | None:
        stamp = self._look()
        if stamp is not None and stamp != self._stamp and self._lock.acquire(blocking=False):
            try:
                self._take(stamp)
            finally:
                self._lock.release()
        return self._current

    def _take(self, stamp: _Stamp) -> None:
        # A policy that is refused is not read over and over; the sidecars keep the one before as well.
        self._stamp = stamp
        try:
            policy = read_readiness(self._folder, self._keys, strongest=self._strongest)
        except ZtError as error:
            log.warning("readiness.policy_refused", code=error.code, where=error.where)
            return
        before, self._current = self._current, policy
        self.codes.replace(policy.reasons)
        if before is not None:
            before.close()

    def _look(self) -> _Stamp | None:
        try:
            seen = [(self._folder / name).stat() for name in POLICY_FILES]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in seen)
