"""Files that hundreds of tests have in common are read once: what they say depends on their text alone.

The same text from the same place; one that is refused is refused anew.
"""

from __future__ import annotations

from functools import lru_cache

from zt_engine.authoring import pack, scenarios
from zt_engine.bootstrap import activation

KEPT = 64


def remember() -> None:
    """From now on, in this process."""
    remembering = lru_cache(KEPT)
    for module in (pack, scenarios):
        module.read_yaml = remembering(module.read_yaml)  # type: ignore[attr-defined]
    for name in ("load_catalogue", "load_trust"):
        setattr(activation, name, remembering(getattr(activation, name)))
