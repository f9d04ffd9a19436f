"""Somebody's own devices in words: everything that is held of them, in the order a person asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

from device_inventory.device import DeviceStatus
from device_inventory.facts import FactEnvelope
from device_inventory.inventory import Device, HeldKey
from device_inventory.notice import NoticeItem, notice
from zt_engine.core.audit import AuditEvent
from zt_engine.core.classification import Level
from zt_engine.pages.desk import Words
from zt_engine.pages.my_texts import OTHERS, TEXTS

CHANGES: Final = 50
TITLE: Final = 80
OUR_REASONS: Final = frozenset({"reported lost", "ended by its holder"})
ENDED: Final[frozenset[DeviceStatus]] = frozenset({"revoked", "retired"})


class Said(msgspec.Struct, frozen=True):
    """One source's word about a fact."""

    value: str
    who: str
    ago: str
    iso: str
    moment: str


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact as the notice calls it, and every word there is about it."""

    name: str
    text: str
    decides: bool
    """Whether it is sent to those who decide about access."""
    said: tuple[Said, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """The facts that are held for one purpose."""

    purpose: str
    facts: tuple[Fact, ...]


class Key(msgspec.Struct, frozen=True):
    """A certificate of the device."""

    protection: str
    badge: str
    state: str
    number: str


class Line(msgspec.Struct, frozen=True):
    """Something that happened, or somebody who looked."""

    iso: str
    moment: str
    ago: str
    what: str
    who: str
    reason: str = ""


class MyWords:
    """Tells one person of their devices. `names` are those they go by: of themselves it says "you"."""

    def __init__(self, words: Words, *, names: Iterable[str], levels: Mapping[str, Level]) -> None:
        self.words = words
        self.texts = TEXTS[words.language]
        self._names = frozenset(names)
        self._levels = levels

    def title(self, device: Device) -> str:
        """Return what a device is called."""
        return self.words.clip(device.name or device.model or device.device_id, TITLE)

    def status(self, device: Device) -> str:
        """Return where it stands."""
        return self.texts[f"status_{device.status}"]

    def reach(self, good_for: str | None) -> str:
        """Return what a device is good for; None where no label is known."""
        if good_for is None:
            return self.texts["reach_unknown"]
        return self.texts["reach"].format(label=self.label(good_for)) if good_for else self.texts["reach_none"]

    def label(self, code: str) -> str:
        """Return what a label is called; itself where nobody named it."""
        level = self._levels.get(code)
        return code if level is None else level.ja if self.words.language == "ja" else level.en

    def keys(self, device: Device, *, now: int) -> tuple[Key, ...]:
        """Return its certificates, those in force first, then the newest."""
        held = sorted(device.keys, key=lambda key: (key.revoked_at is not None, -key.not_after))
        return tuple(
            Key(
                self.texts[f"protection_{key.protection}"],
                *self._key_state(device, key, now),
                key.serial,
            )
            for key in held
        )

    def _key_state(self, device: Device, key: HeldKey, now: int) -> tuple[str, str]:
        if key.revoked_at is not None:
            return "stop", self.texts["key_ended"]
        if key.not_after <= now:
            return "warn", self.texts["key_over"]
        if device.status == "lost":
            return "stop", self.texts["key_stopped"]
        return "ok", self.texts["key_until"].format(until=self.words.moment(key.not_after))

    def groups(self, device: Device, *, decide: frozenset[str]) -> tuple[Group, ...]:
        """Return every item of the notice with what is held of it, by what it is for."""
        items = notice(device.ownership, self.words.language)
        order = list(dict.fromkeys(item.purpose for item in items))
        by_purpose = sorted(items, key=lambda item: order.index(item.purpose))
        return tuple(
            Group(purpose, tuple(self._fact(device, item, decide) for item in members))
            for purpose, members in groupby(by_purpose, key=lambda item: item.purpose)
        )

    def others(self, device: Device, *, decide: frozenset[str]) -> tuple[Fact, ...]:
        """Return what is held beside the notice: what others than the device told, and what was found out here."""
        known = {item.name for item in notice(device.ownership, self.words.language)}
        held = sorted({name for source in device.sources.values() for name in source.facts} - known)
        return tuple(
            Fact(name=name, text=self.called(name), decides=name in decide, said=self._said(device, name))
            for name in held
        )

    def called(self, name: str) -> str:
        """Return what a fact is about."""
        pair = OTHERS.get(name)
        return self.words.fact(name) if pair is None else pair[0 if self.words.language == "ja" else 1]

    def _fact(self, device: Device, item: NoticeItem, decide: frozenset[str]) -> Fact:
        return Fact(name=item.name, text=item.text, decides=item.name in decide, said=self._said(device, item.name))

    def _said(self, device: Device, name: str) -> tuple[Said, ...]:
        return tuple(
            self._told(name, source, told.facts[name])
            for source, told in sorted(device.sources.items())
            if name in told.facts
        )

    def _told(self, name: str, source: str, fact: FactEnvelope) -> Said:
        words = self.words
        who = f"{words.plain(words.word('source', source))}（{words.word('method', fact.method)}）"
        if words.language == "en":
            who = f"{words.plain(words.word('source', source))} ({words.word('method', fact.method).lower()})"
        at = fact.received_at
        return Said(words.said(name, fact), who, words.ago(at), words.iso(at), words.moment(at))

    def retention(self, device: Device) -> tuple[str, ...]:
        """Return how long things are kept."""
        return tuple(dict.fromkeys(item.retention for item in notice(device.ownership, self.words.language)))

    def record(self, device: Device) -> list[tuple[str, str]]:
        """Return what was written down at registration and since, and is no fact of the device."""
        words, texts = self.words, self.texts
        rows: Sequence[tuple[str, str]] = (
            ("id", device.device_id),
            ("name", device.name),
            ("model", device.model),
            ("owner", self.who(device.owner)),
            ("assigned", ", ".join(map(self.who, device.assigned))),
            ("ownership", words.word("ownership", device.ownership)),
            ("kind", words.word("kind", device.kind)),
            ("ceiling", words.label(device.ceiling)),
            ("sponsor", self.who(device.sponsor)),
            ("ends", "" if device.ends_at is None else words.moment(device.ends_at)),
            ("approved_by", self.who(device.approved_by)),
            ("created", words.moment(device.created_at) if device.created_at else ""),
            ("last_report", self.last_report(device)),
            ("serial", device.serial_hash),
            ("replaces", device.replaces),
            ("reports", str(device.report_seq) if device.report_seq else ""),
            ("consistent", str(device.consistent_reports) if device.consistent_reports else ""),
            ("boot", device.boot_id),
            ("helper", texts["helper_yes"] if device.helper_key is not None else ""),
            ("findings", "; ".join(map(words.code, device.findings))),
        )
        return [(texts[name], words.plain(text)) for name, text in rows if text]

    def last_report(self, device: Device) -> str:
        """Return when it was last heard of."""
        at = device.report_received_at
        return f"{self.words.ago(at)} – {self.words.moment(at)}" if at else self.texts["never"]

    def changes(self, device: Device) -> list[Line]:
        """Return how its values changed, newest first."""
        words = self.words
        return [
            self._line(
                change.at,
                f"{self.called(change.fact)} → {words.value(change.fact, change.value)}"
                if change.status == "observed"
                else f"{self.called(change.fact)} → {words.word('fact', change.status)}",
                words.word("source", change.source),
            )
            for change in reversed(device.history[-CHANGES:])
        ]

    def events(self, found: Iterable[AuditEvent]) -> list[Line]:
        """Return what happened, or who looked."""
        return [
            self._line(event.at, self.words.action(event.action), self.who(event.actor), self._reason(event.reason))
            for event in found
        ]

    def _reason(self, text: str) -> str:
        """Return a reason that somebody gave; those of the program say what the event says."""
        return "" if text in OUR_REASONS else self.words.plain(text)

    def _line(self, at: int, what: str, who: str, reason: str = "") -> Line:
        return Line(self.words.iso(at), self.words.moment(at), self.words.ago(at), what, who, reason)

    def who(self, name: str) -> str:
        """Return somebody by the name people know; "you" for who looks."""
        if name in self._names:
            return self.texts["you"]
        if name == "system":
            return self.texts["system"]
        if name.startswith("device:"):
            return self.texts["device_itself"]
        if name.startswith(("admin:", "person:")):
            return self.words.actor(name)
        return self.words.plain(name.rpartition("|")[2])
