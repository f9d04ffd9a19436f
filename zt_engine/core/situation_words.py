"""The two small languages of overlays: what they do (`ceiling:100`) and to whom (`service:portal and label:C2`)."""

from __future__ import annotations

import re
from typing import get_args

from zt_engine.core.situation import OWNERSHIPS, Effect, OverlayKind, Term, TermKind

MAX_TERMS = 4

_EFFECTS: dict[OverlayKind, re.Pattern[str]] = {
    "ceiling": re.compile(r"0|[1-9][0-9]{0,2}|1000"),
    "threshold": re.compile(r"\+(?:[1-9][0-9]?|100)"),
    "report_age": re.compile(r"0|[1-9][0-9]{0,6}"),
    "acr": re.compile(r"[!-~]{1,200}"),
    "obligation": re.compile(r"[a-z][a-z0-9_]{0,63}"),
}
_NUMBERS = frozenset({"ceiling", "threshold", "report_age"})
_NAME = re.compile(r"\S{1,256}")


def parse_effect(text: str) -> Effect | None:
    """Read an effect of the closed list; `None` for anything else, since what is not understood cannot tighten."""
    if text == "deny":
        return Effect("deny")
    kind, colon, value = text.partition(":")
    for known, pattern in _EFFECTS.items():
        if kind == known and colon and pattern.fullmatch(value) is not None:
            return Effect(known, number=int(value)) if known in _NUMBERS else Effect(known, name=value)
    return None


def parse_scope(text: str) -> tuple[Term, ...] | None:
    """Read a scope; `None` for anything else."""
    terms = [_term(part) for part in text.split(" and ")]
    found = tuple(term for term in terms if term is not None)
    if len(found) != len(terms) or len(set(found)) != len(found) or len(found) > MAX_TERMS:
        return None
    return found


def _term(text: str) -> Term | None:
    if text == "tenant":
        return Term("tenant")
    kind, _, name = text.partition(":")
    if _NAME.fullmatch(name) is None or (kind == "ownership" and name not in OWNERSHIPS):
        return None
    return next((Term(known, name) for known in get_args(TermKind) if kind == known and known != "tenant"), None)
