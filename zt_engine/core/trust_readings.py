"""What is known that bears on a pillar, before the clock is asked.

A reading is made once per version of a device record, or once per token. Only ages change after that, so a pillar at
an instant is a handful of additions, and while everything is fresh it is one comparison.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from device_inventory.device import DeviceRecord
from device_inventory.facts import CATALOGUE, FRESH, FUTURE_TOLERANCE, FactStatus, FactValue, FreshnessRange, freshness
from zt_engine.core.identity import Binding, Subject
from zt_engine.core.trust_model import FULL, DeviceFactor, Part, Pillars, TrustModel, best_goodness, goodness

_NEVER: Final = -(2**62)
_ALWAYS: Final = 2**62


class Reading(Struct, frozen=True, kw_only=True, gc=False):
    """One source's bearing on a factor: how good it is, how well proven, and since when."""

    source: str
    status: FactStatus
    value: FactValue
    method: str
    goodness: int
    multiplier: int
    received_at: int = 0
    limits: FreshnessRange | None = None
    """None does not age."""
    ceiling: int = 0
    """Goodness times confidence (0..10^6) once it is renewed: reported again, or signed in again."""
    improvable: bool = False
    """Whether renewing may help even though nothing is stale (a stronger sign-in)."""

    def fresh(self, now: int) -> int:
        """Freshness 0..1000 at `now`; 0 for whatever was not observed."""
        if self.status != "observed":
            return 0
        return FRESH if self.limits is None else freshness(now - self.received_at, self.limits)


class FactorReading(Struct, frozen=True, kw_only=True):
    """A factor with all that bears on it; its worth is that of the worst reading, or with `any_part` of the best."""

    name: str
    weight: int
    readings: tuple[Reading, ...]
    any_part: bool = False


class Pillar(Struct, frozen=True, gc=False):
    """A pillar's worth at one instant in millionths of a point, 0 to 100 points."""

    exact: int
    best: int
    """With every unknown or stale fact good and fresh, and the strongest sign-in just now."""
    stepped_up: int
    """With the strongest sign-in just now and nothing else changed."""


class Readings(Struct, frozen=True, kw_only=True):
    """All factors of one pillar; between `fresh_from` and `fresh_until` (both included) its worth is `fresh`."""

    pillar: Pillars
    factors: tuple[FactorReading, ...]
    fresh: Pillar
    fresh_from: int
    fresh_until: int


def pillar_at(readings: Readings, now: int) -> Pillar:
    """The pillar's worth at `now`."""
    if readings.fresh_from <= now <= readings.fresh_until:
        return readings.fresh
    return _sum(readings.pillar, readings.factors, now)


