"""What a report says: everything, or only what is not as the server last took it in. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from device_inventory.agent.state import Told
from device_inventory.facts import CATALOGUE, DAY

FRESH: Final = 240
"""What was looked at longer ago is not confirmed as of now; the server takes five minutes for `just now`."""
OLDEST: Final = 14 * DAY
"""Older evidence counts for nothing in any freshness class."""
# Numbers that move by themselves are no reason to report ahead of time.
_TELLING: Final = frozenset({"boolean", "choice", "list"})


class Words(Struct, frozen=True, kw_only=True):
    """The facts a report speaks of: those it tells, and those it only confirms."""

    facts: Mapping[str, Told]
    confirmed: tuple[str, ...] = ()


def everything(facts: Mapping[str, Told]) -> Words:
    """Return the words of a full report."""
    return Words(facts=dict(facts))


def difference(told: Mapping[str, Told], facts: Mapping[str, Told], *, now: int) -> Words:
    """Return the words of a delta report.

    Only what was observed just now is confirmed: a fact that was not looked at again keeps its age, and one that could
    not be observed has nothing to confirm.
    """
    changed: dict[str, Told] = {}
    confirmed: list[str] = []
    for name, fact in facts.items():
        held = told.get(name)
        if held is None or not _same(held, fact):
            changed[name] = fact
        elif fact.status == "observed" and fact.collected_at > held.collected_at:
            if fact.collected_at >= now - FRESH:
                confirmed.append(name)
            else:
                changed[name] = fact
    return Words(facts=changed, confirmed=tuple(sorted(confirmed)))


def after(told: Mapping[str, Told], words: Words, *, full: bool, now: int) -> dict[str, Told]:
    """Return what the server knows once it accepted a report."""
    if full:
        return dict(words.facts)
    confirmed = {
        name: Told(status=told[name].status, value=told[name].value, collected_at=now) for name in words.confirmed
    }
    return {**told, **words.facts, **confirmed}


def telling(told: Mapping[str, Told], facts: Mapping[str, Told]) -> tuple[str, ...]:
    """Return the facts whose change is worth a report of its own."""
    return tuple(
        sorted(
            name
            for name, fact in facts.items()
            if name in CATALOGUE
            and CATALOGUE[name].type in _TELLING
            and (name not in told or not _same(told[name], fact))
        )
    )


def merged(older: Mapping[str, Told], newer: Mapping[str, Told], *, now: int) -> dict[str, Told]:
    """Return the newest word on every fact that is not too old to count."""
    kept = {name: fact for name, fact in older.items() if fact.collected_at > now - OLDEST and name not in newer}
    return {**kept, **newer}


def _same(one: Told, other: Told) -> bool:
    return (one.status, type(one.value), one.value) == (other.status, type(other.value), other.value)
