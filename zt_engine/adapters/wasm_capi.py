"""The few functions of wasmtime's C API that are called directly, because the public call costs 20 times as much.

The library is loaded as `ctypes.CDLL`, which releases the interpreter lock during a call. `PyDLL` would hold it: the
ticker could not run and no deadline would ever fire. The layout is checked by a self-test before anything relies on it;
without it the engine uses wasmtime's public, slower functions. Source: `wasmtime/func.h`, `wasmtime/val.h` of 50.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from ctypes import c_bool, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from importlib.metadata import version
from typing import Protocol

import wasmtime
from wasmtime import _ffi as ffi

from zt_engine.adapters.wasm_ticker import BRIEF_BEATS, EpochTicker

KNOWN_RELEASES = ("50.",)
"""Releases whose layout is known; 46 to 49 have a racy callback table."""

RAW_SIZE = 16
"""`sizeof(wasmtime_val_raw_t)`: the size of one argument or result."""

HostCallback = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_size_t)
"""`wasmtime_func_unchecked_callback_t`: (env, caller, args_and_results, count) -> trap or null."""

NO_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)()


class TrappedError(Exception):
    """The module did not return: `interrupted` by its deadline, or stopped for another `reason`."""

    def __init__(self, reason: str, *, interrupted: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.interrupted = interrupted


_TRAPS = {code.value: code.name.lower() for code in wasmtime.TrapCode}


def trap_reason(code: int | None) -> TrappedError:
    """Return the error for a trap code; a trap that the host made has none."""
    reason = "host" if code is None else _TRAPS.get(code, f"code {code}")
    return TrappedError(reason, interrupted=code == wasmtime.TrapCode.INTERRUPT.value)


class _Function(Protocol):
    argtypes: list[object]
    restype: object

    def __call__(self, *args: object) -> int | None: ...


class RawApi:
    """Prototypes of the functions used; raises AttributeError when the library lacks one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        def function(name: str, restype: object, *argtypes: object) -> Callable[..., int | None]:
            found: _Function = getattr(library, name)
            found.argtypes, found.restype = list(argtypes), restype
            return found

        self.call = function("wasmtime_func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
        self.set_deadline = function("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
        self.caller_context = function("wasmtime_caller_context", c_void_p, c_void_p)
        self._error_delete = function("wasmtime_error_delete", None, c_void_p)
        self._trap_delete = function("wasm_trap_delete", None, c_void_p)
        self._trap_code = function("wasmtime_trap_code", c_bool, c_void_p, c_void_p)
        self._trap_new = function("wasmtime_trap_new", c_void_p, ctypes.c_char_p, c_size_t)
        self._define = function(
            "wasmtime_linker_define_func_unchecked",
            *(c_void_p, c_void_p, ctypes.c_char_p, c_size_t, ctypes.c_char_p, c_size_t),
            *(c_void_p, HostCallback, c_void_p, ctypes.CFUNCTYPE(None, c_void_p)),
        )

    def new_trap(self, message: bytes) -> int:
        """Make a trap for a host callback to return; wasmtime owns it from then on."""
        return self._trap_new(message, len(message)) or 0

    def failure(self, error: int | None, trap: c_void_p) -> TrappedError:
        """Free whichever of the two pointers is set, each with its own function, and say what happened.

        A trap that is not freed leaks 2 kB. The caller's trap slot is empty afterwards.
        """
        if trap.value:
            code = c_uint8()
            known = self._trap_code(trap, ctypes.addressof(code))
            self._trap_delete(trap)
            trap.value = None
            found = trap_reason(code.value if known else None)
        else:
            found = TrappedError("error")
        if error:
            self._error_delete(error)
        return found

    def define(self, linker: wasmtime.Linker, name: str, kind: wasmtime.FuncType, callback: Callable[..., int]) -> None:
        """Define `env.<name>`; the caller keeps `callback` alive as long as the store."""
        raw = name.encode()
        pointer = ctypes.cast(linker.ptr(), c_void_p)
        signature = ctypes.cast(kind.ptr(), c_void_p)
        error = self._define(pointer, b"env", 3, raw, len(raw), signature, callback, None, NO_FINALIZER)
        if error:
            self._error_delete(error)
            raise TrappedError(f"cannot define env.{name}")


def context_of(store: wasmtime.Store) -> c_void_p:
    """Return the pointer that the C API calls the store's context; valid until the store is closed."""
    return ctypes.cast(store._context(), c_void_p)


def pack_arguments(count: int) -> struct.Struct:
    """Return the layout of `count` 32-bit integers as an array of `wasmtime_val_raw_t`."""
    return struct.Struct("<" + "I12x" * count)


def raw_caller(api: RawApi, store: wasmtime.Store, function: wasmtime.Func, parameters: int) -> Callable[..., int]:
    """Bind an exported function of 32-bit integers; the result is called with (context, *integers).

    Everything that a call needs is allocated here once. A trap or an error raises TrappedError and is freed.
    """
    buffer = (c_uint8 * (RAW_SIZE * max(parameters, 1)))()
    trap = c_void_p()
    target = c_void_p(ctypes.addressof(function._func))
    arguments, slot = c_void_p(ctypes.addressof(buffer)), c_void_p(ctypes.addressof(trap))
    result = c_int32.from_buffer(buffer)
    pack, call, count = pack_arguments(parameters).pack_into, api.call, c_size_t(max(parameters, 1))

    # `keep` holds what the pointers above refer to for as long as the closure lives.
    def invoke(context: c_void_p, *integers: int, keep: object = (function, buffer)) -> int:
        pack(buffer, 0, *integers)
        error = call(context, target, arguments, count, slot)
        if error or trap.value:
            raise api.failure(error, trap)
        return result.value & 0xFFFFFFFF

    return invoke


def raw_evaluator(
    api: RawApi, store: wasmtime.Store, function: wasmtime.Func, *, ticker: EpochTicker, deadline: int
) -> Callable[[int, int, int, int, int, int], int]:
    """Bind `opa_eval`, with its deadline in ticks armed for every call.

    The result is called with (entrypoint, data, input, size of the input, heap, form) and returns where the text is;
    form 0 is JSON, 1 is Rego's own.
    While the ticker has not beaten, the deadline of the call before is the same instant, and arming it again would only
    cost half a microsecond.
    """
    buffer = bytearray(RAW_SIZE * 7)
    place = (c_uint8 * len(buffer)).from_buffer(buffer)
    trap, context, delta, count = c_void_p(), context_of(store), c_uint64(deadline), c_size_t(7)
    target = c_void_p(ctypes.addressof(function._func))
    arguments, slot = c_void_p(ctypes.addressof(place)), c_void_p(ctypes.addressof(trap))
    result = c_uint32.from_buffer(place)
    pack, call, arm, armed = pack_arguments(7).pack_into, api.call, api.set_deadline, -1
    brief = deadline < BRIEF_BEATS

    def evaluate(  # noqa: PLR0917  (a C function's)
        entrypoint: int, data: int, at: int, size: int, heap: int, form: int, keep: object = (function, place)
    ) -> int:
        nonlocal armed
        if brief:
            ticker.evaluates = True
        else:
            ticker.touched = True
        if ticker.asleep:
            ticker.wake()
        beats = ticker.beats
        if beats != armed:
            arm(context, delta)
            armed = beats
        pack(buffer, 0, 0, entrypoint, data, at, size, heap, form)  # the first argument is reserved
        error = call(context, target, arguments, count, slot)
        if error or trap.value:
            raise api.failure(error, trap)
        return result.value

    return evaluate


def find_raw_api(release: str, library: str) -> RawApi | None:
    """Return the raw API of a known release whose library passes the self-test; None: use the public API."""
    if not release.startswith(KNOWN_RELEASES):
        return None
    try:
        api = RawApi(ctypes.CDLL(library))
        return api if self_test(api) else None
    except (AttributeError, OSError):
        return None


@functools.cache
def raw_api() -> RawApi | None:
    """Return the raw API of the installed wasmtime, tested once a process."""
    return find_raw_api(version("wasmtime"), str(ffi.filename))


_SELF_TEST = """(module
  (import "env" "host" (func $host (param i32 i32) (result i32)))
  (func (export "sum") (param i32 i32 i32) (result i32)
    (i32.sub (i32.add (local.get 0) (call $host (local.get 1) (local.get 2))) (i32.const 1)))
  (func (export "trap") (result i32) unreachable))"""


def self_test(api: RawApi) -> bool:
    """Whether arguments, results, host callbacks and traps cross the border as this module believes."""
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    i32 = wasmtime.ValType.i32()

    def multiply(_env: int, _caller: int, values: int, _count: int) -> int:
        first, second = pack_arguments(2).unpack((c_uint8 * (2 * RAW_SIZE)).from_address(values))
        c_int32.from_address(values).value = first * second
        return 0

    callback = HostCallback(multiply)
    api.define(linker, "host", wasmtime.FuncType([i32, i32], [i32]), callback)
    exports = linker.instantiate(store, wasmtime.Module(engine, _SELF_TEST)).exports(store)
    total, trap = exports["sum"], exports["trap"]
    if not isinstance(total, wasmtime.Func) or not isinstance(trap, wasmtime.Func):
        return False
    context = context_of(store)
    if raw_caller(api, store, total, 3)(context, 30, 4, 3) != total(store, 30, 4, 3):
        return False
    try:
        raw_caller(api, store, trap, 0)(context)
    except TrappedError as error:
        return error.reason == "unreachable"
    return False
