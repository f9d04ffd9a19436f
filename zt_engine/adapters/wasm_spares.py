"""Instances built ahead in a thread, so that losing one costs the next request nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from zt_engine.adapters.wasm_instance import WasmInstance

KEEP = 2
"""Spares at hand; a clone takes about a millisecond, an evaluation that is cut off lasts far longer."""


class Spares:
    """Keeps `KEEP` instances ready and closes lost ones; both happen in its own thread, never on the event loop.

    The first ones are built by whoever builds the engine, so a loss right after activation finds a spare too.
    """

    def __init__(self, build: Callable[[], WasmInstance], *, keep: int = KEEP) -> None:
        self._build = build
        self._keep = keep
        self._ready = [build() for _ in range(keep)]
        self._lost: list[WasmInstance] = []
        self._wake = threading.Condition()
        self._closed = False
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="zt-wasm-spares", daemon=True)
        self._thread.start()

    def take(self, timeout: float) -> WasmInstance | None:
        """Return a ready instance, waiting at most `timeout` seconds for one; None if there is none by then."""
        with self._wake:
            self._failed = False  # whoever asks gives a failed build another chance
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._ready or self._closed or self._failed, timeout)
            if self._closed or not self._ready:
                return None
            found = self._ready.pop()
            self._wake.notify_all()
            return found

    def retire(self, instance: WasmInstance) -> None:
        """Have a lost instance closed."""
        with self._wake:
            if not self._closed:
                self._lost.append(instance)
                self._wake.notify_all()
                return
        instance.close()

    def close(self) -> None:
        """Close everything and end the thread; returns when both are done."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()
        for instance in (*self._ready, *self._lost):
            instance.close()
        self._ready.clear()
        self._lost.clear()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._closed or self._lost or (len(self._ready) < self._keep and not self._failed)
                )
                if self._closed:
                    return
                lost = self._lost.pop() if self._lost else None
            if lost is not None:
                lost.close()
                continue
            built = self._try()
            with self._wake:
                if built is None:
                    self._failed = True
                else:
                    self._ready.append(built)
                self._wake.notify_all()

    def _try(self) -> WasmInstance | None:
        """Build one; a failure (no address space, no memory) leaves the engine without spares, not without a thread."""
        try:
            return self._build()
        except Exception:
            return None
