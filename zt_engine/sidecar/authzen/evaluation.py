"""One question of an AuthZEN caller, decided on the path that proxies' requests take, and recorded as theirs are.

Resources of the catalogue go through scoring and layers; those of other types through a rule of the AuthZEN bundle.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import quoted
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.request import canonical_method
from zt_engine.core.situation import Situation
from zt_engine.sidecar.authorize import SPACE_OK, Authorizer, Believed, Memory, Space
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.places import HTTP, ROUTE, check_route, granted, target_of
from zt_engine.sidecar.authzen.rules import HOOK, MAX_LOGGED, Rules, Standing, check_revoked
from zt_engine.sidecar.authzen.statements import StatedRequest, check_statements, check_subject_type, read_stated
from zt_engine.sidecar.authzen.wire import Question
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.targets import NO_PLACE, KeyedHash

log = structlog.get_logger()


class RuleMemory(NamedTuple):
    """What a rule answered, and all that could end it."""

    outcome: Outcome
    place_log: bytes
    question: Question
    pep: Pep
    standing: Standing


class Evaluated(NamedTuple):
    """What was decided about a question."""

    outcome: Outcome
    remembered: bool
    place_log: bytes
    memory: Memory | RuleMemory | None = None


class Evaluator:
    """Decides questions. Never raises: what breaks is a refusal with a code."""

    def __init__(
        self,
        authorizer: Authorizer,
        believed: Believed,
        rules: Rules,
        *,
        replica: Replica,
        space: Space,
        home: str,
        path_key: bytes,
    ) -> None:
        """`home` is the issuer whose subjects go by their ids alone."""
        self.rules = rules
        self._authorizer = authorizer
        self._believed = believed
        self._replica = replica
        self._space = space
        self._home = home
        self._hash = KeyedHash(path_key)

    def decide(self, pep: Pep, question: Question, now: float, number: str) -> Evaluated:
        """Decide a question of `pep`; `number` is its request id, as the log knows it."""
        try:
            if question.resource.type in (HTTP, ROUTE):
                return self._catalogued(pep, question, now, number)
            return self._ruled(pep, question, now)
        except ZtError as error:
            return self._refused(question, error.code)
        except Exception as error:  # INVARIANT: whatever breaks denies; nothing is let through by an exception.
            log.exception("decision.failed", request_id=number, error=type(error).__name__)
            return self._refused(question, "INTERNAL_ERROR")

    def stands(self, memory: Memory | RuleMemory, now: float) -> bool:
        """Whether nothing that a remembered decision rests on has changed."""
        if isinstance(memory, Memory):
            return self._authorizer.stands(memory, now)
        return (
            memory.standing.situation is self._replica.situation
            and memory.standing.engine is self.rules.engine
            and self._space.state == SPACE_OK
        )

    def again(self, memory: Memory | RuleMemory, now: float, number: str) -> Evaluated:
        """Decide what was read before."""
        if isinstance(memory, Memory):
            return Evaluated(*self._authorizer.decide(memory.request, now, self._believed))
        return self.decide(memory.pep, memory.question, now, number)

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

    def _ruled(self, pep: Pep, question: Question, now: float) -> Evaluated:
        if question.resource.type not in pep.types or question.resource.type not in self.rules.types:
            raise InputError("AUTHZEN_TYPE", "this caller may not ask about resources of this type")
        check_subject_type(pep, question.subject)
        check_statements(pep, question.subject.properties, question.context)
        situation = self._situation()
        check_revoked(situation, question, home=self._home, now=now)
        if self._space.state != SPACE_OK:
            raise UnavailableError("LOG_UNAVAILABLE", "the log has no room but for what is public")
        outcome, remembered = self.rules.decide(pep, question, situation, self._hash)
        place = self._asked(question)
        memory = RuleMemory(outcome, place, question, pep, self.rules.stand_on(situation))
        return Evaluated(outcome, remembered, place, memory)

    def _situation(self) -> Situation:
        situation = self._replica.situation
        if situation is None:
            raise UnavailableError("NOT_READY", "no situation has been loaded")
        return situation

    def _refused(self, question: Question, code: str) -> Evaluated:
        policy, situation = self._authorizer.policy, self._replica.situation
        outcome = refusal(
            Decision.deny(code),
            hook=HOOK,
            threat_level=situation.threat_level if situation is not None else 0,
            revision=policy.revision if policy is not None else "",
            source=policy.source if policy is not None else "",
        )
        return Evaluated(outcome, False, self._asked(question))

    def _asked(self, question: Question) -> bytes:
        """Return the members of the log line for a question that names no place of the catalogue.

        The action stands for the method, the type of the resource for the route; its id may be personal, so that only
        its keyed hash is logged, as that of a path is.
        """
        if question.resource.type in (HTTP, ROUTE):
            return NO_PLACE
        return b'"method":%b,"host":"","route":%b,"path_hmac":"%b"' % (
            quoted(question.action.id[:MAX_LOGGED]),
            quoted(question.resource.type[:MAX_LOGGED]),
            self._hash(question.resource.id.encode("utf-8", "replace")),
        )


def _serves(pep: Pep, policy: Policy, host: str) -> bool:
    """Whether a service that a caller may ask about has this host: of another host it learns nothing at all."""
    services = policy.places.catalogue.services
    return any(name in services and host in services[name].hosts for name in pep.services)
