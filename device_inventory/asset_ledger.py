"""What the asset ledger says of a machine, held against what the machine says of itself.

An approver looks at this before a device is let in: a machine nobody bought is not approved by its own word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from device_inventory.inventory import Device

LedgerVerdict = Literal["exact", "serial", "differs", "absent", "unreported"]


class Asset(Struct, frozen=True, kw_only=True):
    """One line of an imported ledger: of the serial number only its hash."""

    serial_hash: str
    source: str
    heard_at: int
    """When the source itself last heard of the machine, in epoch seconds."""
    model: str = ""
    name: str = ""
    owner: str = ""
    """As the source writes it: rarely the name the person goes by here, so it is shown and not compared."""


class LedgerMatch(Struct, frozen=True, kw_only=True):
    """What came of comparing: `assets` are the lines with the device's serial number.

    `exact`: serial number and model agree. `serial`: the serial number does, and one side names no model. `differs`:
    a line with its serial number is another model. `absent`: no line has its serial number. `unreported`: it told none.
    """

    verdict: LedgerVerdict
    assets: tuple[Asset, ...] = ()
    twins: tuple[str, ...] = ()
    """Other devices with this serial number that have not ended."""


def compare(device: Device, assets: Iterable[Asset], *, same_serial: Iterable[Device] = ()) -> LedgerMatch:
    """Hold a device against the lines of the ledger and the other devices that have its serial number."""
    if not device.serial_hash:
        return LedgerMatch(verdict="unreported")
    found = tuple(asset for asset in assets if asset.serial_hash == device.serial_hash)
    twins = tuple(
        other.device_id
        for other in same_serial
        if other.device_id != device.device_id
        and other.serial_hash == device.serial_hash
        and other.status not in ("revoked", "retired")
    )
    return LedgerMatch(verdict=_verdict(device, found), assets=found, twins=twins)


def _verdict(device: Device, found: tuple[Asset, ...]) -> LedgerVerdict:
    if not found:
        return "absent"
    ours = _plain(device.model)
    theirs = {_plain(asset.model) for asset in found} - {""}
    if not ours or not theirs:
        return "serial"
    # Of several ledgers one that contradicts is enough to look twice.
    return "exact" if theirs == {ours} else "differs"


def _plain(model: str) -> str:
    """A model as it is compared: width, case and blanks are how it was typed, not what it is."""
    return " ".join(unicodedata.normalize("NFKC", model).casefold().split())
