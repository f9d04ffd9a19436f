"""THE path: gather, score, ask, interpret, record. Everything a request goes through between two byte strings.

Whatever raises on the way becomes a deny with a reason code, here and nowhere else. What is remembered (principals,
places, decisions) is remembered under everything it depends on, so a remembered answer is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec
import structlog

from zt_engine.core.decision import Decision
from zt_engine.core.decision_cache import DecisionCache
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.generations import Generations
from zt_engine.core.lease import Lease
from zt_engine.core.request import AccessRequest
from zt_engine.core.situation import Situation
from zt_engine.ports import Clock
from zt_engine.sidecar.deliberation import Assert, Deliberation
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.policy import Case, Policy
from zt_engine.sidecar.principals import Principal, PrincipalRefused, Principals
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.targets import NO_PLACE, Place

log = structlog.get_logger()

SPACE_OK = "ok"
OPEN_RANK = 100
"""The highest rank (C1) that is still answered while the log lives on its reserve."""

MAX_ADDRESSES = 50_000


class Space(Protocol):
    """How the decision log stands: `ok`, on its `reserve` (only C0 and C1 are answered), or `unavailable`."""

    @property
    def state(self) -> str:
        """One of the three."""
        ...


class Believed(Protocol):
    """Says who asks. No two of them number their principals alike."""

    def of(self, request: AccessRequest, now: float) -> Principal:
        """Return the principal of a request, or raise InputError."""
        ...


class Memory(msgspec.Struct, frozen=True, gc=False):
    """A decision that was remembered, and all that could end it: `Authorizer.stands` asks whether any of it has."""

    outcome: Outcome
    request: AccessRequest
    """What was asked; its credentials are the principal's copies, so that a thousand memories of one hold them once."""
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
        assert_for: Assert,
        lease: Lease | None = None,
    ) -> None:
        """Without a lease what is known never grows stale: it comes from files beside this process."""
        self._lease_ends = lease.ends if lease is not None else None
        self._elapsed = clock.elapsed
        self._principals = principals
        self._replica = replica
        self._space = space
        self._deliberation = Deliberation(clock=clock, assert_for=assert_for)
        self._policy: Policy | None = None
        self._undecided = ("NOT_READY", "no policy or no records have been loaded")
        self._situation: Situation | None = None
        self._addresses: Generations[str, str] = Generations(MAX_ADDRESSES)
        self._epoch = object()
        """Another one after everything that empties the cache, so that nothing outlives it elsewhere."""
        self.cache: DecisionCache[Outcome] | None = DecisionCache(cache_entries) if cache_entries else None

    @property
    def policy(self) -> Policy | None:
        """The active policy, None before the first activation."""
        return self._policy

    @property
    def engine_ns(self) -> int:
        """Nanoseconds spent in policy engines."""
        return self._deliberation.engine_ns

    @property
    def engine_calls(self) -> int:
        """How often a policy engine was asked."""
        return self._deliberation.engine_calls

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
            or (self._lease_ends is not None and self._elapsed() >= self._lease_ends[memory.outcome.rank])
        ):
            return False
        cache.hits += 1
        return True

    def decide(self, request: AccessRequest, now: float, believed: Believed | None = None) -> Answer:
        """Decide a request. Never raises: what breaks on the way is a refusal.

        `believed` says who asks instead of the request's credentials, for a caller that vouches for somebody.
        """
        place = principal = None
        try:
            policy, situation = self._current(now)
            place = policy.places.of(request.target, request.method)
            if request.channel not in place.resource.channels:
                raise InputError("CHANNEL_NOT_SERVED", "this service is not served over this channel")
            principal = (self._principals if believed is None else believed).of(request, now)
            moment = policy.moments.of(
                principal, now, strongest=policy.strongest.get(principal.issuer), freeze=situation.freeze
            )
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
            case = Case(policy, request, principal, place, moment, location, situation)
            if outcome is None:
                outcome = self._deliberation.decide(case)
                if cache is not None and wanted.cacheable and place.settled(moment.tick_start):
                    cache.put(key, outcome)
                    kept = True
            if self._lease_ends is not None and self._elapsed() >= self._lease_ends[outcome.rank]:
                raise UnavailableError("STALE_POLICY", "too long ago that the control plane was heard")
            if outcome.rank > OPEN_RANK and self._space.state != SPACE_OK:
                return Answer(self._refuse(request, "LOG_UNAVAILABLE", place, who_of(principal)), False, place.log)
            memory = self._memory(case, outcome) if kept and not request.dpop else None
            return Answer(outcome, remembered, place.log, memory)
        except PrincipalRefused as error:
            refused = self._refuse(request, error.code, place, (error.subject, error.device))
        except ZtError as error:
            refused = self._refuse(request, error.code, place, who_of(principal))
        except Exception as error:  # INVARIANT: whatever breaks denies; nothing is let through by an exception.
            log.exception("decision.failed", request_id=request.request_id, error=type(error).__name__)
            refused = self._refuse(request, "INTERNAL_ERROR", place, who_of(principal))
        return Answer(refused, False, NO_PLACE if place is None else place.log)

    def _memory(self, case: Case, outcome: Outcome) -> Memory:
        """Remember until the first instant at which the same request could be decided otherwise by itself."""
        principal, moment, asked = case.principal, case.moment, case.request
        until = min(moment.until, principal.until)
        if case.policy.not_after is not None:
            until = min(until, case.policy.not_after)
        if asked.authorization is not principal.authorization or asked.client_cert is not principal.client_cert:
            asked = msgspec.structs.replace(
                asked, authorization=principal.authorization, client_cert=principal.client_cert
            )
        return Memory(outcome, asked, case.place.log, principal, self._epoch, max(moment.since, principal.since), until)

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

    def _refuse(self, request: AccessRequest, code: str, place: Place | None, whose: tuple[str, str]) -> Outcome:
        """Return the refusal that an error came to: 401 when a fresh sign-in would help, 403 otherwise.

        `whose` are the ids of subject and device, as far as they were proven.
        """
        policy, situation = self._policy, self._replica.situation
        kind = policy.kinds.get(code, "none") if policy is not None else "none"
        return refusal(
            Decision.deny(code, step_up=kind == "auth"),
            hook=request.hook,
            subject=whose[0],
            device=whose[1],
            label=place.resource.label.code if place is not None else "",
            threat_level=situation.threat_level if situation is not None else 0,
            revision=policy.revision if policy is not None else "",
            source=policy.source if policy is not None else "",
            scheme="dpop" if request.authorization[:5].lower() == b"dpop " else "bearer",
            has_credential=bool(request.authorization),
        )


def who_of(principal: Principal | None) -> tuple[str, str]:
    """Return the ids of subject and device, empty as far as they are not known."""
    if principal is None:
        return "", ""
    return principal.subject.id, principal.device.device_id if principal.device is not None else ""
