"""Taking in what a management server says: whose facts they are, and since when they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import MappingProxyType

from msgspec.structs import replace

from device_inventory.consistency import Finding, changes, remembered
from device_inventory.facts import CATALOGUE, FactEnvelope
from device_inventory.importers.rows import ImportedDevice, ImportFault
from device_inventory.inventory import Device, SourceFacts
from device_inventory.reports import ANOTHER_BOOT, Ingested, settled


def match(imported: ImportedDevice, candidates: Iterable[Device]) -> Device | ImportFault:
    """The one device in service that a row is about, out of those with its id or its serial number.

    INVARIANT: an owner alone never decides: the facts of a managed laptop would vouch for its owner's private one. Nor
    does a serial number that two devices in service share.
    """
    living = [device for device in candidates if device.status not in ("revoked", "retired")]
    named = [device for device in living if imported.device_id and device.device_id == imported.device_id]
    same = [device for device in living if imported.serial_hash and device.serial_hash == imported.serial_hash]
    found = named or same
    if len(found) != 1:
        code = "IMPORT_AMBIGUOUS" if found else "IMPORT_NO_DEVICE"
        message = "several devices have this serial number" if found else "no device in service is meant by this row"
        return ImportFault(line=imported.line, code=code, message=message)
    device = found[0]
    if imported.serial_hash and device.serial_hash and imported.serial_hash != device.serial_hash:
        return ImportFault(line=imported.line, code="IMPORT_AMBIGUOUS", message="id and serial number contradict")
    return device


def take_import(
    device: Device, imported: ImportedDevice, *, now: int, names: Collection[str] = CATALOGUE.keys()
) -> Ingested:
    """Take in one row. An export that is older than what the source said before changes nothing.

    The facts of a source are replaced as a whole: what its newest word no longer holds, it no longer says.
    """
    held = device.sources.get(imported.source)
    if held is not None and imported.received_at < held.received_at:
        refusal = Finding(code="IMPORT_OLDER", message="the source said something newer before")
        return Ingested(device=device, changed=False, refusal=refusal)
    # A server that looked before the device was started this time saw another boot.
    started = device.streams[-1].since if device.streams else 0
    facts = {
        name: _of_its_boot(name, fact, before=imported.received_at < started) for name, fact in imported.facts.items()
    }
    before = held.facts if held is not None else {}
    history = remembered(device.history, changes(imported.source, before, facts, now=now))
    source = SourceFacts(
        source=imported.source, received_at=imported.received_at, facts=MappingProxyType(facts), version=imported.mdm_id
    )
    taken = replace(device, history=history, sources=MappingProxyType({**device.sources, imported.source: source}))
    findings = [Finding(code="CLOCK_SKEW", message="the source's clock is ahead")] if imported.ahead else []
    return settled(device, taken, findings, now=now, names=names, counts=False)


def _of_its_boot(name: str, fact: FactEnvelope, *, before: bool) -> FactEnvelope:
    if before and CATALOGUE[name].freshness == "boot":
        return replace(fact, boot_id=ANOTHER_BOOT)
    return fact
