"""One instance of a compiled policy: its own memory, data already loaded, ready to evaluate documents one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import wasmtime

from zt_engine.adapters.rego_builtins.operands import Function
from zt_engine.adapters.wasm_builtins import HostBridge
from zt_engine.adapters.wasm_capi import RawApi, TrappedError, context_of, raw_caller, raw_evaluator, trap_reason
from zt_engine.adapters.wasm_documents import MAX_ANSWER, check_data
from zt_engine.adapters.wasm_memory import LinearMemory
from zt_engine.adapters.wasm_module import MEMORY, CompiledPolicy, megabytes, shared_engine, shared_ticker
from zt_engine.adapters.wasm_ticker import ticks
from zt_engine.core.errors import BundleError, UnavailableError

SETUP_MS = 5_000
"""Deadline for instantiation and data: 1 MB of data takes 19 ms."""


class Prepared(msgspec.Struct, frozen=True):
    """What the first instance of a policy with its data learned; every later one is a copy of its memory."""

    image: bytes
    size: int
    """How large the memory was; OPA's allocator keeps that number inside the image."""
    data: int
    heap: int
    """Everything from this address on is scratch of the current evaluation."""
    entrypoints: Mapping[str, int]
    builtins: Mapping[str, int]


class WasmInstance:
    """An instance that failed once is lost: a trap takes some of its stack for good, so it is closed and replaced."""

    def __init__(
        self,
        policy: CompiledPolicy,
        *,
        api: RawApi | None,
        budget_ms: int,
        memory_mib: int,
        registry: Mapping[str, Function],
        prepared: Prepared | None = None,
        data: bytes = b"{}",
        setup_ms: int = SETUP_MS,
    ) -> None:
        """Instantiate and either load `data` or, much cheaper, take over the memory of a `prepared` instance."""
        engine = shared_engine()
        self._store = store = wasmtime.Store(engine)
        shared_ticker().touch()
        store.set_epoch_deadline(ticks(setup_ms))  # an unarmed store traps at its first instruction
        store.set_limits(memory_size=memory_mib << 20, instances=1, memories=1, tables=4)
        self._bridge = HostBridge(registry)
        linker = wasmtime.Linker(engine)
        if api is None:
            self._bridge.define_public(linker)
        else:
            self._bridge.define_raw(api, linker)
        try:
            memory = None
            if policy.pages:
                limits = wasmtime.Limits(policy.pages, megabytes(memory_mib))
                memory = wasmtime.Memory(store, wasmtime.MemoryType(limits))
                linker.define(store, "env", MEMORY, memory)
            exports = linker.instantiate(store, policy.module).exports(store)
            self.memory = LinearMemory(store, memory or _own_memory(exports))
            self._functions = _Functions(store, exports, api)
            self.prepared = prepared or self._prepare(data, registry)
            if prepared is not None:
                self.memory.grow_to(prepared.size)
                self.memory.write(0, prepared.image)
        except (wasmtime.WasmtimeError, wasmtime.Trap, TrappedError) as error:
            why = self._bridge.abort or str(error).splitlines()[0]
            raise BundleError("WASM_INVALID", f"the policy cannot be set up: {why}") from None
        self._bridge.connect(self._functions, self.memory, self.prepared.builtins)
        self._data, self._heap = self.prepared.data, self.prepared.heap
        self._evaluate = _evaluator(store, _function(exports, "opa_eval"), api, ticks(budget_ms))

    def _prepare(self, data: bytes, registry: Mapping[str, Function]) -> Prepared:
        """Load data, read the module's tables, and take an image of the memory."""
        call, memory = self._functions, self.memory
        check_data(data)
        at = call.malloc(call.context, len(data))
        memory.write(at, data)
        address = call.json_parse(call.context, at, len(data))
        if address == 0:
            raise BundleError("WASM_DATA_INVALID", "the policy's data cannot be loaded")
        tables: list[dict[str, int]] = []
        for table in (call.entrypoints, call.builtins):
            text = memory.text(call.json_dump(call.context, table(call.context)), MAX_ANSWER)
            tables.append(msgspec.json.decode(text, type=dict[str, int]))
        unknown = sorted(set(tables[1]).difference(registry))
        if unknown:
            raise BundleError(
                "BUILTIN_UNSUPPORTED",
                f"the policy calls {', '.join(f'`{name}`' for name in unknown)}, which this engine does not offer",
            )
        heap = (call.heap(call.context) + 7) & ~7
        return Prepared(
            image=memory.image(heap),
            size=memory.size,
            data=address,
            heap=heap,
            entrypoints=tables[0],
            builtins=tables[1],
        )

    def evaluate(self, entrypoint: int, document: bytes) -> bytes:
        """Return the result set as JSON text; UnavailableError ENGINE_* means that the instance is lost."""
        heap, size, bridge = self._heap, len(document), self._bridge
        self.memory.write(heap, document)
        bridge.reset()
        try:
            at = self._evaluate(entrypoint, self._data, heap, size, (heap + size + 7) & ~7, 0)
        except TrappedError as error:
            raise self._refusal(error) from None
        if bridge.failure is not None:
            raise self._refusal(TrappedError("host"))
        return self.memory.text(at, MAX_ANSWER)

    def _refusal(self, trapped: TrappedError) -> UnavailableError:
        """Name the cause: memory before time before built-in, since the later ones follow from the earlier."""
        bridge, failure = self._bridge, self._bridge.failure
        if failure is not None and not isinstance(failure, Exception):
            raise failure
        if bridge.abort == "opa_malloc: failed":
            return UnavailableError("ENGINE_MEMORY", "the policy wanted more memory than an instance may have")
        if trapped.interrupted or (isinstance(failure, TrappedError) and failure.interrupted):
            return UnavailableError("ENGINE_TIMEOUT", "the policy did not answer within its budget")
        if failure is not None:
            # The text of a failure may quote the request, so only its kind is told.
            return UnavailableError("ENGINE_BUILTIN", f"`{bridge.failed_builtin}` failed: {type(failure).__name__}")
        return UnavailableError("ENGINE_TRAP", bridge.abort or trapped.reason)

    def close(self) -> None:
        """Free the store; not while it is evaluating."""
        self.memory.release()
        self._store.close()
        self._bridge.disconnect()


