"""The desk in words: what stands in the inventory, told in one language and as of one moment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal
from urllib.parse import quote

from device_inventory.device import DeviceStatus
from device_inventory.enrollment import EnrollmentState
from device_inventory.facts import CATALOGUE, DAY, HOUR, FactEnvelope, FactValue
from device_inventory.notice_texts import TEXTS as NOTICE
from zt_engine.core.classification import Level
from zt_engine.pages.desk_texts import TEXTS, Language
from zt_engine.pages.desk_words import ACTIONS, MESSAGES, OPERATIONS, WORDS, OperationTexts
from zt_engine.pages.registry import registry

JST: Final = timezone(timedelta(hours=9), "JST")
"""People here read Japanese time, whatever their own clock says; records hold UTC."""
MINUTE: Final = 60
CLIPPED: Final = 60
NOT_HERE: Final = 900
"""Labels from this rank on are for what must not be here at all: no device is good for them."""
Badge = Literal["ok", "wait", "warn", "stop"]

_STATUS_BADGE: Final[Mapping[DeviceStatus, Badge]] = {
    "invited": "wait",
    "enrolled": "wait",
    "active": "ok",
    "quarantined": "warn",
    "lost": "stop",
    "revoked": "stop",
    "retired": "stop",
}
_LEDGER_BADGE: Final[Mapping[str, Badge]] = {
    "exact": "ok",
    "serial": "wait",
    "differs": "stop",
    "absent": "warn",
    "unreported": "wait",
}
_INVITATION_BADGE: Final[Mapping[str, Badge]] = {
    "open": "wait",
    "begun": "wait",
    "used": "ok",
    "withdrawn": "stop",
    "expired": "stop",
}
_ENROLLMENT_BADGE: Final[Mapping[EnrollmentState, Badge]] = {
    "identified": "wait",
    "consented": "wait",
    "certified": "wait",
    "reported": "warn",
    "waiting": "wait",
    "complete": "ok",
    "refused": "stop",
    "expired": "stop",
}
# Control characters and those that turn the direction of text around: a name that reads backwards is no name.
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Words:
    """Tells values. `levels` are the labels there are, `now` the moment ages are counted to."""

    def __init__(self, language: Language, *, now: int, levels: Sequence[Level] = ()) -> None:
        self.language: Language = language
        self._now = now
        self._levels = sorted((level for level in levels if level.rank < NOT_HERE), key=lambda level: level.rank)

    @property
    def texts(self) -> Mapping[str, str]:
        """The texts of the desk."""
        return TEXTS[self.language]

    def operation(self, name: str) -> OperationTexts:
        """Return what is said of an operation on a device."""
        return OPERATIONS[self.language][name]

    def word(self, kind: str, value: str) -> str:
        """Return what a word of the inventory is called; itself where nobody named it."""
        return WORDS[self.language].get(f"{kind}.{value}", value)

    def plain(self, text: str) -> str:
        """Return somebody's text with what cannot be seen made visible."""
        return _HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)

    def clip(self, text: str, most: int = CLIPPED) -> str:
        """Return the beginning of somebody's text, for a line of a list."""
        shown = self.plain(text)
        return shown if len(shown) <= most else f"{shown[: most - 1]}…"

    def moment(self, instant: int) -> str:
        """Return an instant as people read it, with its zone."""
        return _at(instant).strftime("%Y-%m-%d %H:%M JST")

    def iso(self, instant: int) -> str:
        """Return an instant for programs."""
        return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def ago(self, instant: int) -> str:
        """Return how long ago something was."""
        age = max(0, self._now - instant)
        for unit, seconds in (("days", DAY), ("hours", HOUR), ("minutes", MINUTE)):
            if age >= seconds:
                return self.word("ago", unit).replace("{n}", str(age // seconds))
        return self.word("ago", "now")

    def label(self, rank: int) -> str:
        """Return the highest label a rank is good for; the rank itself where no labels are known."""
        reached = [level for level in self._levels if level.rank <= rank]
        if not reached:
            return str(rank)
        return reached[-1].ja if self.language == "ja" else reached[-1].en

    def action(self, name: str) -> str:
        """Return what an audit event is called."""
        return ACTIONS[self.language].get(name, name)

    def actor(self, name: str) -> str:
        """Return who acted, without the kind and the issuer."""
        kind, _, rest = name.partition(":")
        told = rest.rpartition("|")[2] if kind == "person" else rest if kind == "admin" else self.word("actor", name)
        return self.plain(told or name)

    def fact(self, name: str) -> str:
        """Return what a fact is about; its name where the notice says nothing of it."""
        known = NOTICE.get(name)
        return name if known is None else known.ja if self.language == "ja" else known.en

    def said(self, name: str, fact: FactEnvelope) -> str:
        """Return what was said of a fact."""
        if fact.status != "observed":
            return self.word("fact", fact.status)
        return self.value(name, fact.value)

    def value(self, name: str, value: FactValue) -> str:
        """Return one value of a fact."""
        if value is None:
            return self.word("value", "none")
        if isinstance(value, bool):
            return self.word("value", "true" if value else "false")
        if isinstance(value, tuple):
            return ", ".join(map(self.plain, value)) or self.word("value", "none")
        kind = CATALOGUE.get(name)
        if kind is not None and kind.type == "instant" and isinstance(value, int):
            return self.moment(value)
        if name == "device.serial_hash":
            return f"{str(value)[:12]}…"
        return self.plain(str(value))

    def code(self, code: str) -> str:
        """Return what a code means; itself where the registry does not know it."""
        entry = registry().get(code)
        return code if entry is None else entry.text(self.language)

    def status_badge(self, status: DeviceStatus) -> Badge:
        """Return which badge a status has."""
        return _STATUS_BADGE[status]

    def ledger_badge(self, verdict: str) -> Badge:
        """Return which badge the comparison with the ledger has."""
        return _LEDGER_BADGE[verdict]

    def invitation_badge(self, state: str) -> Badge:
        """Return which badge an invitation has."""
        return _INVITATION_BADGE[state]

    def enrollment_badge(self, state: EnrollmentState) -> Badge:
        """Return which badge an enrollment has."""
        return _ENROLLMENT_BADGE[state]

    @staticmethod
    def segment(text: str) -> str:
        """Return a text as one segment of a path, or as one value of a query."""
        return quote(text, safe="")


def message(language: Language, *, code: str, link: str, until: str) -> str:
    """Return what whoever invites sends to the person."""
    return MESSAGES[language].format(code=code, link=link, until=until)


def _at(instant: int) -> datetime:
    return datetime.fromtimestamp(instant, UTC).astimezone(JST)
