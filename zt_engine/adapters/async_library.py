"""Which async library runs is asked once: httpcore asks several times in each request.

It asks by importing `sniffio`, which anyio no longer brings along. What Python does not find it looks for again each
time, in every folder of its path: about a third of what a small request costs.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Final

ASKED: Final = "sniffio"


def settle() -> None:
    """Have the import fail at once where there is no such package; where there is one, nothing changes."""
    if ASKED not in sys.modules and importlib.util.find_spec(ASKED) is None:
        # `None` is how the import system says that a module is known to be missing (Python reference, 5.3.1).
        sys.modules[ASKED] = None  # type: ignore[assignment]
