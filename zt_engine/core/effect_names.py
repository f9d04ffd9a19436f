"""Which names the effects of overlays may have: what nobody can meet keeps everybody out."""

from __future__ import annotations

import difflib
from typing import Final

from msgspec import Struct

from zt_engine.core.situation import Effect

OBLIGATIONS: Final = frozenset(
    {
        *("no_store", "no_download", "watermark", "protect_on_download", "max_rows", "dual_control"),
        *("notify_owner", "record_session", "read_only"),
    }
)
"""Those of the packs and of the engine: the table of docs/obligations.md."""


class EffectNames(Struct, frozen=True, kw_only=True):
    """What policies in force know: every value of their assurance tables, every word that may name an obligation."""

    acrs: frozenset[str]
    words: frozenset[str]

    def __or__(self, other: EffectNames) -> EffectNames:
        """Return what either knows."""
        return EffectNames(acrs=self.acrs | other.acrs, words=self.words | other.words)

    def unknown(self, effect: Effect) -> str | None:
        """Return what to write instead of a name that is not known; None for one that is, and for all else."""
        if effect.kind == "acr" and effect.name not in self.acrs:
            return _instead(effect.name, self.acrs)
        if effect.kind == "obligation" and effect.name not in self.words | OBLIGATIONS:
            return _instead(effect.name, OBLIGATIONS)
        return None


def _instead(name: str, known: frozenset[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(names)}"[:300]
