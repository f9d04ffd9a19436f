"""The linear memory of one instance, written and read through a view that Python checks: no write can leave it."""

from __future__ import annotations

import ctypes

import wasmtime

from zt_engine.core.errors import UnavailableError

PAGE = 65536
_PEEK = 2048
"""How much of a text is read at first; most answers are shorter."""


class LinearMemory:
    """Bounds-checked access to an instance's memory.

    INVARIANT: the engine is configured with `memory_may_move=False`, so the start address holds for the life of the
    store and memory only grows: a view that is too short is renewed, never wrong. A host write past the end would
    kill the process; slices of a memoryview cannot make one.
    """

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory
        self._start = ctypes.addressof(memory.data_ptr(store).contents)
        self._renew()

    def _renew(self) -> None:
        self.size: int = self._memory.data_len(self._store)
        self._view = memoryview((ctypes.c_uint8 * self.size).from_address(self._start)).cast("B")

    def grow_to(self, end: int) -> None:
        """Make `end` bytes addressable, or raise UnavailableError ENGINE_MEMORY when the limit forbids it."""
        if end > self.size:
            self._renew()
        if end > self.size:
            try:
                self._memory.grow(self._store, -(-(end - self.size) // PAGE))
            except wasmtime.WasmtimeError:
                raise UnavailableError("ENGINE_MEMORY", f"{end} bytes are more than an instance may have") from None
            self._renew()

    def write(self, at: int, content: bytes) -> None:
        """Write at an address, growing the memory if need be."""
        end = at + len(content)
        if end > self.size:
            self.grow_to(end)
        self._view[at:end] = content

    def text(self, at: int, limit: int) -> bytes:
        """Return the bytes up to the first NUL; UnavailableError ENGINE_MALFORMED if there is none within `limit`."""
        if at < self.size - _PEEK:
            peek = bytes(self._view[at : at + _PEEK])
            end = peek.find(0)
            if end >= 0:
                return peek[:end]
        self._renew()
        found = bytes(self._view[at : at + limit + 1])
        end = found.find(0)
        if end < 0:
            raise UnavailableError("ENGINE_MALFORMED", f"the policy returned a text longer than {limit} bytes")
        return found[:end]

    def image(self, end: int) -> bytes:
        """Return a copy of everything below `end`."""
        self.grow_to(end)
        return bytes(self._view[:end])

    def release(self) -> None:
        """Forget the memory: after this every access finds nothing to write to."""
        self._view = memoryview(b"")
        self.size = 0
