"""Hand-made modules that speak OPA's ABI and misbehave in ways no compiler would produce."""

from __future__ import annotations

import wasmtime

_MODULE = """(module
  (import "env" "memory" (memory 2))
  (import "env" "opa_abort" (func $abort (param i32)))
  (import "env" "opa_println" (func $println (param i32)))
  (import "env" "opa_builtin1" (func $builtin1 (param i32 i32 i32) (result i32)))
  (data (i32.const 16) "{}\\00")
  (data (i32.const 32) "{\\"t\\":0}\\00")
  (data (i32.const 64) "[{\\"result\\":1}]\\00")
  (data (i32.const 96) "%(builtins)s\\00")
  (func $spin (loop $again (br $again)))
  (func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (i32.const 1)))
  %(start)s
  (func (export "opa_malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "opa_free") (param i32))
  (func (export "opa_json_parse") (param i32 i32) (result i32) (i32.const 16))
  (func (export "opa_json_dump") (param i32) (result i32) (local.get 0))
  (func (export "opa_value_dump") (param i32) (result i32) %(dump)s)
  (func (export "opa_value_parse") (param i32 i32) (result i32) (i32.const 64))
  (func (export "opa_heap_ptr_get") (result i32) (i32.const 65536))
  (func (export "builtins") (result i32) (i32.const 96))
  (func (export "entrypoints") (result i32) (i32.const 32))
  (func (export "opa_eval") (param i32 i32 i32 i32 i32 i32 i32) (result i32) %(eval)s))"""

ANSWER = "(i32.const 64)"
"""The address of a legal answer: the value 1 of the only entrypoint, `t`."""


def module(
    evaluate: str = ANSWER, *, start: str = "", builtins: str = "{}", dump: str = "(i32.const 16)", drop: str = ""
) -> bytes:
    """Return a module whose `opa_eval` is the given body; `drop` removes one export by renaming it."""
    escaped = builtins.replace('"', '\\"')
    text = _MODULE % {"eval": evaluate, "start": start, "builtins": escaped, "dump": dump}
    if drop:
        text = text.replace(f'(export "{drop}")', '(export "nothing")')
    return bytes(wasmtime.wat2wasm(text))
