"""What changed between two releases: files, and what became weaker or stricter, decisions of scenarios too."""

from __future__ import annotations

import msgspec

from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core.bundle import WASM, Bundle
from zt_engine.core.weakening import Weakening


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """From one release to another; what became stricter is written as it was and as it is."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    weaker: tuple[Weakening, ...]
    stricter: tuple[Weakening, ...]


def diff(old: Bundle, new: Bundle) -> ReleaseDiff:
    """Compare two bundles, each with its own models; takes as long as finding weakenings twice."""
    before, after = old.manifest.sources, new.manifest.sources
    both = before.keys() & after.keys() - {WASM}
    return ReleaseDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in both if before[name] != after[name])),
        weaker=weakenings(old, new),
        stricter=tuple(
            msgspec.structs.replace(one, before=one.after, after=one.before) for one in weakenings(new, old)
        ),
    )
