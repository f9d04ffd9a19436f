"""`glob.quote_meta`; `glob.match` itself is inside the compiled policy."""

from __future__ import annotations

from typing import Final

from zt_engine.adapters.rego_builtins.operands import builtin, string
from zt_engine.adapters.rego_values import Value

_ESCAPES: Final = str.maketrans({char: "\\" + char for char in "\\?*[]{}"})


@builtin("glob.quote_meta")
def quote_meta(pattern: Value) -> Value:
    """The text with every character escaped that means something in a glob."""
    return string(pattern, 1).translate(_ESCAPES)
