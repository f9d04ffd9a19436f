"""Compiling a policy: raw bytes to a module that every instance in the process shares.

Nothing compiled is ever read from a file or a network: a serialised module is native code, and wasmtime runs whatever
it says. Compiling takes 0.1 to 0.3 s, with the interpreter lock released: do it in a thread.
"""

from __future__ import annotations

import functools
import hashlib
import weakref

import msgspec
import wasmtime

from zt_engine.adapters.wasm_memory import PAGE
from zt_engine.adapters.wasm_quick import quickened
from zt_engine.adapters.wasm_ticker import EpochTicker
from zt_engine.core.errors import BundleError

MAX_MODULE = 16 * 1024 * 1024

_FUNCTIONS = {"opa_abort", "opa_println", *(f"opa_builtin{arity}" for arity in range(5))}
EXPORTS = (
    *("opa_eval", "opa_malloc", "opa_free", "opa_json_parse", "opa_json_dump", "opa_value_dump", "opa_value_parse"),
    *("opa_heap_ptr_get", "builtins", "entrypoints"),
)
MEMORY = "memory"
"""What a policy calls its memory, whether it is imported or its own."""


class CompiledPolicy(msgspec.Struct, frozen=True, weakref=True):
    """A compiled module, reusable by any number of engines with any data."""

    module: wasmtime.Module
    pages: int
    """Memory in pages of 64 KiB that the module needs at its start; 0 when it brings its own."""


_in_use: weakref.WeakValueDictionary[bytes, CompiledPolicy] = weakref.WeakValueDictionary()
"""What somebody decides by, under the SHA-256 of the bytes it was compiled from."""


@functools.cache
def shared_engine() -> wasmtime.Engine:
    """Return the process's one wasmtime engine; its settings are the rules of the Wasm engine, not preferences."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.memory_may_move = False
    config.parallel_compilation = False
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.cranelift_opt_level = "speed"
    return wasmtime.Engine(config)


@functools.cache
def shared_ticker() -> EpochTicker:
    """Return the ticker of the shared engine."""
    return EpochTicker(shared_engine().increment_epoch)


def compile_policy(wasm: bytes) -> CompiledPolicy:
    """Return what `opa build -t wasm` made, compiled and inspected; BundleError WASM_INVALID for anything else."""
    if len(wasm) > MAX_MODULE:
        raise BundleError("WASM_INVALID", f"the module has {len(wasm)} bytes, at most {MAX_MODULE}")
    digest = hashlib.sha256(wasm).digest()
    known = _in_use.get(digest)
    if known is None:
        known = _in_use[digest] = _compile(wasm)
    return known


def _compile(wasm: bytes) -> CompiledPolicy:
    if not wasm.startswith(b"\x00asm"):
        raise BundleError("WASM_INVALID", "this is not a WebAssembly module")
    # OPA declares the memory of its runtime only, not of the policy's own strings, and a segment that does not fit
    # traps at instantiation. The strings are part of the module, so its length bounds what they need on top.
    strings = len(wasm) // PAGE + 1
    try:
        quick = quickened(wasm, spare_pages=strings)
        module = wasmtime.Module(shared_engine(), quick)
    except wasmtime.WasmtimeError as error:
        raise BundleError("WASM_INVALID", f"the module does not compile: {str(error).splitlines()[0]}") from None
    pages = _inspect(module, own_memory=quick is not wasm)
    return CompiledPolicy(module=module, pages=pages + strings if pages else 0)


def _inspect(module: wasmtime.Module, *, own_memory: bool = False) -> int:
    """Check imports and exports against OPA's ABI 1.2 and later; return the pages of memory the module imports."""
    pages = 0
    for item in module.imports:
        if item.module == "env" and item.name == "memory" and isinstance(item.type, wasmtime.MemoryType):
            pages = item.type.limits.min
        elif item.module != "env" or item.name not in _FUNCTIONS:
            raise BundleError("WASM_INVALID", f"the module imports `{item.module}.{item.name}`, which no policy needs")
    offered = {item.name for item in module.exports}
    missing = [name for name in ((*EXPORTS, MEMORY) if own_memory else EXPORTS) if name not in offered]
    if missing or not (pages or own_memory):
        raise BundleError(
            "WASM_INVALID", f"the module is no OPA policy of ABI 1.2: it lacks {', '.join(missing) or 'env.memory'}"
        )
    return pages


def megabytes(mib: int) -> int:
    """Return pages for a size in MiB."""
    return mib * (1024 * 1024 // PAGE)
