"""Whose signatures count at a control plane: those its offline root names, as at every sidecar, else its settings'.

What was believed last is kept beside the file it came from: a file that was removed, broken or put back to an older
version brings no approver and no key back that the root has taken out, not even with a restart.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from zt_engine.adapters.approvals import Approvers
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.trust_document import TrustHandout, approvers_of, bundle_keys_of, open_document, root_jwk
from zt_engine.config import ControlSettings
from zt_engine.core.errors import ConfigError, InputError, Problem, ZtError
from zt_engine.core.trust_root import TrustDocument

log = structlog.get_logger()

KNOWN_SUFFIX = ".known"


class ControlTrust:
    """The trust document of a control plane, taken up whenever its file is another one; `changed` is told of it."""

    def __init__(
        self, settings: ControlSettings, bundle_keys: Mapping[str, BundlePublicKey], approvers: Approvers
    ) -> None:
        """`bundle_keys` and `approvers` are the settings'; ConfigError or InputError for a document that is refused."""
        self._settings = settings
        self._own_keys, self._own_approvers = bundle_keys, approvers
        self._path = settings.path(settings.control.trust_file)
        self._known = self._path.with_name(self._path.name + KNOWN_SUFFIX)
        self._pinned = self._pin()
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._handout: TrustHandout | None = None
        self._document: TrustDocument | None = None
        self.changed: Callable[[], None] = lambda: None
        self._start()

    @property
    def bundle_keys(self) -> Mapping[str, BundlePublicKey]:
        """The keys that sign policy."""
        document = self._document
        return bundle_keys_of(document) if document is not None and document.bundle_keys else self._own_keys

    @property
    def approvers(self) -> Approvers:
        """The people who approve."""
        document = self._document
        return approvers_of(document) if document is not None and document.approvers else self._own_approvers

    def own(self, bundle_keys: Mapping[str, BundlePublicKey], approvers: Approvers) -> None:
        """Take up what the settings say now; what the root names still comes before it."""
        self._own_keys, self._own_approvers = bundle_keys, approvers
        self.changed()

    def handout(self) -> TrustHandout | None:
        """Return what sidecars are handed: nothing that is not believed here."""
        return self._handout

    def refresh(self, *, again: bool = False) -> bool:
        """Take up another document; False for one that is refused, and what was believed before stands.

        A file that has not changed is looked at only if it is to be `again`. Reads files: not for the event loop.
        """
        try:
            with self._lock:
                taken = self._read(again=again)
        except ZtError as error:
            log.error("trust.refused", code=error.code, where=str(self._path), problem=error.message)
            return False
        if taken and self._document is not None:
            log.info("trust.changed", where=str(self._path), version=self._document.version)
            self.changed()
        return True

    def _start(self) -> None:
        if self._known.exists():
            self._take(_decoded(self._known))
            self.refresh()
        else:
            self._read(again=False)

    def _read(self, *, again: bool) -> bool:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp = None
            return False
        except OSError as error:
            raise _unread(self._path, error) from None
        stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if stamp == self._stamp and not again:
            return False
        self._stamp = stamp
        told = _decoded(self._path)
        if told == self._handout:
            return False
        self._take(told)
        self._keep()
        return True

    def _take(self, told: TrustHandout) -> None:
        """Verify a document and believe it: signed by the root that is known, of a higher version than the known."""
        if self._pinned is not None and dict(told.root) != self._pinned:
            raise InputError("TRUST_ROOT_UNKNOWN", "it names another root than `control_plane.root_file`")
        known = 0
        if self._handout is not None and self._document is not None:
            if dict(told.root) == dict(self._handout.root):
                known = self._document.version + 1
            elif self._pinned is None:
                raise InputError("TRUST_ROOT_UNKNOWN", f"it names another root; that of before is in {self._known}")
        document = open_document(told.root, told.document, tenant=self._settings.sidecar.tenant, known=known)
        approvers_of(document)
        bundle_keys_of(document)
        self._handout, self._document = told, document

    def _keep(self) -> None:
        new = self._known.with_name(f"{self._known.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(self._handout))
            os.replace(new, self._known)
        except OSError as error:
            # It is believed all the same: what it takes out is out at once.
            log.error("trust.not_kept", where=str(self._known), problem=str(error.strerror))

    def _pin(self) -> dict[str, str] | None:
        pinned = self._settings.control_plane.root_file
        if pinned is None:
            return None
        path = self._settings.path(pinned)
        try:
            return root_jwk(path.read_bytes(), where=str(path))
        except OSError as error:
            raise _unread(path, error) from None


def _decoded(path: Path) -> TrustHandout:
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrustHandout)
    except OSError as error:
        raise _unread(path, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError("TRUST_DOCUMENT", str(error)[:200], where=str(path)) from None


def _unread(path: Path, error: OSError) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),))