class _Functions:
    """The exported functions, through the raw calls or through the public ones."""

    def __init__(self, store: wasmtime.Store, exports: Mapping[str, object], api: RawApi | None) -> None:
        def function(name: str, parameters: int) -> Callable[..., int]:
            export = _function(exports, name)
            if api is not None:
                return raw_caller(api, store, export, parameters)
            return _public_caller(export)

        self.context: object = store if api is None else context_of(store)
        self.malloc = function("opa_malloc", 1)
        self.parse = function("opa_value_parse", 2)
        self.dump = function("opa_value_dump", 1)
        self.json_parse = function("opa_json_parse", 2)
        self.json_dump = function("opa_json_dump", 1)
        self.heap = function("opa_heap_ptr_get", 0)
        self.entrypoints = function("entrypoints", 0)
        self.builtins = function("builtins", 0)


def _own_memory(exports: Mapping[str, object]) -> wasmtime.Memory:
    export = exports[MEMORY]
    if not isinstance(export, wasmtime.Memory):
        raise BundleError("WASM_INVALID", "the module's memory is none")
    return export


def _function(exports: Mapping[str, object], name: str) -> wasmtime.Func:
    export = exports[name]
    if not isinstance(export, wasmtime.Func):
        raise BundleError("WASM_INVALID", f"the module's `{name}` is no function")
    return export


def _evaluator(
    store: wasmtime.Store, function: wasmtime.Func, api: RawApi | None, deadline: int
) -> Callable[[int, int, int, int, int, int], int]:
    """Return `opa_eval` with the deadline armed for every call."""
    if api is not None:
        return raw_evaluator(api, store, function, ticker=shared_ticker(), deadline=deadline)
    call = _public_caller(function)

    def public(entrypoint: int, data: int, at: int, size: int, heap: int, form: int) -> int:
        shared_ticker().touch()
        store.set_epoch_deadline(deadline)
        return call(store, 0, entrypoint, data, at, size, heap, form)

    return public


def _public_caller(function: wasmtime.Func) -> Callable[..., int]:
    """The fallback: wasmtime's own conversion of every argument, 150 us instead of 2."""

    def invoke(context: wasmtime.Store | wasmtime.Caller, *integers: int) -> int:
        try:
            found = function(context, *(item if item < 1 << 31 else item - (1 << 32) for item in integers))
        except wasmtime.Trap as trap:
            code = trap.trap_code
            raise trap_reason(None if code is None else code.value) from None
        except wasmtime.WasmtimeError:
            raise TrappedError("error") from None
        return int(found) & 0xFFFFFFFF

    return invoke
