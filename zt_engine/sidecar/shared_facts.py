"""The facts of a device in a sixth of the room: what most devices say alike is held once for all of them.

What is said of a fact (status, value, method, boot) is the same for thousands of devices, and the facts of one report
came at one instant. So a device holds an outline, which it shares, and the few instants it names. Envelopes are made
when somebody asks, which is once for each version of a record.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.facts import FactEnvelope
from zt_engine.core.generations import Generations

OUTLINES = 200_000
SAID = 200_000
Said = tuple[str, object, str, str]
"""Status, value, method and boot."""


class Outline:
    """What many devices say alike: names, what is said of each, and which of the instants each came at."""

    __slots__ = ("boots", "groups", "names", "places", "said")

    def __init__(self, names: tuple[str, ...], said: tuple[Said, ...], groups: bytes) -> None:
        self.names = names
        self.said = said
        self.groups = groups
        self.places = {name: place for place, name in enumerate(names)}
        self.boots = any(boot for *_, boot in said)
        """Whether any of it is said of a boot, and so depends on the boot that the device runs."""


_outlines: Final[Generations[object, Outline]] = Generations(OUTLINES)
_said: Final[Generations[object, Said]] = Generations(SAID)
_names: Final[Generations[tuple[str, ...], tuple[str, ...]]] = Generations(1024)


class SharedFacts(Mapping[str, FactEnvelope]):
    """Facts by name. Equal ones are equal, however they are held."""

    __slots__ = ("_outline", "_times")

    def __init__(self, outline: Outline, times: tuple[int, ...]) -> None:
        self._outline = outline
        self._times = times

    @classmethod
    def of(cls, facts: Mapping[str, FactEnvelope]) -> SharedFacts:
        """Hold facts in less room."""
        if isinstance(facts, SharedFacts):
            return facts
        said = tuple(_interned(fact) for fact in facts.values())
        return cls._made(tuple(facts), said, [fact.received_at for fact in facts.values()])

    @classmethod
    def _made(cls, names: tuple[str, ...], said: tuple[Said, ...], received: Sequence[int]) -> SharedFacts:
        times = tuple(dict.fromkeys(received))
        groups = bytes(times.index(at) for at in received)
        # By identity: True equals 1 and 1.0, and is another value of a fact.
        key = (names, tuple(map(id, said)), groups)
        outline = _outlines.get(key)
        if outline is None or not all(a is b for a, b in zip(outline.said, said, strict=True)):
            held = _names.get(names)
            if held is None:
                held = tuple(sys.intern(name) for name in names)
                _names.put(held, held)
            outline = Outline(held, said, groups)
            _outlines.put(key, outline)
        return cls(outline, times)

    def renewed(self, names: Sequence[str] | None, at: int, *, before: int, methods: frozenset[str]) -> SharedFacts:
        """Return the facts after a report confirmed some at an instant; nothing becomes older.

        `names` None: those that came `before` by one of these methods.
        """
        outline, received = self._outline, self._received()
        if names is None:
            places = [
                place
                for place, (_, _, method, _) in enumerate(outline.said)
                if received[place] == before and method in methods
            ]
        else:
            places = [place for name in names if (place := outline.places.get(name)) is not None]
        changed = False
        for place in places:
            if received[place] < at:
                received[place], changed = at, True
        return self._made(outline.names, outline.said, received) if changed else self

    @property
    def outline(self) -> Outline:
        """What is said but for the instants."""
        return self._outline

    @property
    def times(self) -> tuple[int, ...]:
        """The instants that the outline's groups count."""
        return self._times

    def _received(self) -> list[int]:
        times = self._times
        return [times[group] for group in self._outline.groups]

    def __getitem__(self, name: str) -> FactEnvelope:
        """Return an envelope. Facts that say the same share it, as they do when a record is read."""
        global _last  # noqa: PLW0603  (one assignment, so that any thread may ask)
        outline = self._outline
        place = outline.places[name]
        said, at = outline.said[place], self._times[outline.groups[place]]
        whose, made = _last
        if whose is not self:
            _last = (self, made := {})
        found = made.get((id(said), at))
        if found is None:
            status, value, method, boot_id = said
            found = made[id(said), at] = FactEnvelope(
                status=status,  # type: ignore[arg-type]
                value=value,  # type: ignore[arg-type]
                method=method,  # type: ignore[arg-type]
                received_at=at,
                boot_id=boot_id,
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._outline.names)

    def __len__(self) -> int:
        return len(self._outline.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SharedFacts):
            return Mapping.__eq__(self, other)
        mine, others = self._outline, other._outline
        if mine is others:
            return self._times == other._times
        return (mine.names, mine.said, self._received()) == (others.names, others.said, other._received())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SharedFacts({len(self)})"


_last: tuple[SharedFacts | None, dict[tuple[int, int], FactEnvelope]] = (None, {})
"""Whose envelopes were asked for last: all of a record's are asked for together."""


def _interned(fact: FactEnvelope) -> Said:
    value = fact.value
    key = (fact.status, type(value), value, fact.method, fact.boot_id)
    found = _said.get(key)
    if found is None:
        found = (fact.status, value, fact.method, fact.boot_id)
        _said.put(key, found)
    return found


def shared(record: DeviceRecord) -> DeviceRecord:
    """Return a record that holds its facts in less room."""
    return msgspec.structs.replace(record, facts=SharedFacts.of(record.facts))
