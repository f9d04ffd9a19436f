"""THE path: gather, score, ask, interpret, record. Everything a request goes through between two byte strings.

Whatever raises on the way becomes a deny with a reason code, here and nowhere else. What is remembered (principals,
places, decisions) is remembered under everything it depends on, so a remembered answer is the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec
import structlog

from zt_engine.core.bundle import UNLISTED, entrypoint
from zt_engine.core.classification import Label
from zt_engine.core.decision import Decision, LayerResult, read_layers
from zt_engine.core.decision_cache import DecisionCache, Projection
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.generations import Generations
from zt_engine.core.identity import AssuranceTable
from zt_engine.core.judgement import Circumstances, judge
from zt_engine.core.policy_input import assemble, digest, fragment, trust_fragment
from zt_engine.core.request import AccessRequest
from zt_engine.core.situation import Applied, Situation, Target
from zt_engine.core.trust import TrustScore, combine
from zt_engine.ports import Clock, PolicyEngine
from zt_engine.sidecar.hooks.answers import allow_head, deny_head
from zt_engine.sidecar.moments import Moment, Moments
from zt_engine.sidecar.principals import Principal, PrincipalRefused, Principals
from zt_engine.sidecar.recorder import Outcome, decision_members
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.targets import NO_PLACE, Place, Places, label_at

log = structlog.get_logger()

ENGINE_ENFORCES = ("notify_owner", "read_only")
"""Obligations the engine carries out itself: a write is refused, and every decision stands in the log."""

SPACE_OK = "ok"
OPEN_RANK = 100
"""The highest rank (C1) that is still answered while the log lives on its reserve."""

MAX_ADDRESSES = 50_000


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is active: one bundle with its catalogue and trust model, replaced as a whole between two requests."""

    engine: PolicyEngine
    revision: str
    source: str
    layers: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, str]
    """Every code a layer may name, and what would turn it into an allow."""
    places: Places
    moments: Moments
    wanted: Projection
    assurance: AssuranceTable
    ranks: Mapping[str, int]
    """Label code -> rank, of the catalogue's scheme."""
    strongest: Mapping[str, str]
    """Issuer -> the best `acr` it can give."""
    versions: Mapping[str, str | int]
    not_after: int | None = None


class Case(msgspec.Struct, frozen=True):
    """Everything one decision depends on, gathered and proven."""

    policy: Policy
    request: AccessRequest
    principal: Principal
    place: Place
    moment: Moment
    location: str
    situation: Situation


class Space(Protocol):
    """How the decision log stands: `ok`, on its `reserve` (only C0 and C1 are answered), or `unavailable`."""

    @property
    def state(self) -> str:
        """One of the three."""
        ...


class Memory(msgspec.Struct, frozen=True, gc=False):
    """A decision that was remembered, and all that could end it: `Authorizer.stands` asks whether any of it has."""

    outcome: Outcome
    place_log: bytes
    principal: Principal
    epoch: object
    since: float
    until: float


class Answer(NamedTuple):
    """What was decided about one request."""

    outcome: Outcome
    remembered: bool
    place_log: bytes
    """The target's members of the log line."""
    memory: Memory | None = None