def standing_of(factor: FactorReading, now: int) -> tuple[Reading, int, int]:
    """The reading that decides a factor at `now`, its goodness times confidence (0..10^6), and that once renewed."""
    deciding, worth, renewed = factor.readings[0], -1, -1
    for reading in factor.readings:
        fresh = reading.fresh(now)
        here = reading.goodness * (reading.multiplier * fresh // FRESH)
        there = max(reading.ceiling, here) if fresh < FRESH or reading.improvable else here
        if worth < 0 or (here > worth if factor.any_part else here < worth):
            deciding, worth = reading, here
        if renewed < 0 or (there > renewed if factor.any_part else there < renewed):
            renewed = there
    return deciding, worth, renewed


def _sum(pillar: Pillars, factors: tuple[FactorReading, ...], now: int) -> Pillar:
    exact = renewed = 0
    for factor in factors:
        _, here, there = standing_of(factor, now)
        exact += factor.weight * here
        renewed += factor.weight * there
    return Pillar(exact, renewed, renewed if pillar == "subject" else exact)


def _readings(pillar: Pillars, factors: tuple[FactorReading, ...]) -> Readings:
    since, until = _NEVER, _ALWAYS
    for factor in factors:
        for reading in factor.readings:
            if reading.limits is not None and reading.status == "observed":
                since = max(since, reading.received_at - FUTURE_TOLERANCE)
                until = min(until, reading.received_at + reading.limits.full_until)
    fresh = _sum(pillar, factors, until) if since <= until else Pillar(0, 0, 0)
    return Readings(pillar=pillar, factors=factors, fresh=fresh, fresh_from=since, fresh_until=until)


def read_device(model: TrustModel, record: DeviceRecord | None) -> Readings:
    """Read what a record says, once per version of it.

    Without a record the pillar is worth nothing, and no report could change that: there is no device to send one.
    """
    if record is None:
        return NO_DEVICE
    return _readings("device", tuple(_device_factor(model, factor, record) for factor in model.device))


def _device_factor(model: TrustModel, factor: DeviceFactor, record: DeviceRecord) -> FactorReading:
    return FactorReading(
        name=factor.name,
        weight=factor.weight,
        any_part=factor.any_part,
        readings=tuple(_fact(model, part, record) for part in factor.parts),
    )


def _fact(model: TrustModel, part: Part, record: DeviceRecord) -> Reading:
    held = record.facts.get(part.fact)
    best = best_goodness(part)
    if held is None:
        multiplier = model.methods["signed_agent"]
        return Reading(
            source=part.fact, status="not_collected", value=None, method="signed_agent",
            goodness=0, multiplier=multiplier, ceiling=best * multiplier,
        )  # fmt: skip
    ages = CATALOGUE[part.fact].freshness
    # A fact of another boot is no fact of this one.
    void = ages == "boot" and held.boot_id not in ("", record.boot_id)
    multiplier = model.methods[held.method]
    known = held.status == "observed"
    return Reading(
        source=part.fact,
        status="not_collected" if known and void else held.status,
        value=held.value,
        method=held.method,
        goodness=goodness(part, held.value) if known else 0,
        multiplier=multiplier,
        received_at=held.received_at,
        limits=None if ages == "static" else model.freshness[ages],
        ceiling=best * multiplier,
    )


def read_subject(model: TrustModel, subject: Subject, *, binding: Binding, strongest: str | None = None) -> Readings:
    """Read what a token and the directory say, once per token.

    `strongest` is the best `acr` that the subject's issuer can give, empty when it offers no step-up; None is the
    pack's best. A program cannot sign in again.
    """
    factors = model.subject
    if subject.type == "workload":
        worth = factors.workload.get(binding, 0)
        authenticator = _told("binding", binding, worth)
        age = _told("binding", binding, FULL if worth else 0)
    else:
        authenticator, age = _sign_in(model, subject, strongest)
    known = subject.type != "anonymous"
    standing = factors.standing_values.get(subject.status, 0) if known else 0
    proofing = factors.proofing_values.get(subject.issuer, factors.proofing_other) if known else 0
    method = factors.standing_method
    parts = (
        ("authenticator", factors.authenticator, authenticator),
        ("authentication_age", factors.age, age),
        ("standing", factors.standing, _told("status", subject.status, standing, method, model.methods[method])),
        ("binding", factors.binding, _told("binding", binding, factors.binding_values.get(binding, 0))),
        ("proofing", factors.proofing, _told("issuer", subject.issuer, proofing)),
    )
    return _readings(
        "subject", tuple(FactorReading(name=name, weight=weight, readings=(read,)) for name, weight, read in parts)
    )


def _told(source: str, value: FactValue, worth: int, method: str = "attested", multiplier: int = FULL) -> Reading:
    return Reading(
        source=source, status="observed", value=value, method=method, goodness=worth, multiplier=multiplier
    )  # fmt: skip


def _sign_in(model: TrustModel, subject: Subject, strongest: str | None) -> tuple[Reading, Reading]:
    table = model.authenticators
    # The best of all that was used: naming one more method never makes a sign-in weaker.
    source, name, worth = "acr", subject.acr, table.get(subject.acr, 0)
    for method in subject.amr:
        if table.get(method, 0) > worth:
            source, name, worth = "amr", method, table[method]
    offered = max(table.values(), default=0) if strongest is None else table.get(strongest, 0)
    again = offered > 0
    signed_in = subject.type != "anonymous"
    authenticator = Reading(
        source=source, status="observed", value=name, method="attested", goodness=worth if signed_in else 0,
        multiplier=FULL, ceiling=offered * FULL, improvable=again,
    )  # fmt: skip
    dated = signed_in and subject.auth_time is not None
    age = Reading(
        source="auth_time", status="observed" if dated else "not_collected", value=subject.auth_time,
        method="attested", goodness=FULL, multiplier=FULL, received_at=subject.auth_time or 0,
        limits=model.subject.age_range, ceiling=FULL * FULL if again else 0,
    )  # fmt: skip
    return authenticator, age


def read_context(model: TrustModel, *, location: str, path: str, in_hours: bool, behaviour: str = "normal") -> Readings:
    """Read the circumstances of a request, for an explanation; `context_points` is the quick way to their sum."""
    factors = model.context
    parts = (
        ("behaviour", factors.behaviour, _told("behaviour", behaviour, factors.behaviour_values.get(behaviour, 0))),
        ("location", factors.location, _told("location", location, factors.location_values.get(location, 0))),
        ("path", factors.path, _told("path", path, factors.path_values.get(path, 0))),
        ("hours", factors.hours, _told("in_hours", in_hours, factors.inside if in_hours else factors.outside)),
    )
    return _readings(
        "context", tuple(FactorReading(name=name, weight=weight, readings=(read,)) for name, weight, read in parts)
    )


NO_DEVICE: Final = Readings(pillar="device", factors=(), fresh=Pillar(0, 0, 0), fresh_from=_NEVER, fresh_until=_ALWAYS)
