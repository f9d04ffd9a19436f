"""THE path: gather, score, ask, interpret, record. Everything a request goes through between two byte strings.

Whatever raises on the way becomes a deny with a reason code, here and nowhere else. What is remembered (principals,
places, decisions) is remembered under everything it depends on, so a remembered answer is the answer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from zt_engine.core.classification import Label
from zt_engine.core.decision import Decision, Effect, Obligation, Standing, Unmet, Verdict, decide, meet, observe, read_layers
from zt_engine.core.decision_cache import DecisionCache, Projection
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.identity import AssuranceTable, step_up_satisfied
from zt_engine.core.policy_input import assemble, digest, fragment, trust_fragment
from zt_engine.core.request import AccessRequest
from zt_engine.core.situation import Applied, Situation
from zt_engine.core.trust import TrustScore, combine
from zt_engine.ports import Clock, DecisionLog, PolicyEngine
from zt_engine.sidecar.moments import Moment, Moments
from zt_engine.sidecar.principals import Principal, Principals
from zt_engine.sidecar.recorder import Answer, Recorder
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.targets import Place, Places, label_at

log = structlog.get_logger()

ENGINE_ENFORCES = ("notify_owner", "read_only")
"""Obligations the engine carries out itself: a write is refused, and every decision stands in the log."""

BLOCKED_DEVICES = frozenset({"lost", "revoked", "retired", "quarantined"})
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
    strongest: Mapping[str, str]
    """Issuer -> the best `acr` it can give."""
    versions: Mapping[str, str | int]
    not_after: int | None = None


class Case(msgspec.Struct, frozen=True):
    """Everything one decision depends on, gathered and proven."""

    request: AccessRequest
    principal: Principal
    place: Place
    moment: Moment
    location: str
    situation: Situation


class Authorizer:
    """Decides requests against the active policy and the replica."""

    def __init__(
        self,
        *,
        principals: Principals,
        replica: Replica,
        recorder: Recorder,
        clock: Clock,
        cache_entries: int,
    ) -> None:
        self._principals = principals
        self._replica = replica
        self._recorder = recorder
        self._clock = clock
        self._policy: Policy | None = None
        self._situation: Situation | None = None
        self._addresses: dict[str, str] = {}
        self.cache: DecisionCache[Answer] | None = DecisionCache(cache_entries) if cache_entries else None
        self.engine_seconds = 0.0
        self.engine_calls = 0

    @property
    def policy(self) -> Policy | None:
        """The active policy, None before the first activation."""
        return self._policy

    def activate(self, policy: Policy) -> Policy | None:
        """Replace the policy between two requests; returns the one it replaces, whose engine the caller closes."""
        old, self._policy = self._policy, policy
        self._addresses.clear()
        if self.cache is not None:
            self.cache.clear()
        return old

    def decide(self, request: AccessRequest, now: float) -> Answer:
        """Return the answer to a request: a decision for this tick, or the refusal it came to. Never raises."""
        try:
            case = self._gather(request, now)
            return self._answer(case)
        except ZtError as error:
            return self._refuse(request, error.code, error)
        except Exception as error:  # INVARIANT: whatever breaks denies; nothing is let through by an exception.
            log.exception("decision.failed", request_id=request.request_id, error=type(error).__name__)
            return self._refuse(request, "INTERNAL_ERROR", error)

    # -- gather

    def _gather(self, request: AccessRequest, now: float) -> Case:
        policy, situation = self._policy, self._replica.situation
        if policy is None or situation is None:
            raise UnavailableError("NOT_READY", "no policy or no records have been loaded")
        if policy.not_after is not None and now >= policy.not_after:
            raise UnavailableError("BUNDLE_EXPIRED", "the active bundle is past its time")
        if situation is not self._situation:
            self._situation = situation
            if self.cache is not None:
                self.cache.clear()
        place = policy.places.of(request.target, request.method)
        if request.channel not in place.resource.channels:
            raise InputError("CHANNEL_NOT_SERVED", "this service is not served over this channel")
        principal = self._principals.of(request, now)
        moment = policy.moments.of(principal, now, strongest=policy.strongest.get(principal.issuer))
        location = self._addresses.get(request.client_ip)
        if location is None:
            if len(self._addresses) >= MAX_ADDRESSES:
                self._addresses.clear()
            location = self._addresses[request.client_ip] = policy.moments.model.locate(request.client_ip)
        return Case(request, principal, place, moment, location, situation)

    # -- ask, or remember

    def _answer(self, case: Case) -> Answer:
        policy, cache = self._policy, self.cache
        assert policy is not None  # gathered above
        if cache is None or not policy.wanted.cacheable:
            return self._decide(policy, case)
        key = (
            case.principal.serial,
            case.place.serial,
            case.moment.tick_end,
            case.location,
            case.request.pep,
            case.request.purpose,
            case.request.client_ip if "client_ip" in policy.wanted.members else "",
        )
        answer = cache.get(key)
        if answer is None:
            answer = self._decide(policy, case)
            cache.put(key, answer.remembered())
        return answer

    def _decide(self, policy: Policy, case: Case) -> Answer:
        request, place, moment = case.request, case.place, case.moment
        resource = place.resource
        label, resource_json = label_at(
            place, tick_start=moment.tick_start, clock_synchronised=self._clock.synchronised()
        )
        trust = self._score(policy, case)
        applied = self._apply(policy, case, label)
        enforces = sorted({*request.enforces, *resource.enforces, *ENGINE_ENFORCES})
        document = assemble(
            request=request_fragment(request, place),
            subject=moment.subject_json,
            device=moment.device_json,
            resource=resource_json,
            trust=trust_fragment(
                score=trust.score,
                best=trust.best,
                after_step_up=trust.after_step_up,
                device=trust.device,
                subject=trust.subject,
                context=trust.context,
            ),
            grants=applied.grants_json,
            situation=applied.situation_json,
            enforces=fragment(enforces),
            tick_start=moment.tick_start,
            tick_end=moment.tick_end,
        )
        required = policy.layers.get(resource.service) or policy.layers["unlisted"]
        entry = resource.service if resource.service in policy.layers else "unlisted"
        verdict = meet(self._ask(policy, entry, document), required=required, known=policy.kinds)
        decision = self._interpret(policy, case, verdict, trust, applied, label, enforces)
        input_digest = digest(document)
        return self._recorder.answer(
            case.request, case.principal, case.place, decision,
            label=label, trust=trust, situation=case.situation, policy=policy, applied=applied,
            input_digest=input_digest, document=document, groups=case.principal.subject.groups,
        )  # fmt: skip