class Authorizer:
    """Decides requests against the active policy and the replica."""

    def __init__(
        self,
        *,
        principals: Principals,
        replica: Replica,
        clock: Clock,
        space: Space,
        cache_entries: int,
        assert_for: Callable[[Case, Label, TrustScore], str],
    ) -> None:
        self._principals = principals
        self._replica = replica
        self._clock = clock
        self._space = space
        self._assert_for = assert_for
        self._policy: Policy | None = None
        self._undecided = ("NOT_READY", "no policy or no records have been loaded")
        self._situation: Situation | None = None
        self._addresses: Generations[str, str] = Generations(MAX_ADDRESSES)
        self._epoch = object()
        """Another one after everything that empties the cache, so that nothing outlives it elsewhere."""
        self.cache: DecisionCache[Outcome] | None = DecisionCache(cache_entries) if cache_entries else None
        self.engine_ns = 0
        self.engine_calls = 0

    @property
    def policy(self) -> Policy | None:
        """The active policy, None before the first activation."""
        return self._policy

    def activate(self, policy: Policy) -> Policy | None:
        """Replace the policy between two requests; returns the one it replaces, whose engine the caller closes."""
        old, self._policy = self._policy, policy
        self._addresses.clear()
        self.forget()
        return old

    def withdraw(self, code: str, message: str) -> None:
        """Decide nothing until the next activation: every request is denied with this code."""
        self._policy, self._undecided = None, (code, message)
        self._addresses.clear()
        self.forget()

    def forget(self) -> None:
        """Drop every remembered decision."""
        self._epoch = object()
        if self.cache is not None:
            self.cache.clear()

    def forget_principals(self) -> None:
        """Establish everybody anew: who vouches for devices has changed."""
        self._principals.forget()
        self.forget()

    def rely_on(self, principals: Principals, strongest: Mapping[str, str]) -> None:
        """Replace who is believed, between two requests: other issuers or other proxies."""
        self._principals = principals
        if self._policy is not None:
            self._policy = msgspec.structs.replace(self._policy, strongest=strongest)
        self.forget()

    def stands(self, memory: Memory, now: float) -> bool:
        """Whether nothing that a remembered decision rests on has changed, so that the same request gets it again.

        False also when something would have to be refused now: then `decide` finds out what.
        """
        cache = self.cache
        if (
            cache is None
            or memory.epoch is not self._epoch
            or not memory.since <= now < memory.until
            or not self._principals.holds(memory.principal)
            or (memory.outcome.rank > OPEN_RANK and self._space.state != SPACE_OK)
        ):
            return False
        cache.hits += 1
        return True

    def decide(self, request: AccessRequest, now: float) -> Answer:
        """Decide a request. Never raises: what breaks on the way is a refusal."""
        place = principal = None
        try:
            policy, situation = self._current(now)
            place = policy.places.of(request.target, request.method)
            if request.channel not in place.resource.channels:
                raise InputError("CHANNEL_NOT_SERVED", "this service is not served over this channel")
            principal = self._principals.of(request, now)
            moment = policy.moments.of(principal, now, strongest=policy.strongest.get(principal.issuer))
            location = self._locate(policy, request.client_ip)
            cache, wanted = self.cache, policy.wanted
            key = (
                principal.serial,
                place.kind,
                moment.tick_end,
                location,
                request.pep,
                request.proof,
                request.purpose,
                request.client_ip if wanted.client_ip else "",
            )
            outcome = cache.get(key) if cache is not None and wanted.cacheable else None
            remembered = outcome is not None
            kept = remembered
            if outcome is None:
                outcome = self._decide(Case(policy, request, principal, place, moment, location, situation))
                if cache is not None and wanted.cacheable and place.settled(moment.tick_start):
                    cache.put(key, outcome)
                    kept = True
            if outcome.rank > OPEN_RANK and self._space.state != SPACE_OK:
                return Answer(self._refuse(request, "LOG_UNAVAILABLE", place, who_of(principal)), False, place.log)
            memory = self._memory(outcome, policy, principal, place, moment) if kept and not request.dpop else None
            return Answer(outcome, remembered, place.log, memory)
        except PrincipalRefused as error:
            refused = self._refuse(request, error.code, place, (error.subject, error.device))
        except ZtError as error:
            refused = self._refuse(request, error.code, place, who_of(principal))
        except Exception as error:  # INVARIANT: whatever breaks denies; nothing is let through by an exception.
            log.exception("decision.failed", request_id=request.request_id, error=type(error).__name__)
            refused = self._refuse(request, "INTERNAL_ERROR", place, who_of(principal))
        return Answer(refused, False, NO_PLACE if place is None else place.log)

    def _memory(self, outcome: Outcome, policy: Policy, principal: Principal, place: Place, moment: Moment) -> Memory:
        """Remember until the first instant at which the same request could be decided otherwise by itself."""
        until = min(moment.until, principal.until)
        if policy.not_after is not None:
            until = min(until, policy.not_after)
        return Memory(outcome, place.log, principal, self._epoch, max(moment.since, principal.since), until)

    def _current(self, now: float) -> tuple[Policy, Situation]:
        policy, situation = self._policy, self._replica.situation
        if policy is None or situation is None:
            raise UnavailableError(*self._undecided)
        if policy.not_after is not None and now >= policy.not_after:
            raise UnavailableError("BUNDLE_EXPIRED", "the active bundle is past its time")
        if situation is not self._situation:
            self._situation = situation
            self.forget()
        return policy, situation

    def _locate(self, policy: Policy, client_ip: str) -> str:
        location = self._addresses.get(client_ip)
        if location is None:
            location = policy.moments.model.locate(client_ip)
            self._addresses.put(client_ip, location)
        return location

    def _decide(self, case: Case) -> Outcome:
        moment, place, policy = case.moment, case.place, case.policy
        label, resource = label_at(place, tick_start=moment.tick_start, clock_synchronised=self._clock.synchronised())
        trust = combine(
            policy.moments.model,
            moment.device,
            moment.subject,
            policy.moments.context(moment, case.location, case.request.proof),
        )
        applied = self._apply(case, label)
        enforces = sorted({*case.request.enforces, *place.resource.enforces, *ENGINE_ENFORCES})
        document = assemble(
            request=request_fragment(case.request, place, client_ip=policy.wanted.client_ip),
            subject=moment.subject_json,
            device=moment.device_json,
            resource=resource,
            trust=trust_fragment(
                score=trust.score,
                best=trust.best,
                after_step_up=trust.after_step_up,
                device=trust.device,
                subject=trust.subject,
                context=trust.context,
            ),
            grants=fragment(applied.grants),
            situation=situation_fragment(applied),
            enforces=fragment(enforces),
            tick_start=moment.tick_start,
            tick_end=moment.tick_end,
        )
        service = place.resource.service if place.resource.service in policy.layers else UNLISTED
        results = self._ask(policy, service, document)
        decision = judge(
            results,
            Circumstances(
                score=trust.score,
                best=trust.best,
                after_step_up=trust.after_step_up,
                subject=case.principal.subject,
                device_status=case.principal.device.status if case.principal.device is not None else "unknown",
                report_age=moment.report_age,
                rank=label.rank,
                write=place.resource.write,
                enforces=tuple(enforces),
                applied=applied,
                observed=place.resource.observe,
                tick_end=moment.tick_end,
            ),
            required=policy.layers[service],
            kinds=policy.kinds,
            assurance=policy.assurance,
        )
        return self._outcome(case, decision, label, trust, applied, document)

    def _ask(self, policy: Policy, service: str, document: bytes) -> dict[str, LayerResult]:
        started = time.perf_counter_ns()
        raw = policy.engine.evaluate(entrypoint(service), document)
        self.engine_ns += time.perf_counter_ns() - started
        self.engine_calls += 1
        return read_layers(raw)

    def _apply(self, case: Case, label: Label) -> Applied:
        principal, resource = case.principal, case.place.resource
        return case.situation.effective(
            case.moment.tick_start,
            case.moment.tick_end,
            target=Target(
                service=resource.service,
                label_rank=label.rank,
                subject_id=principal.subject.id,
                actor_id=principal.subject.delegate.id if principal.subject.delegate is not None else "",
                groups=principal.subject.groups,
                restricted_groups=principal.subject.restricted_groups,
                device_id=principal.device.device_id if principal.device is not None else "",
                ownership=principal.device.ownership if principal.device is not None else "",
                action=resource.action,
            ),
            ranks=case.policy.ranks,
            assurance=case.policy.assurance,
        )

    # -- what leaves

    def _outcome(
        self, case: Case, decision: Decision, label: Label, trust: TrustScore, applied: Applied, document: bytes
    ) -> Outcome:
        principal = case.principal
        device = principal.device.device_id if principal.device is not None else ""
        if decision.opens:
            head = allow_head(
                subject=principal.subject.id,
                device=device,
                groups=principal.subject.groups,
                label=label.code,
                trust=trust.score,
                obligations=decision.obligations,
                assertion=self._assert_for(case, label, trust) if case.place.resource.assertion else "",
            )
        else:
            head = deny_head(decision, scheme=principal.scheme, has_credential=principal.has_credential)
        name = digest(document)
        members = decision_members(
            decision,
            subject=principal.subject.id,
            device=device,
            hook=case.request.hook,
            label=label.code,
            trust=trust,
            threat_level=applied.threat_level,
            overlays=[overlay.id for overlay in applied.overlays],
            grants=[grant.id for grant in applied.grants],
            revision=case.policy.revision,
            source=case.policy.source,
            versions=versions(case),
            input_digest=name,
        )
        return Outcome(
            decision, head=head, members=members, rank=label.rank, label=label.code, trust=trust, digest=name,
            document=document,
        )  # fmt: skip

    def _refuse(self, request: AccessRequest, code: str, place: Place | None, who: tuple[str, str]) -> Outcome:
        """Return the refusal that an error came to: 401 when a fresh sign-in would help, 403 otherwise.

        `who` are the ids of subject and device, as far as they were proven.
        """
        policy, situation = self._policy, self._replica.situation
        kind = policy.kinds.get(code, "none") if policy is not None else "none"
        decision = Decision.deny(code, step_up=kind == "auth")
        scheme = "dpop" if request.authorization[:5].lower() == b"dpop " else "bearer"
        label = place.resource.label.code if place is not None else ""
        members = decision_members(
            decision,
            subject=who[0],
            device=who[1],
            hook=request.hook,
            label=label,
            trust=None,
            threat_level=situation.threat_level if situation is not None else 0,
            overlays=(),
            grants=(),
            revision=policy.revision if policy is not None else "",
            source=policy.source if policy is not None else "",
            versions={},
            input_digest="",
        )
        head = deny_head(decision, scheme=scheme, has_credential=bool(request.authorization))
        return Outcome(decision, head=head, members=members, label=label)


