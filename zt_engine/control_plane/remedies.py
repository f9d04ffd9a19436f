"""What still keeps a device from a label, and what to do about it: one item each, in Japanese or English.

Which label demands what is the policy's to say, so it is asked (`Readiness`). Nothing here knows a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from device_inventory.consistency import Finding
from device_inventory.device import DeviceRecord
from device_inventory.facts import confidence
from zt_engine.core.trust_model import DeviceFactor, Part, TrustModel, best_goodness, goodness
from zt_engine.pages.registry import Code


class Unmet(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not shown: `label` is the lowest label it keeps the device from, empty for no label at all."""

    code: str
    label: str = ""
    fact: str = ""


class Readiness(Protocol):
    """Asks the policy what a device's record does not show."""

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        """Return what is missing, label by label from the lowest; nothing when nothing is."""
        ...

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        """Return the highest label the device may be used for now; empty for none, and where no label is known."""
        ...


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list that a person works through."""

    fact: str = ""
    label: str = ""
    code: str
    text: str
    remedy: str = ""
    command: str = ""


def items(
    unmet: Iterable[Unmet], *, findings: Iterable[Finding] = (), codes: Mapping[str, Code], language: str
) -> tuple[Item, ...]:
    """Return the list in one language: what is missing first, then what is odd about the report.

    A code without a text is shown as it is. The same thing is listed once, for the lowest label it keeps closed.
    """
    wanted = [*unmet, *(Unmet(code=finding.code, fact=finding.fact) for finding in findings)]
    listed: dict[tuple[str, str], Item] = {}
    for one in wanted:
        entry = codes.get(one.code)
        item = Item(
            fact=one.fact,
            label=one.label,
            code=one.code,
            text=entry.text(language) if entry is not None else one.code,
            remedy=entry.hint(language) if entry is not None else "",
            command=entry.command if entry is not None else "",
        )
        listed.setdefault((one.code, one.fact), item)
    return tuple(listed.values())


class NoReadiness:
    """The `Readiness` of whoever asks nobody: it says so, since an empty list would say that all is well."""

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        """Return that nobody was asked."""
        return (Unmet(code="READINESS_UNKNOWN"),)

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        """Return that no label is known."""
        return ""


class ModelReadiness:
    """The `Readiness` of whoever has no policy engine at hand: what costs the device points in the pack's trust model.

    It names no label, since the score alone opens none: every fact that is not as good as the model knows it, or that
    nobody has lately observed, is worth putting right, and nothing else is claimed.
    """

    def __init__(self, model: TrustModel) -> None:
        self._model = model

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        """Return every fact that costs points, in the order of what it weighs."""
        heavier = sorted(self._model.device, key=lambda factor: -factor.weight)
        return tuple(missing for factor in heavier for missing in self._missing(factor, record, now))

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        """Return that no label is known."""
        return ""

    def _missing(self, factor: DeviceFactor, record: DeviceRecord, now: int) -> list[Unmet]:
        short = [part for part in factor.parts if not self._good(part, record, now)]
        if not short or (factor.any_part and len(short) < len(factor.parts)):
            return []
        # Of parts that stand for each other the first is the better one to put right.
        named = short[:1] if factor.any_part else short
        return [Unmet(code=REMEDIES.get(part.fact, "FACT_SHORT"), fact=part.fact) for part in named]

    def _good(self, part: Part, record: DeviceRecord, now: int) -> bool:
        fact = record.facts.get(part.fact)
        if fact is None or not confidence(
            part.fact, fact, boot_id=record.boot_id, now=now, ranges=self._model.freshness
        ):
            return False
        return goodness(part, fact.value) >= best_goodness(part)


REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "device.key_protection": "FIX_KEY_PROTECTION",
        "patch.oldest_pending_days": "FIX_PATCH",
        "vuln.kev_open": "FIX_EXPLOITED",
        "vuln.kev_overdue": "FIX_EXPLOITED",
        "disk.encrypted": "FIX_DISK",
        "edr.running": "FIX_PROTECTION",
        "av.realtime": "FIX_PROTECTION",
        "mdm.enrolled": "FIX_MANAGEMENT",
        "firewall.enabled": "FIX_FIREWALL",
        "boot.secure_boot": "FIX_SECURE_BOOT",
        "screenlock.enabled": "FIX_SCREEN_LOCK",
        "user.is_admin": "FIX_ADMINISTRATOR",
        "integrity.rooted": "FIX_INTEGRITY",
        "os.supported": "FIX_SYSTEM_VERSION",
    }
)
"""What to do about a fact that is not good, by the code whose text says so."""
