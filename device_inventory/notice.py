"""What is collected from a device, why, and for how long: the page a person agrees to, and the limit of the collector.

INVARIANT: the collector sends what stands here and nothing else, and the inventory takes in nothing else. A device of
one's own sends the shorter list: what the organisation has no business to know of it is never asked.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from msgspec import Struct

from device_inventory.device import OWNERSHIPS, Ownership
from device_inventory.facts import CATALOGUE
from device_inventory.notice_texts import PREAMBLE, PURPOSES, TEXTS, Language

__all__ = ["NOTICE_VERSION", "PREAMBLE", "RETENTION_DAYS", "Language", "NoticeItem", "allowed", "notice"]

RETENTION_DAYS: Final = 30
"""How long after the end of its registration what is known of a device is forgotten (`operations.forgotten`)."""

_LATEST: Final = (
    f"最新の値だけを保存し、端末の登録が終了してから{RETENTION_DAYS}日後に削除します。",
    f"Only the latest value is kept, until {RETENTION_DAYS} days after the registration ends.",
)
_CHANGES: Final = (
    f"最新の値と直近の変化を保存し、端末の登録が終了してから{RETENTION_DAYS}日後に削除します。",
    f"The latest value and its last changes are kept, until {RETENTION_DAYS} days after the registration ends.",
)


class NoticeItem(Struct, frozen=True, kw_only=True):
    """One fact as the notice shows it, in one language."""

    name: str
    text: str
    purpose: str
    retention: str


_EVERY: Final = frozenset(TEXTS)
_BYOD: Final = frozenset(name for name, text in TEXTS.items() if text.byod)


def allowed(ownership: Ownership) -> frozenset[str]:
    """The facts a collector may send from such a device; the inventory refuses any other."""
    return _BYOD if ownership == "byod" else _EVERY


def notice(ownership: Ownership, language: Language) -> tuple[NoticeItem, ...]:
    """What a person is told before anything is collected, in the order it is shown."""
    which = ("ja", "en").index(language)
    may = allowed(ownership)
    return tuple(
        NoticeItem(
            name=name,
            text=(text.ja, text.en)[which],
            purpose=PURPOSES[text.purpose][which],
            retention=(_CHANGES if CATALOGUE[name].type in ("boolean", "choice") else _LATEST)[which],
        )
        for name, text in TEXTS.items()
        if name in may
    )


def _version() -> str:
    languages: tuple[Language, ...] = ("ja", "en")
    shown = [
        [ownership, language, PREAMBLE[language], item.name, item.text, item.purpose, item.retention]
        for ownership in OWNERSHIPS
        for language in languages
        for item in notice(ownership, language)
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


NOTICE_VERSION: Final = _version()
"""Names exactly these texts: whoever agreed to them agreed to nothing else."""
