"""One decision made anew: score, ask the engine, interpret. `authorize` says when, and remembers what it came to.

All it keeps are things made once for a policy in a situation: how they are named, and what an answer's bytes mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from zt_engine.core.bundle import UNLISTED, entrypoint
from zt_engine.core.classification import Label
from zt_engine.core.judgement import Circumstances, undisputed, weigh
from zt_engine.core.policy_input import assemble, digest, fragment, trust_fragment
from zt_engine.core.session import language_of_person
from zt_engine.core.situation import Applied, Situation, Target, registered
from zt_engine.core.trust import TrustScore, combine
from zt_engine.pages.denied import UNPROVEN
from zt_engine.ports import Clock
from zt_engine.sidecar.browser_sessions import lacks_device
from zt_engine.sidecar.hooks.answers import allow_head, deny_head, obligations_list
from zt_engine.sidecar.outcomes import Ground, Outcome, members, situation_fragment, who
from zt_engine.sidecar.policy import Case, Policy
from zt_engine.sidecar.recorder import decided_members
from zt_engine.sidecar.targets import label_at

Assert = Callable[[Case, Label, TrustScore], str]
"""Signs the statement for a backend whose route asks for one."""


class Deliberation:
    """Decides cases; everything a decision depends on is in its case."""

    def __init__(self, *, clock: Clock, assert_for: Assert) -> None:
        self.engine_ns = 0
        self.engine_calls = 0
        self._clock = clock
        self._assert_for = assert_for
        self._ground: Ground | None = None

    def _stand_on(self, policy: Policy, situation: Situation) -> Ground:
        """Return what is made once for a policy in a situation."""
        ground = self._ground
        if ground is None or ground.policy is not policy or ground.situation is not situation:
            ground = self._ground = Ground(policy, situation)
        return ground

    def decide(self, case: Case) -> Outcome:
        """Score, ask and interpret; raises UnavailableError when the engine gives nothing that can be interpreted."""
        moment, place, policy, request = case.moment, case.place, case.policy, case.request
        label, resource = place.resource.label, place.resource_json
        if place.timed:
            label, resource = label_at(
                place, tick_start=moment.tick_start, clock_synchronised=self._clock.synchronised()
            )
        ground = self._stand_on(policy, case.situation)
        ordinary = case.situation.ordinary
        applied = case.situation.quiet if ordinary else apply(case, label)
        device = case.principal.device
        if device is not None and device.ceiling is not None and label.rank > device.ceiling:
            ordinary, applied = False, registered(applied, device_id=device.device_id, ceiling=device.ceiling)
        frozen = moment.frozen
        # Somebody who asks for fresh reports now means it.
        still = frozen is not None and label.rank <= frozen.up_to and applied.report_age is None
        aged = frozen if still and frozen is not None else moment
        trust = combine(
            policy.moments.model,
            aged.device,
            moment.subject,
            policy.moments.context(moment, case.location, request.proof),
        )
        enforced = place.enforced(request.enforces)
        document = assemble(
            request=place.asked(
                request.channel,
                request.hook,
                request.purpose,
                request.client_ip if policy.wanted.client_ip else "",
            ),
            subject=moment.subject_json,
            device=aged.device_json,
            resource=resource,
            trust=trust_fragment(
                trust.score, trust.best, trust.after_step_up, trust.device, trust.subject, trust.context
            ),
            grants=fragment(applied.grants) if applied.grants else b"[]",
            situation=ground.ordinary if ordinary else situation_fragment(applied),
            enforces=enforced.fragment,
            tick_start=moment.tick_start,
            tick_end=moment.tick_end,
        )
        service = place.resource.service if place.resource.service in policy.layers else UNLISTED
        ruling = ground.rulings.of(service, self._ask(policy, service, document))
        write = place.resource.write
        if undisputed(
            ruling.verdict, ruling.duties, score=trust.score, enforces=enforced.ids, write=write, applied=applied
        ):
            decision, decided = ruling.allowed, ruling.members
        else:
            decision = weigh(
                ruling.verdict,
                Circumstances(
                    score=trust.score,
                    best=trust.best,
                    after_step_up=trust.after_step_up,
                    subject=case.principal.subject,
                    device_status=case.principal.device.status if case.principal.device is not None else "unknown",
                    report_age=aged.report_age,
                    rank=label.rank,
                    write=write,
                    enforces=enforced.names,
                    applied=applied,
                    observed=place.resource.observe,
                    tick_end=moment.tick_end,
                ),
                kinds=policy.kinds,
                assurance=policy.assurance,
            )
            decided = decided_members(decision)
        principal, name = case.principal, digest(document)
        if decision.opens:
            duties = ruling.obligations if decision is ruling.allowed else obligations_list(decision.obligations)
            assertion = self._assert_for(case, label, trust) if place.resource.assertion else ""
            head = allow_head(
                who(principal).identity, label=label.code, trust=trust.score, obligations=duties, assertion=assertion
            )
        else:
            head = deny_head(
                decision,
                scheme=principal.scheme,
                has_credential=principal.has_credential,
                told=UNPROVEN if principal.unproven and lacks_device(decision, policy.kinds) else "",
                language="" if principal.session is None else language_of_person(principal.session.claims),
            )
        as_of = frozen.as_of if still and frozen is not None else None
        named = members(
            who(principal), ground, request.hook, label.code, decided, trust, decision.threshold, applied, name, as_of
        )
        return Outcome(
            decision, head=head, members=named, rank=label.rank, label=label.code, trust=trust, digest=name,
            document=document, as_of=as_of,
        )  # fmt: skip

    def _ask(self, policy: Policy, service: str, document: bytes) -> bytes:
        started = time.perf_counter_ns()
        raw = policy.engine.evaluate(entrypoint(service), document)
        self.engine_ns += time.perf_counter_ns() - started
        self.engine_calls += 1
        return raw


def apply(case: Case, label: Label) -> Applied:
    """Return what the situation does to a case during its tick."""
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
