"""Puts a device to the real policy, label by label, with nothing else in its way.

Whoever asks is signed in as well as the trust model knows, from the best place, within working hours, and holds what
the label names. So what is unmet is the device's, or is nobody's who signs in: the caller tells the two apart by asking
about a device without fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from device_inventory.device import DeviceRecord
from zt_engine.bootstrap.activation import Parts, make_policy
from zt_engine.core.catalogue import READ_METHODS, Resource, Rule
from zt_engine.core.errors import InputError
from zt_engine.core.identity import Subject
from zt_engine.core.request import AccessRequest, canonical_target
from zt_engine.core.situation import situate
from zt_engine.core.trust_explain import Fix, fixes
from zt_engine.core.trust_model import TrustModel, Window
from zt_engine.core.trust_readings import Readings, read_context, read_device, read_subject
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.deliberation import Deliberation
from zt_engine.sidecar.policy import Case, Policy
from zt_engine.sidecar.principals import Principal
from zt_engine.sidecar.targets import Place

OWNER = "owner"
TICK_SECONDS = 5
TRUST_LOW = "TRUST_LOW"
MAX_ROUTES = 6
"""So many routes of a label are tried before the plainest of them is taken."""
_ALWAYS = Window(offset=0, days=frozenset(range(7)), opens=0, closes=86_400)
_PLACEHOLDER = re.compile(r"\{[^}]*\}|\*")
_ADDRESS = "192.0.2.1"
_CALM = situate(version="readiness", threat_level=0)


class Answer(msgspec.Struct, frozen=True):
    """What the policy finds unmet, and the score it takes."""

    codes: frozenset[str]
    threshold: int


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One label with the route it is asked about, and who asks there."""

    label: str
    rank: int
    place: Place
    request: AccessRequest
    subject: Subject


