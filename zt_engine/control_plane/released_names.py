"""The names that released policies know, for whoever declares an overlay; without a release nothing is known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.effect_names import EffectNames
from zt_engine.core.errors import InputError
from zt_engine.core.situation_words import parse_effect
from zt_engine.ports.inventory import Transaction

NAMES: Final = "released_names"
"""Where `ReleasedNames` stand among `ControlPlane.extras`."""
KEPT: Final = 2
"""What everybody has, and what is on its way."""


class ReleasedNames:
    """Reads a bundle once. For use by many threads."""

    def __init__(self, read: Callable[[bytes], EffectNames]) -> None:
        self._read = read
        self._held: dict[str, EffectNames] = {}
        self._lock = threading.Lock()

    def known(self, tx: Transaction) -> EffectNames | None:
        """Return what is known to what everybody has or to what is on its way; None without a release."""
        found: EffectNames | None = None
        for kept in (tx.releases.last("released", settled=True), tx.releases.last("released")):
            if kept is not None:
                names = self._of(tx, kept.bundle_digest)
                found = names if found is None or names is None else found | names
        return found

    def _of(self, tx: Transaction, digest: str) -> EffectNames | None:
        with self._lock:
            if digest not in self._held:
                raw = tx.bundles.get(digest)
                if raw is None:
                    return None
                self._held[digest] = self._read(raw)
                for old in tuple(self._held)[:-KEPT]:
                    del self._held[old]
            return self._held[digest]


def check_names(plane: ControlPlane, tx: Transaction, effect: object) -> None:
    """Refuse an effect whose acr or obligation no released policy knows: InputError OVERLAY_NAME."""
    names, parsed = plane.extras.get(NAMES), parse_effect(str(effect))
    if not isinstance(names, ReleasedNames) or parsed is None or not parsed.name:
        return
    known = names.known(tx)
    instead = None if known is None else known.unknown(parsed)
    if instead is not None:
        text = f"no released policy knows the {parsed.kind} `{parsed.name[:80]}`; {instead}"
        raise InputError("OVERLAY_NAME", text, where="effect", hint=instead)
