"""What keeps a device from each label, asked of the policy that decides: bundle, catalogue and trust model.

Nothing here knows a threshold or which code rests on which fact. Both are found by asking again about the same device
with something put right: what a code vanishes with is what it is about.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from device_inventory.device import DeviceRecord
from device_inventory.facts import CATALOGUE, FRESH, METHODS, Method, confidence
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.bootstrap.activation import Parts, facts_read, make_engine, read_bundle, read_catalogue, read_trust
from zt_engine.bootstrap.deciding_ground import read_file
from zt_engine.bootstrap.readiness_asking import TICK_SECONDS, TRUST_LOW, Answer, Asking, Way
from zt_engine.bootstrap.readiness_records import (
    faultless,
    ideal,
    in_order,
    key,
    lifted,
    normal,
    repaired,
    reported,
)
from zt_engine.config import Policy as PolicySettings
from zt_engine.control_plane.remedies import REMEDIES, NoReadiness, Unmet
from zt_engine.core.bundle import Reason
from zt_engine.core.classification import Level
from zt_engine.core.errors import ZtError
from zt_engine.core.generations import Generations
from zt_engine.core.trust_explain import Fix
from zt_engine.core.trust_readings import FactorReading, standing_of
from zt_engine.ports import PolicyEngine

log = structlog.get_logger()

REMEMBERED: Final = 20_000
"""So many different answers are kept, a kilobyte each; devices that say the same share one."""
BUDGET_MS: Final = 200
"""For one question. What policy may cost is the sidecar's to enforce; a list of remedies is worth a short wait."""
_HEARSAY: Final = frozenset({"self_report", "declared"})


class Found(NamedTuple):
    """What the policy says of a device."""

    unmet: tuple[Unmet, ...]
    labels: tuple[str, ...]
    """The labels it may be used for, from the lowest up to the first that it may not."""


class PolicyReadiness:
    """The `Readiness` that asks the policy. Safe to use from several threads; one of them asks at a time.

    What a policy says of single devices by their id (a terminal in an approved room) is not theirs to put right, and is
    not asked: all devices that report the same are one question.
    """

    def __init__(self, parts: Parts, engine: PolicyEngine, *, strongest: str = "") -> None:
        """The engine is this one's own, and freed with it; `strongest` is the best `acr` people here can sign in with.

        Without that word it is the best that the trust model knows.
        """
        self._asking = Asking(parts, engine, strongest=strongest)
        self._engine = engine
        self.reasons: Mapping[str, Reason] = parts.bundle.reasons
        """What the policy says of its own codes."""
        self.levels: Mapping[str, Level] = parts.catalogue.scheme.levels
        """The labels there are, with the names people know them by."""
        self._facts = tuple(sorted({*facts_read(parts.bundle.reads), *parts.trust.facts} & CATALOGUE.keys()))
        self._ways: tuple[Way, ...] | None = None
        self._known: Generations[bytes, Found] = Generations(REMEMBERED)
        self._lock = threading.Lock()

    @property
    def asked(self) -> int:
        """How often the policy engine was asked."""
        return self._asking.asked

    def close(self) -> None:
        """Free the engine."""
        with self._lock:
            self._engine.close()

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        """Return what is missing, each thing once for the lowest label it keeps the device from.

        READINESS_UNKNOWN when the policy gives no answer. Never raises.
        """
        found = self._find(record, now)
        return NoReadiness().unmet(record, now=now) if found is None else found.unmet

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        """Return the highest label that nothing about the device keeps it from, nor from any below it.

        Empty for none, or for no answer.
        """
        found = self._find(record, now)
        return found.labels[-1] if found is not None and found.labels else ""

    def _find(self, record: DeviceRecord, now: int) -> Found | None:
        """Return what is known of this content, found out now if need be; None when the policy does not answer."""
        at = now - now % TICK_SECONDS
        try:
            held = normal(record, self._facts, at)
            name = key(held, at)
            with self._lock:
                found = self._known.get(name)
                if found is None:
                    found = self._examine(held, at)
                    self._known.put(name, found)
            return found
        except ZtError as error:
            log.warning("readiness.unknown", code=error.code)
        except Exception as error:  # a report is taken in whatever its list of remedies comes to
            log.exception("readiness.failed", error=type(error).__name__)
        return None

    def _examine(self, held: DeviceRecord, at: int) -> Found:
        perfect = faultless(held, self._facts, at)
        if self._ways is None:
            self._ways = self._asking.ways(perfect, at=at)
        unmet: dict[tuple[str, str], Unmet] = {}
        labels = []
        for way in self._ways:
            if held.ceiling is not None and way.rank > held.ceiling:
                continue  # it was not registered for this label, which no fact of it changes
            beyond = self._asking.ask(way, perfect, at=at).codes
            if TRUST_LOW in beyond:
                continue  # no device is good enough for this label, so there is nothing to put right
            missing = _Label(self._asking, way, beyond, self._facts, at).missing(held)
            if not missing and not unmet:
                labels.append(way.label)
            for one in missing:
                unmet.setdefault((one.code, one.fact), one)
        return Found(tuple(unmet.values()), tuple(labels))


