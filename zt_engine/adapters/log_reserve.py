"""The space kept back for a full disk: a preallocated file that is given up so that the log can go on for a while."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

from zt_engine.adapters.log_files import Files

SpaceState = Literal["ok", "reserve", "unavailable"]
_LEAST_HEADROOM = 1 << 20


class Reserve:
    """Knows how the log stands for space.

    `ok`: the reserve is whole. `reserve`: it was given up, the log still writes. `unavailable`: writing failed.
    Back to `ok` only when the whole reserve *and* some headroom fit again; without the headroom the bytes just given
    up would count as space, and the state would swing with every write. The listener calls `release` and `fail`, the
    background thread `restore`; a lock orders them, held for microseconds except while `restore` allocates.
    """

    def __init__(self, files: Files, path: Path, size: int) -> None:
        self._files = files
        self._path = path
        self._size = size
        self._lock = threading.Lock()
        self.state: SpaceState = "reserve"

    def release(self) -> bool:
        """Give the space up; False when there is none left to give."""
        with self._lock:
            self.state = "reserve" if self.state == "ok" else self.state
            try:
                self._path.unlink()
            except OSError:
                return False
            return True

    def fail(self) -> None:
        """A write did not succeed even so."""
        with self._lock:
            self.state = "unavailable"

    def restore(self) -> bool:
        """Take the space again if it is there; True when the state is `ok` now."""
        with self._lock:
            if self.state == "ok":
                return True
            try:
                whole = self._path.stat().st_size == self._size
            except OSError:
                whole = False
            if whole or self._allocate():
                self.state = "ok"
            return self.state == "ok"

    def _allocate(self) -> bool:
        wanted = self._size + max(self._size // 4, _LEAST_HEADROOM)
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            draft.unlink(missing_ok=True)
            if self._files.free(self._path.parent) < wanted:
                return False
            fd = self._files.create(draft)
            try:
                self._files.allocate(fd, wanted)  # asks a quota too, which the free count does not know
                self._files.truncate(fd, self._size)
            finally:
                os.close(fd)
            draft.rename(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            return False
        return True
