"""Slow work on candidates: one at a time, bounded in time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from zt_engine.core.errors import UnavailableError

SECONDS: Final = 60.0
"""How long a candidate is examined at most."""
PATIENCE: Final = 5.0
"""How long one waits for another."""
ResultT = TypeVar("ResultT")


class Examiner:
    """Runs one piece of work at a time. What takes too long is given up, and its place stays taken until it ends."""

    def __init__(self, *, seconds: float = SECONDS, patience: float = PATIENCE) -> None:
        self._seconds = seconds
        self._patience = patience
        self._free = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="examiner")

    def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Return what `work` returns; UnavailableError RELEASE_BUSY, RELEASE_TIMEOUT. Not for the event loop."""
        if not self._free.acquire(timeout=self._patience):
            raise UnavailableError("RELEASE_BUSY", "another candidate is being examined")
        future: Future[ResultT] = self._pool.submit(work)
        future.add_done_callback(lambda _: self._free.release())
        try:
            return future.result(self._seconds)
        except TimeoutError:
            if future.done():  # the work's own
                raise
            raise UnavailableError("RELEASE_TIMEOUT", f"not examined within {self._seconds:.0f} seconds") from None

    def close(self) -> None:
        """Take no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
