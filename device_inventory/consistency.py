"""What a device says is held against what it said before: sequence, boots, registration, and values that come and go.

A key in a file can be copied. The copy signs as well as the original, so the only thing that gives it away is that
there are two of them: a machine has one boot at a time and counts its reports upwards, and two machines take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.appraisal import reconcile
from device_inventory.facts import CATALOGUE, FactEnvelope
from device_inventory.inventory import Device, FactChange, Stream, flapping, said

StreamStep = Literal["next", "behind", "cloned"]

BOOTS_KEPT: Final = 16
TURNS: Final = 3
"""So many times back and forth within `TURNS_WINDOW` are two machines; an answer that was lost is one time."""
TURNS_WINDOW: Final = 2 * 3600
CHANGES_KEPT: Final = 512
CHANGES_OF_ONE_KEPT: Final = 8

_SERIAL, _MODEL = "device.serial_hash", "device.model"


class Finding(Struct, frozen=True, kw_only=True):
    """Something odd: a stable code, the fact it is about (or none), and why, without any value of a fact."""

    code: str
    message: str
    fact: str = ""


def follow(
    streams: tuple[Stream, ...], *, held_seq: int, boot_id: str, seq: int, now: int
) -> tuple[tuple[Stream, ...], StreamStep]:
    """Hold a report's boot and sequence against those before; return the streams as they are now.

    `next`: the report goes on where the last one ended. `behind`: its sequence does not grow, so it is refused, and
    that is remembered. `cloned`: a boot is heard of again after another one, which no single machine does, or two
    that share a boot (copies of a running machine, or of the agent's folder) have taken turns too often.
    """
    known = {stream.boot_id: stream for stream in streams}
    last = streams[-1] if streams else None
    if last is not None and boot_id != last.boot_id and boot_id in known:
        return streams, "cloned"
    grows = seq > held_seq
    if last is None or boot_id != last.boot_id:
        stream = Stream(boot_id=boot_id, since=now, seq=seq if grows else 0, behind=not grows)
        return (*streams, stream)[-BOOTS_KEPT:], "next" if grows else "behind"
    if grows:
        return (*streams[:-1], replace(last, seq=seq, behind=False)), "next"
    # Refused again and again is one agent that does not learn; refused in between is two agents.
    turn = () if last.behind else (now,)
    refused = (*(at for at in last.refused if now - at < TURNS_WINDOW), *turn)
    step: StreamStep = "cloned" if len(refused) >= TURNS else "behind"
    return (*streams[:-1], replace(last, refused=refused[-TURNS:], behind=True)), step


def drift(device: Device, facts: Mapping[str, FactEnvelope]) -> Iterator[Finding]:
    """What a source says of the hardware that is not what was registered. Nothing was registered: nothing drifts."""
    for name, registered in ((_SERIAL, device.serial_hash), (_MODEL, device.model)):
        fact = facts.get(name)
        if registered and fact is not None and fact.status == "observed" and fact.value != registered:
            yield Finding(code="REGISTRATION_DRIFT", fact=name, message="is not what was registered")


def registered(device: Device, facts: Mapping[str, FactEnvelope]) -> Device:
    """Register the hardware from the first who can name it; what is registered stays."""
    serial, model = facts.get(_SERIAL), facts.get(_MODEL)
    if not device.serial_hash and serial is not None and isinstance(serial.value, str):
        device = replace(device, serial_hash=serial.value)
    if not device.model and model is not None and isinstance(model.value, str):
        device = replace(device, model=model.value)
    return device


def conflicts(device: Device, *, now: int) -> Iterator[Finding]:
    """Facts that sources which still count disagree about; the worse value is the one that is published.

    Numbers are left out: two that were read at different times differ without anybody being wrong.
    """
    names = {
        name
        for held in device.sources.values()
        for name in held.facts
        if name in CATALOGUE and CATALOGUE[name].type in ("boolean", "choice", "list", "text")
    }
    for name in sorted(names):
        better = reconcile(said(device, name, now=now), boot_id=device.boot_id, now=now)[1]
        if better:
            yield Finding(code="SOURCE_CONFLICT", fact=name, message=f"is better only by {', '.join(better)}")


def changes(
    source: str, before: Mapping[str, FactEnvelope], after: Mapping[str, FactEnvelope], *, now: int
) -> Iterator[FactChange]:
    """What a source says differently than before, of the facts that have few values: counts change all the time."""
    for name, fact in after.items():
        kind = CATALOGUE.get(name)
        held = before.get(name)
        if kind is None or kind.type not in ("boolean", "choice"):
            continue
        if held is None or (held.status, held.value) != (fact.status, fact.value):
            yield FactChange(fact=name, source=source, at=now, status=fact.status, value=fact.value)


def remembered(history: tuple[FactChange, ...], new: Iterator[FactChange]) -> tuple[FactChange, ...]:
    """Return the history with what is new, bounded for each fact of each source and altogether."""
    added = tuple(new)
    if not added:
        return history
    kept: list[FactChange] = []
    counts: dict[tuple[str, str], int] = {}
    for change in reversed((*history, *added)):
        counts[change.fact, change.source] = count = counts.get((change.fact, change.source), 0) + 1
        if count <= CHANGES_OF_ONE_KEPT:
            kept.append(change)
    return tuple(reversed(kept[:CHANGES_KEPT]))


def toggled(device: Device, *, now: int) -> Iterator[Finding]:
    """Facts that change their value too often to be believed."""
    for name, source in sorted({(change.fact, change.source) for change in device.history}):
        if flapping(device, name, source, now=now):
            yield Finding(code="FACT_FLAPPING", fact=name, message=f"changes too often by {source}")
