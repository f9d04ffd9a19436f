"""One question of an AuthZEN caller, decided on the path that proxies' requests take, and recorded as theirs are."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import quoted
from zt_engine.core.errors import InputError, ZtError
from zt_engine.core.request import canonical_method
from zt_engine.sidecar.authorize import Authorizer, Believed, Memory
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.places import HTTP, ROUTE, check_route, granted, target_of
from zt_engine.sidecar.authzen.statements import StatedRequest, check_subject_type, read_stated
from zt_engine.sidecar.authzen.wire import Question
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.targets import NO_PLACE

HOOK = "authzen"
MAX_LOGGED = 256
"""Characters of a name that somebody sent, in a line of the log."""


class Evaluated(NamedTuple):
    """What was decided about a question."""

    outcome: Outcome
    remembered: bool
    place_log: bytes
    memory: Memory | None = None


class Rules(Protocol):
    """Decides resources that are not the catalogue's."""

    def knows(self, resource_type: str) -> bool:
        """Whether some rule decides resources of this type."""
        ...

    def decide(self, question: Question) -> Evaluated:
        """Decide a question whose rights were checked. Never raises."""
        ...


class Evaluator:
    """Decides questions. Never raises: what breaks is a refusal with a code."""

    def __init__(self, authorizer: Authorizer, believed: Believed, rules: Rules) -> None:
        self._authorizer = authorizer
        self._believed = believed
        self._rules = rules

    def decide(self, pep: Pep, question: Question, now: float, number: str) -> Evaluated:
        """Decide a question of `pep`; `number` is its request id, as the log knows it."""
        try:
            if question.resource.type in (HTTP, ROUTE):
                return self._catalogued(pep, question, now, number)
            if question.resource.type not in pep.types or not self._rules.knows(question.resource.type):
                raise InputError("AUTHZEN_TYPE", "this caller may not ask about resources of this type")
            check_subject_type(pep, question.subject)
            return self._rules.decide(question)
        except ZtError as error:
            return self._refused(question, error.code)

    def again(self, memory: Memory, now: float) -> Evaluated:
        """Decide what was read before."""
        return Evaluated(*self._authorizer.decide(memory.request, now, self._believed))

    def _catalogued(self, pep: Pep, question: Question, now: float, number: str) -> Evaluated:
        stated, address = read_stated(pep, question.subject)
        method = canonical_method(question.action.id.encode("utf-8", "replace"))
        target = target_of(question.resource)
        policy = self._authorizer.policy
        if target.host not in pep.hosts and not (policy is not None and _serves(pep, policy, target.host)):
            raise InputError("AUTHZEN_FOREIGN", "this caller may not ask about this host")
        if policy is not None:
            if question.resource.type == ROUTE:
                check_route(policy, target, method)
            resource = policy.places.of(target, method).resource
            if not granted(pep.hosts, pep.services, host=target.host, service=resource.service):
                raise InputError("AUTHZEN_FOREIGN", "this caller may not ask about this service")
        request = StatedRequest(
            HOOK, pep.known_as, pep.proof, pep.channel, pep.enforces, method, target, address, number, stated=stated
        )
        return Evaluated(*self._authorizer.decide(request, now, self._believed))

    def _refused(self, question: Question, code: str) -> Evaluated:
        policy = self._authorizer.policy
        outcome = refusal(
            Decision.deny(code),
            hook=HOOK,
            revision=policy.revision if policy is not None else "",
            source=policy.source if policy is not None else "",
        )
        return Evaluated(outcome, False, asked_members(question))


def _serves(pep: Pep, policy: Policy, host: str) -> bool:
    """Whether a service that a caller may ask about has this host: of another host it learns nothing at all."""
    services = policy.places.catalogue.services
    return any(name in services and host in services[name].hosts for name in pep.services)


def asked_members(question: Question) -> bytes:
    """Return the members of the log line for a question that names no place of the catalogue.

    The action stands for the method and the type of the resource for the route; its id may be personal and stays out.
    """
    if question.resource.type in (HTTP, ROUTE):
        return NO_PLACE
    return b'"method":%b,"host":"","route":%b,"path_hmac":""' % (
        quoted(question.action.id[:MAX_LOGGED]),
        quoted(question.resource.type[:MAX_LOGGED]),
    )