def read_readiness(folder: Path, keys: Mapping[str, BundlePublicKey], *, strongest: str = "") -> PolicyReadiness:
    """Read the policy in a folder, as a sidecar would, and compile it: seconds, and never on an event loop.

    Raises ConfigError or BundleError for whatever the sidecar would refuse as well.
    """
    bundle = read_bundle(read_file(folder / "bundle.tar.gz"), keys)
    parts = Parts(
        bundle=bundle,
        catalogue=read_catalogue(read_file(folder / "catalogue.yaml"), where=str(folder / "catalogue.yaml")),
        catalogue_digest="",
        trust=read_trust(read_file(folder / "trust.yaml"), where=str(folder / "trust.yaml")),
        trust_digest="",
    )
    return PolicyReadiness(parts, make_engine(bundle, PolicySettings(budget_ms=BUDGET_MS)), strongest=strongest)


class _Label:
    """One label's questions. `beyond` is what it finds unmet with a device without fault: nothing of the device's."""

    def __init__(self, asking: Asking, way: Way, beyond: frozenset[str], facts: tuple[str, ...], at: int) -> None:
        self._asking = asking
        self._way = way
        self._beyond = beyond
        self._facts = facts
        self._at = at

    def missing(self, held: DeviceRecord) -> list[Unmet]:
        """Return what keeps the device from the label; nothing when nothing does."""
        first = self._ask(held)
        if not first.codes:
            return []
        barred = self._ask(repaired(in_order(held, self._at), self._facts, self._at)).codes
        if barred:  # whose it is, or what it was registered for: no fact would help
            return [self._says(code) for code in sorted(barred - {TRUST_LOW})] or [self._says(TRUST_LOW)]
        # What stays with perfect facts is how the device stands, and how old its report is.
        standing = self._gates(repaired(held, self._facts, self._at))
        found = [self._says(code) for code in sorted(standing)]
        renewed = reported(held, self._at)
        again = self._gates(renewed)
        base = held
        if self._gates(held) - again:
            base = renewed
            if not standing - self._gates(repaired(renewed, self._facts, self._at)):
                found.append(self._says("REPORT_NOW"))
        needed = self._needed(in_order(base, self._at, report=False), found)
        if TRUST_LOW in first.codes:
            mended = repaired(base, needed, self._at, method="")
            found += self._lifts(mended, threshold=first.threshold, renewed=base is renewed)
        # INVARIANT: what keeps a device from a label is never an empty list, whatever the policy's codes rest on.
        return list(dict.fromkeys(found)) or [self._says(code) for code in sorted(first.codes)]

    def _needed(self, base: DeviceRecord, found: list[Unmet]) -> list[str]:
        """Return the facts that the policy's gates need put right, and add what is to be done to `found`."""
        fine = in_order(base, self._at)
        good = [name for name in self._facts if self._good(base, name)]
        suspects = [name for name in self._facts if name not in good]
        if self._gates(repaired(fine, suspects, self._at)):
            suspects = [*self._facts]
        needed = []
        for name in suspects:  # each fact by itself among perfect ones
            codes = self._gates(repaired(fine, (other for other in self._facts if other != name), self._at))
            if codes:
                needed.append(name)
                found.append(self._remedy(base, name, codes))
        left = self._gates(repaired(fine, needed, self._at))
        while left:  # of facts that stand for each other the first one helps
            for name in [name for name in suspects if name not in needed]:
                then = self._gates(repaired(fine, [*needed, name], self._at))
                if then < left:
                    needed.append(name)
                    found.append(self._remedy(base, name, left - then))
                    left = then
                    break
            else:
                found += [self._says(code) for code in sorted(left)]
                break
        return needed

    def _lifts(self, record: DeviceRecord, *, threshold: int, renewed: bool) -> list[Unmet]:
        """Return the fewest things that lift the score once the gates are passed; a new report counts as one."""
        least = self._fixes(record, threshold)
        if not renewed and least != ():
            fresh = reported(record, self._at)
            after = self._fixes(fresh, threshold)
            if after is not None and (least is None or len(after) < len(least)):
                return [self._says("REPORT_NOW"), *self._named(after, fresh)]
        if least is not None:
            return self._named(least, record)
        methods: tuple[Method, ...] = ("signed_agent", "mdm_server", "attested")
        for method in methods:  # it takes somebody else's word, the nearest first
            vouched = lifted(record, METHODS.index(method))
            least = self._fixes(vouched, threshold)
            if least is not None:
                return [self._says("FACTS_UNVOUCHED"), *self._named(least, vouched)]
        return [self._says(TRUST_LOW)]

    def _fixes(self, record: DeviceRecord, threshold: int) -> tuple[Fix, ...] | None:
        return self._asking.lifts(self._way, record, threshold=threshold, at=self._at)

    def _named(self, least: Iterable[Fix], record: DeviceRecord) -> list[Unmet]:
        factors: Mapping[str, FactorReading] = {factor.name: factor for factor in self._asking.readings(record).factors}
        named = []
        for fix in least:
            if fix.pillar == "device":
                factor = factors[fix.factor]
                # Of parts that stand for each other the first is the better one to put right.
                fact = factor.readings[0].source if factor.any_part else standing_of(factor, self._at)[0].source
                named.append(self._remedy(record, fact, ()))
        return named

    def _remedy(self, record: DeviceRecord, name: str, codes: Iterable[str]) -> Unmet:
        """Say what to do about a fact: by the policy's word where only the fact's source or age is not good enough."""
        held = record.facts.get(name)
        if held is None or held.status != "observed" or held.value != ideal(name, self._at):
            return self._says(REMEDIES.get(name, next(iter(sorted(codes)), "FACT_SHORT")), name)
        if held.method in _HEARSAY:
            return self._says("FACTS_UNVOUCHED")
        if not confidence(name, held, boot_id=record.boot_id, now=self._at, ranges=self._asking.model.freshness):
            return self._says("FACT_STALE", name)
        return self._says(next(iter(sorted(codes)), REMEDIES.get(name, "FACT_SHORT")), name)

    def _good(self, record: DeviceRecord, name: str) -> bool:
        held = record.facts.get(name)
        if held is None or held.status != "observed" or held.value != ideal(name, self._at):
            return False
        ranges = self._asking.model.freshness
        fresh = confidence(name, held, boot_id=record.boot_id, now=self._at, ranges=ranges)
        return held.method not in _HEARSAY and fresh == FRESH

    def _ask(self, record: DeviceRecord) -> Answer:
        answer = self._asking.ask(self._way, record, at=self._at)
        return Answer(answer.codes - self._beyond, answer.threshold)

    def _gates(self, record: DeviceRecord) -> frozenset[str]:
        return self._ask(record).codes - {TRUST_LOW}

    def _says(self, code: str, fact: str = "") -> Unmet:
        return Unmet(code=code, label=self._way.label, fact=fact)
