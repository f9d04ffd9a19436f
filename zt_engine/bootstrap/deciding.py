"""One decision, made as the sidecar makes it and then taken apart: for `zt decide`.

Credentials are not checked here (who asks is given, not proven); everything after them is the real path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from zt_engine.authoring.scenarios import Question
from zt_engine.authoring.yaml_text import YamlText
from zt_engine.bootstrap.activation import Parts
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.rehearsal import Stage, request_of
from zt_engine.core.bundle import UNLISTED, entrypoint
from zt_engine.core.catalogue import Observe
from zt_engine.core.decision import Decision, LayerResult, read_layers
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError
from zt_engine.core.identity import Subject
from zt_engine.core.judgement import Circumstances, judge
from zt_engine.core.lease import Lease
from zt_engine.core.policy_input import PolicyInput, fragment
from zt_engine.core.situation import FOREVER, Applied, AppliedGrant, Overlay, Target, Term, situate
from zt_engine.core.situation_words import parse_effect
from zt_engine.core.trust_explain import Explanation, Fix, explain, fixes
from zt_engine.core.trust_readings import read_context, read_device, read_subject
from zt_engine.pages.registry import Code
from zt_engine.ports import PolicyEngine

_AT = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with everything that led to it. `trust` is None when it is not known factor by factor."""

    decision: Decision
    document: PolicyInput | None
    """What Rego saw; None for a request that was refused before it got there."""
    raw: bytes = b""
    layers: Mapping[str, LayerResult] = {}
    trust: Explanation | None = None
    fixes: tuple[Fix, ...] | None = None
    """The fewest things that would lift the score to the threshold; None when none would, or nothing is known."""
    codes: Mapping[str, Code]
    notes: tuple[Problem, ...] = ()


