"""Overlays that signals declare: what they are called, whose they are, and how a person lets go of them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from msgspec.structs import replace

from zt_engine.core.signals import Rule, let_go
from zt_engine.ports.inventory import Transaction

OWNER: Final = "signals"
PREFIX: Final = "signals/"
"""What the ids of these overlays begin with, and of no others."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,47}")


def stem(rule: Rule, principal: str, *, exercise: bool) -> str:
    """Return what the ids of a rule's overlays about somebody begin with; a name that is no id by its digest.

    INVARIANT: no two have one: `:` stands in neither the id of a rule nor a plain name.
    """
    name = principal.partition(":")[2] or principal
    if _PLAIN.fullmatch(name) is None:
        name = f":{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{PREFIX}{'exercise:' if exercise else ''}{rule.id}/{name}"


def released(tx: Transaction, overlay: str, *, now: int) -> tuple[str, ...]:
    """Let go of everything a rule holds against somebody, told by one of its overlays; return the ids of all of them.

    What was noticed until now is settled; only what is noticed afterwards tightens again.
    """
    held = tx.signals.get(overlay.rpartition("/")[0])
    if held is None:
        return (overlay,)
    state = let_go(held.state, now=now)
    tx.signals.put(replace(held, version=held.version + 1, state=state, declared=(), due=now))
    return tuple({overlay: None, **{one.id: None for one in held.declared}})


def in_force(tx: Transaction) -> tuple[str, ...]:
    """Return what the ids of all overlays of signals begin with, each once."""
    there = (id_.rpartition("/")[0] for id_ in tx.situation.all("overlay") if id_.startswith(PREFIX))
    return tuple(dict.fromkeys(there))