class Asking:
    """One policy on one engine. For one thread at a time."""

    def __init__(self, parts: Parts, engine: PolicyEngine, *, strongest: str = "") -> None:
        trust = msgspec.structs.replace(parts.trust, windows=(_ALWAYS,))
        self.model = trust
        self._strongest = strongest or _strongest(trust)
        self._binding = _best(trust.subject.binding_values, "none")
        self._issuer = _issuer(trust)
        self._location = _best(trust.context.location_values, "unlisted")
        self._path = _best(trust.context.path_values, "key")
        self._parts = msgspec.structs.replace(parts, trust=trust)
        self._policy: Policy = make_policy(
            self._parts,
            engine,
            source="readiness",
            strongest={self._issuer: self._strongest},
            path_key=bytes(32),
            tick_seconds=TICK_SECONDS,
        )
        self._deliberation = Deliberation(clock=_Still(), assert_for=lambda _case, _label, _trust: "")
        self._serial = 0

    @property
    def asked(self) -> int:
        """How often the engine was asked."""
        return self._deliberation.engine_calls

    def ways(self, faultless: DeviceRecord, *, at: int) -> tuple[Way, ...]:
        """Return the labels of the scheme from the lowest, each with its plainest route; those without one are left
        out. Plainest is what finds least unmet with a device without fault. Raises UnavailableError.
        """
        found = []
        for level in sorted(self._parts.catalogue.scheme.levels.values(), key=lambda level: level.rank):
            ways = list(self._candidates(level.code))
            if ways:
                found.append(min(ways, key=lambda way: len(self.ask(way, faultless, at=at).codes)))
        return tuple(found)

    def ask(self, way: Way, record: DeviceRecord, *, at: int) -> Answer:
        """Return what the policy finds unmet on the way to a label; raises UnavailableError."""
        self._serial += 1
        principal = Principal(self._serial, since=at, until=at + TICK_SECONDS, situation=_CALM)
        principal.subject = msgspec.structs.replace(way.subject, auth_time=at)
        principal.device = record
        principal.binding = self._binding  # type: ignore[assignment]  # a word of the trust model
        principal.assigned = OWNER in record.assigned
        principal.has_credential = True
        principal.issuer = self._issuer
        moment = self._policy.moments.of(principal, at, strongest=self._strongest)
        decision = self._deliberation.decide(
            Case(self._policy, way.request, principal, way.place, moment, self._location, _CALM)
        ).decision
        return Answer(frozenset(item.code for item in decision.unmet), decision.threshold)

    def lifts(self, way: Way, record: DeviceRecord, *, threshold: int, at: int) -> tuple[Fix, ...] | None:
        """Return the fewest things about a device that lift the score to a threshold; None when none suffice."""
        tick_end = at + TICK_SECONDS
        subject = msgspec.structs.replace(way.subject, auth_time=at)
        return fixes(
            self.model,
            device=self.readings(record),
            subject=read_subject(
                self.model,
                subject,
                binding=self._binding,  # type: ignore[arg-type]  # a word of the trust model
                strongest=self._strongest,
            ),
            context=read_context(self.model, location=self._location, path=self._path, in_hours=True),
            tick_end=tick_end,
            threshold=threshold,
        )

    def readings(self, record: DeviceRecord) -> Readings:
        """Return what a record says under the trust model."""
        return read_device(self.model, record)

    def _candidates(self, code: str) -> Iterator[Way]:
        rules = [
            rule
            for rule in self._parts.catalogue.rules
            if rule.label.code == code and rule.label.declassify is None and rule.observe is None
        ]
        found = 0
        for rule in sorted(rules, key=_demands):
            for channel in rule.channels:
                way = self._way(rule, channel)
                if way is not None:
                    yield way
                    found += 1
            if found >= MAX_ROUTES:
                return

    def _way(self, rule: Rule, channel: str) -> Way | None:
        service = self._parts.catalogue.services[rule.service]
        path = _PLACEHOLDER.sub("a", rule.template.text)
        method = next((name for name in rule.methods if name in READ_METHODS), rule.methods[0])
        for host in service.hosts[:1]:
            try:
                target = canonical_target(path.encode(), host.encode(), scheme=b"https", port=b"443")
                place = self._policy.places.of(target, method)
            except InputError:
                return None
            resource = place.resource
            if resource.label.code != rule.label.code or channel not in resource.channels:
                return None
            request = AccessRequest(
                hook="nginx",
                pep="readiness",
                proof=self._path,
                channel=channel,
                enforces=(),
                method=method,
                target=target,
                client_ip=_ADDRESS,
                request_id="readiness",
                purpose=next(iter(resource.label.purpose), None),
            )
            return Way(
                label=resource.label.code,
                rank=resource.label.rank,
                place=place,
                request=request,
                subject=self._owner(resource),
            )
        return None

    def _owner(self, resource: Resource) -> Subject:
        """Return somebody who may have what is asked for, as far as the label says who that is."""
        label = resource.label
        named = dict(name.split(":", 1) for name in label.audience or () if ":" in name)
        # An attribute may name a group that is asked for; to be in one more never hurts the owner of a device.
        attributes = [value for value in resource.attributes.values() if isinstance(value, str)]
        return Subject(
            type="user",
            id=OWNER,
            issuer=self._issuer,
            groups=tuple(sorted({*attributes, *([named["group"]] if "group" in named else [])})),
            org=named.get("org", ""),
            nationality=next(iter(label.rel_to or ()), ""),
            amr=(self._strongest,) if self._strongest else (),
            acr=self._strongest,
            compartments=label.compartments,
            clearance=label.rank,
        )


class _Still:
    """No label of a way falls with time, so its clock is asked for nothing."""

    def now(self) -> float:
        return 0.0

    def elapsed(self) -> float:
        return 0.0

    def synchronised(self) -> bool:
        return False


def _demands(rule: Rule) -> tuple[int, bool, int]:
    """How much a route asks for beside its label: the plainest first, those that are read before the others."""
    label = rule.label
    sets = (label.caveats, label.compartments, rule.compartments, label.purpose, label.rel_to, label.audience)
    asked = sum(bool(item) for item in sets) + (label.integrity > 1) + bool(rule.state) + bool(rule.action)
    return asked, not READ_METHODS.intersection(rule.methods), len(rule.attributes)


def _best(values: Mapping[str, int], otherwise: str) -> str:
    return max(sorted(values), key=lambda name: values[name], default=otherwise)


def _strongest(model: TrustModel) -> str:
    """The sign-in that is worth most, and of those the one of the highest level."""
    table = model.authenticators
    return max(sorted(table), key=lambda name: (table[name], model.assurance.get(name, 0)), default="")


def _issuer(model: TrustModel) -> str:
    values = model.subject.proofing_values
    best = _best(values, "")
    return best if values.get(best, 0) > model.subject.proofing_other else "urn:zt:home"
