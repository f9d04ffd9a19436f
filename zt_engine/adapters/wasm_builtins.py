"""The bridge from a policy to the host: built-in functions that OPA leaves to whoever runs the module.

A deadline cannot cut Python, so what crosses is capped here and every built-in bounds its own work. A failure is kept
in a slot of this object and the evaluation is refused; it never becomes a value of 0, which Rego would read as
undefined and a policy could take for an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from ctypes import c_int32, c_uint8, c_void_p
from typing import Protocol

import wasmtime

from zt_engine.adapters.rego_builtins.operands import MAX_ARGUMENT_BYTES, Function, invoke
from zt_engine.adapters.wasm_capi import RAW_SIZE, HostCallback, RawApi, TrappedError, pack_arguments
from zt_engine.adapters.wasm_memory import LinearMemory
from zt_engine.core.errors import UnavailableError

MAX_CALLS = 2_000
"""Calls of built-ins in one evaluation: at 15 us each this is about the default budget."""

ARITIES = range(5)
_ABORT_TEXT = 512


class BridgeError(Exception):
    """A built-in was called with more than the bridge carries, or gave something that is no value."""


class Exports(Protocol):
    """What the bridge needs of the module, callable while the module waits for the host."""

    def dump(self, context: object, value: int) -> int:
        """Serialise a value; returns the address of a text that ends with NUL."""
        ...

    def malloc(self, context: object, size: int) -> int:
        """Reserve memory that lives until the next evaluation."""
        ...

    def parse(self, context: object, text: int, size: int) -> int:
        """Return the address of the value that a text describes, 0 if it describes none."""
        ...


class HostBridge:
    """The host functions of one instance. `failure` and `abort` say afterwards why an evaluation was refused."""

    def __init__(self, registry: Mapping[str, Function]) -> None:
        self._registry = registry
        self._functions: dict[int, tuple[str, Function]] = {}
        self._exports: Exports | None = None
        self._memory: LinearMemory | None = None
        self._callbacks: list[object] = []
        self._calls = 0
        self.failure: BaseException | None = None
        self.failed_builtin = ""
        self.abort = ""

    def connect(self, exports: Exports, memory: LinearMemory, names: Mapping[str, int]) -> None:
        """Give the bridge the instance it serves and the numbers under which the module knows its built-ins."""
        self._exports, self._memory = exports, memory
        self._functions = {number: (name, self._registry[name]) for name, number in names.items()}

    def reset(self) -> None:
        """Start an evaluation: a new allowance of calls."""
        self._calls = 0

    def disconnect(self) -> None:
        """Break the cycle between instance and callbacks, once the store is closed."""
        self._callbacks.clear()
        self._exports = self._memory = self.failure = None

    def _call(self, context: object, number: int, addresses: tuple[int, ...]) -> int:
        """Carry arguments out, call, carry the result in; only UNDEFINED returns 0, every failure raises."""
        exports, memory = self._exports, self._memory
        if exports is None or memory is None or number not in self._functions:
            raise BridgeError(f"there is no built-in number {number}")
        self.failed_builtin, function = self._functions[number]
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise BridgeError(f"more than {MAX_CALLS} calls in one evaluation")
        arguments = [memory.text(exports.dump(context, address), MAX_ARGUMENT_BYTES) for address in addresses]
        text = invoke(self.failed_builtin, function, arguments)
        if text is None:
            return 0
        at = exports.malloc(context, len(text))
        memory.write(at, text)
        result = exports.parse(context, at, len(text))
        if result == 0:
            raise BridgeError("a result that is no Rego value")
        return result

    def _keep(self, error: BaseException) -> None:
        """Remember the first failure of an evaluation; what follows is its consequence."""
        if self.failure is None:
            self.failure = error

    def _aborted(self, at: int) -> None:
        self.abort = "unreadable"
        if self._memory is not None:
            with contextlib.suppress(UnavailableError):
                self.abort = self._memory.text(at, MAX_ARGUMENT_BYTES)[:_ABORT_TEXT].decode("utf-8", "replace")

    def define_raw(self, api: RawApi, linker: wasmtime.Linker) -> None:
        """Define the imports as raw callbacks (about 15 us a call)."""
        i32 = wasmtime.ValType.i32()
        trap = api.new_trap

        def abort(_env: int, _caller: int, values: int, _count: int) -> int:
            try:
                self._aborted(c_int32.from_address(values).value & 0xFFFFFFFF)
            except BaseException as error:
                self._keep(error)
            return trap(b"abort")

        def println(_env: int, _caller: int, _values: int, _count: int) -> int:
            return 0

        def builtin(arity: int) -> Callable[[int, int, int, int], int]:
            unpack, size = pack_arguments(arity + 2).unpack, RAW_SIZE * (arity + 2)

            def call(_env: int, caller: int, values: int, _count: int) -> int:
                try:
                    number, _, *addresses = unpack((c_uint8 * size).from_address(values))
                    context = c_void_p(api.caller_context(caller))
                    address = self._call(context, number, tuple(addresses))
                    c_int32.from_address(values).value = address
                except BaseException as error:
                    self._keep(error)
                    return trap(b"built-in")
                return 0

            return call

        functions: dict[str, tuple[Callable[[int, int, int, int], int], int, int]] = {
            "opa_abort": (abort, 1, 0),
            "opa_println": (println, 1, 0),
            **{f"opa_builtin{arity}": (builtin(arity), arity + 2, 1) for arity in ARITIES},
        }
        for name, (function, parameters, results) in functions.items():
            callback = HostCallback(function)
            self._callbacks.append(callback)
            api.define(linker, name, wasmtime.FuncType([i32] * parameters, [i32] * results), callback)

    def define_public(self, linker: wasmtime.Linker) -> None:
        """Define the imports through wasmtime's public API (about 200 us a call): the fallback."""
        i32 = wasmtime.ValType.i32()

        def abort(at: int) -> None:
            self._aborted(at & 0xFFFFFFFF)
            raise TrappedError("abort")

        def println(_at: int) -> None:
            return

        def builtin(caller: wasmtime.Caller, number: int, _context: int, *addresses: int) -> int:
            try:
                address = self._call(caller, number, tuple(item & 0xFFFFFFFF for item in addresses))
            except BaseException as error:
                self._keep(error)
                raise TrappedError("host") from None
            return address if address < 1 << 31 else address - (1 << 32)

        linker.define_func("env", "opa_abort", wasmtime.FuncType([i32], []), abort)
        linker.define_func("env", "opa_println", wasmtime.FuncType([i32], []), println)
        for arity in ARITIES:
            kind = wasmtime.FuncType([i32] * (arity + 2), [i32])
            linker.define_func("env", f"opa_builtin{arity}", kind, builtin, access_caller=True)
