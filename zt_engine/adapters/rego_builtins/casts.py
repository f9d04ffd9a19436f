"""The deprecated `cast_*`, which OPA still compiles."""

from __future__ import annotations

from zt_engine.adapters.rego_builtins.operands import builtin, refuse_operand, string
from zt_engine.adapters.rego_values import RegoSet, Value


@builtin("cast_array")
def cast_array(value: Value) -> Value:
    """A set as an array in Rego's order."""
    if not isinstance(value, list | RegoSet):
        raise refuse_operand(1, "one of {array, set}", value)
    return list(value)


@builtin("cast_set")
def cast_set(value: Value) -> Value:
    """An array as a set."""
    if not isinstance(value, list | RegoSet):
        raise refuse_operand(1, "one of {array, set}", value)
    return RegoSet(value)


@builtin("cast_string")
def cast_string(value: Value) -> Value:
    """The value itself, if it is a string."""
    return string(value, 1)


@builtin("cast_boolean")
def cast_boolean(value: Value) -> Value:
    """The value itself, if it is a boolean."""
    if not isinstance(value, bool):
        raise refuse_operand(1, "boolean", value)
    return value


@builtin("cast_null")
def cast_null(value: Value) -> Value:
    """The value itself, if it is null."""
    if value is not None:
        raise refuse_operand(1, "null", value)
    return None


@builtin("cast_object")
def cast_object(value: Value) -> Value:
    """The value itself, if it is an object."""
    if not isinstance(value, dict):
        raise refuse_operand(1, "object", value)
    return value
