"""`numbers.range_step`."""

from __future__ import annotations

from zt_engine.adapters.rego_builtins.operands import RefusedError, big_integer, builtin, limit
from zt_engine.adapters.rego_values import Value


@builtin("numbers.range_step")
def range_step(first: Value, last: Value, step: Value) -> Value:
    """The numbers from first to last, both ways; the count is known and capped before any is made."""
    start, end, by = big_integer(first, 1), big_integer(last, 2), big_integer(step, 3)
    if by <= 0:
        raise RefusedError("step must be a positive integer")
    limit(abs(end - start) // by + 1, what="numbers")
    return list(range(start, end + 1, by) if start <= end else range(start, end - 1, -by))