def who_of(principal: Principal | None) -> tuple[str, str]:
    """Return the ids of subject and device, empty as far as they are not known."""
    if principal is None:
        return "", ""
    return principal.subject.id, principal.device.device_id if principal.device is not None else ""


def request_fragment(request: AccessRequest, place: Place, *, client_ip: bool) -> bytes:
    """Encode the request part of the policy input; what the place knows is encoded already.

    An address that the policy does not read is blank: the decision log names the request, the proxy's log the address.
    """
    return b'{"channel":%b,"client_ip":"%b","hook":"%b",%b,"purpose":%b,%b}' % (
        fragment(request.channel),
        request.client_ip.encode() if client_ip else b"",
        request.hook.encode(),
        place.request_head,
        fragment(request.purpose),
        place.request_tail,
    )


def situation_fragment(applied: Applied) -> bytes:
    """Encode the situation part of the policy input."""
    return b'{"continuity":%b,"overlays":%b,"threat_level":%d}' % (
        b"true" if applied.continuity else b"false",
        fragment(applied.overlays),
        applied.threat_level,
    )


def versions(case: Case) -> dict[str, str | int]:
    """Return the version of everything a decision was made from."""
    named: dict[str, str | int] = {**case.policy.versions, "situation": case.situation.version}
    if case.principal.device is not None:
        named["device"] = case.principal.device.version
    for _, record in case.principal.records:
        if record is not None:
            named["subject"] = record.version
            break
    return named