class Decider:
    """Answers questions from one policy on one engine."""

    def __init__(
        self,
        parts: Parts,
        engine: PolicyEngine,
        *,
        strongest: Mapping[str, str] | None = None,
        lease: tuple[Lease, Callable[[], float]] | None = None,
    ) -> None:
        """`lease` as a `Stage` has it."""
        self._parts = parts
        self._engine = engine
        self._stage = Stage(parts, engine, strongest=strongest, lease=lease)
        self._codes = CodeTexts(parts.bundle.reasons)

    @property
    def ranks(self) -> Mapping[str, int]:
        """The label codes of the catalogue's scheme."""
        return self._stage.policy.ranks

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def decide(self, question: Question) -> Explained:
        """Return the decision on a question; ConfigError when it describes records nobody could have."""
        try:
            request = request_of(question)
        except InputError as error:  # what the hook refuses is never decided
            return Explained(decision=Decision.deny(error.code), document=None, codes=self._codes)
        scene, policy = self._stage.scene(question), self._stage.policy
        outcome = scene.authorizer.decide(request, question.at)[0]
        decision = outcome.decision
        situation = scene.replica.situation
        notes = situation.problems if situation is not None else ()
        if not outcome.document:
            return Explained(decision=decision, document=None, codes=self._codes, notes=notes)
        principal = scene.principals.of(request, question.at)
        model = policy.moments.model
        tick_start, tick_end, *_ = policy.moments.tick(principal.phase, question.at)
        strongest = policy.strongest.get(principal.issuer)
        held, as_of = principal.device, outcome.as_of
        if situation is not None and as_of is not None:
            frozen = policy.moments.of(principal, question.at, strongest=strongest, freeze=situation.freeze).frozen
            held = frozen.record if frozen is not None else held
        device = read_device(model, held)
        subject = read_subject(model, principal.subject, binding=principal.binding, strongest=strongest)
        context = read_context(
            model,
            location=model.locate(request.client_ip),
            path=request.proof,
            in_hours=model.in_hours(tick_start=tick_start, tick_end=tick_end),
        )
        document = msgspec.json.decode(outcome.document, type=PolicyInput)
        return Explained(
            decision=decision,
            document=document,
            raw=outcome.document,
            layers=self._ask(document, outcome.document),
            trust=explain(model, device=device, subject=subject, context=context, tick_end=tick_end, facts_as_of=as_of),
            fixes=fixes(
                model,
                device=device,
                subject=subject,
                context=context,
                tick_end=tick_end,
                threshold=decision.threshold,
                facts_as_of=as_of,
            ),
            codes=self._codes,
            notes=notes,
        )

    def decide_input(self, document: PolicyInput) -> Explained:
        """Return the decision on a finished policy input, as `zt audit replay` makes it."""
        policy, raw = self._stage.policy, fragment(document)
        try:
            layers = self._ask(document, raw)
            decision = judge(
                layers,
                self._circumstances(document),
                required=policy.layers[self._service(document)],
                kinds=policy.kinds,
                assurance=policy.assurance,
            )
        except UnavailableError as error:
            return Explained(decision=Decision.deny(error.code), document=document, raw=raw, codes=self._codes)
        return Explained(decision=decision, document=document, raw=raw, layers=layers, codes=self._codes)

    def _service(self, document: PolicyInput) -> str:
        service = document.resource.service
        return service if service in self._stage.policy.layers else UNLISTED

    def _ask(self, document: PolicyInput, raw: bytes) -> dict[str, LayerResult]:
        return read_layers(self._engine.evaluate(entrypoint(self._service(document)), raw))

    def _circumstances(self, document: PolicyInput) -> Circumstances:
        subject, trust = document.subject, document.trust
        return Circumstances(
            score=trust.score,
            best=trust.best,
            after_step_up=trust.after_step_up,
            subject=Subject(
                type=subject.type, id=subject.id, amr=tuple(subject.amr), acr=subject.acr,
                auth_time=document.time - subject.auth_age,
            ),
            device_status=document.device.status,
            report_age=document.device.report_age,
            rank=document.resource.label.rank,
            write=document.request.write,
            enforces=tuple(document.enforces),
            applied=self._applied(document),
            observed=self._observed(document),
            tick_end=document.time,
        )  # fmt: skip

    def _applied(self, document: PolicyInput) -> Applied:
        """Read the overlays again that the input names: whatever stands there was found to be in force."""
        overlays = []
        for item in document.situation.overlays:
            effect = parse_effect(item.effect)
            if effect is None:
                raise ConfigError((Problem(code="OVERLAY_EFFECT", message=f"`{item.effect}` is no effect"),))
            overlays.append(
                Overlay(
                    id=item.id, effect=item.effect, scope=item.scope, not_before=0, not_after=FOREVER,
                    parsed_effect=effect, terms=(Term("tenant"),),
                )
            )  # fmt: skip
        situation = situate(version="given", threat_level=document.situation.threat_level, overlays=overlays)
        applied = situation.effective(
            document.tick_start,
            document.time,
            target=Target(service=document.resource.service, label_rank=document.resource.label.rank),
            ranks=self._stage.policy.ranks,
            assurance=self._stage.policy.assurance,
        )
        grants = tuple(msgspec.convert(msgspec.to_builtins(one), AppliedGrant) for one in document.grants)
        return msgspec.structs.replace(applied, grants=grants) if grants else applied

    def _observed(self, document: PolicyInput) -> Observe | None:
        """Find the onboarding mode of the route; the path itself is blank in an input whose policy does not read it."""
        for rule in self._parts.catalogue.rules:
            if rule.service == document.resource.service and rule.template.text == document.request.route:
                return rule.observe if document.request.method in rule.methods else None
        return None


def is_policy_input(text: YamlText) -> bool:
    """Whether a file is a finished policy input (architecture: policy input) rather than a question."""
    return isinstance(text.value, Mapping) and "trust" in text.value and "resource" in text.value


def read_policy_input(text: YamlText) -> PolicyInput:
    """Read a finished policy input; raises ConfigError DECIDE_INPUT with the line of what is wrong."""
    try:
        return msgspec.convert(text.value, PolicyInput)
    except msgspec.ValidationError as error:
        found = _AT.search(str(error))
        steps = [name or int(number) for name, number in _STEP.findall(found[1] if found else "") if number != "..."]
        where = text.at(*steps)
        raise ConfigError((Problem(code="DECIDE_INPUT", message=str(error), where=where),)) from None
