"""From what the layers said to a decision: the circumstances that count besides, from a live request or from the log.

`zt audit replay` runs this very function over the recorded inputs, so nothing here may depend on anything that is not
in the policy input, the bundle or the catalogue.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import msgspec

from zt_engine.core.catalogue import Observe
from zt_engine.core.classification import RANK_C2
from zt_engine.core.decision import (
    Decision,
    Effect,
    LayerResult,
    Obligation,
    Standing,
    Unmet,
    Verdict,
    decide,
    meet,
    observe,
)
from zt_engine.core.identity import AssuranceTable, Subject, assurance_level, step_up_satisfied
from zt_engine.core.situation import Applied

BLOCKED_DEVICES = frozenset({"lost", "revoked", "retired", "quarantined"})
"""Devices for which nothing is ever observed instead of enforced."""

READ_ONLY = "read_only"
"""The obligation that the engine enforces itself: a write is refused."""

RECORD_SESSION = "record_session"
"""What comes with a broken glass: the engine writes down every request, and whoever can record more is told to."""


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What decides besides the layers; every age is measured to the tick's end."""

    score: int
    best: int
    after_step_up: int
    subject: Subject
    device_status: str
    report_age: int
    rank: int
    write: bool
    enforces: tuple[str, ...]
    applied: Applied
    observed: Observe | None
    tick_end: int


def judge(
    results: Mapping[str, LayerResult],
    circumstances: Circumstances,
    *,
    required: Sequence[str],
    kinds: Mapping[str, str],
    assurance: AssuranceTable,
) -> Decision:
    """Return the decision; raises UnavailableError LAYER_MALFORMED for layers that do not say one legal thing."""
    return weigh(meet(results, required=required, known=kinds), circumstances, kinds=kinds, assurance=assurance)


def weigh(
    verdict: Verdict, circumstances: Circumstances, *, kinds: Mapping[str, str], assurance: AssuranceTable
) -> Decision:
    """Return the decision that the meet of all layers comes to in these circumstances."""
    overlaid = tighten(circumstances, assurance)
    standing = Standing(
        score=circumstances.score,
        best=circumstances.best,
        after_step_up=circumstances.after_step_up,
        has_credential=circumstances.subject.type != "anonymous",
        may_step_up=not _signed_in_enough((*verdict.unmet, *overlaid), circumstances, assurance),
    )
    decision = decide(
        verdict,
        standing,
        kinds=kinds,
        enforces=circumstances.enforces,
        extra_unmet=overlaid,
        extra_obligations=_duties(circumstances.applied),
        threshold_plus=circumstances.applied.threshold_plus,
    )
    if decision.effect is Effect.ALLOW and not circumstances.write:
        return decision  # nothing is left to refuse or to waive
    if circumstances.write and decision.opens and any(duty.id == READ_ONLY for duty in decision.obligations):
        decision = msgspec.structs.replace(
            decision, effect=Effect.DENY, reasons=("READ_ONLY",), unmet=(Unmet("READ_ONLY"),)
        )
    return _observed(decision, verdict, circumstances)


def undisputed(
    verdict: Verdict, duties: frozenset[str], *, score: int, enforces: Container[str], write: bool, applied: Applied
) -> bool:
    """Whether nothing at all objects, so that `weigh` would allow with the layers' own obligations (`duties`, by id).

    A shortcut and no rule: whatever it says no to is weighed.
    """
    return (
        verdict.allow
        and not verdict.unmet
        and score >= verdict.threshold
        and not applied.tightens
        and not applied.breaks_glass
        and not (write and READ_ONLY in duties)
        and all(duty in enforces for duty in duties)
    )


def _duties(applied: Applied) -> tuple[Obligation, ...]:
    """What overlays ask to be carried out, and what breaking the glass does."""
    broken = (Obligation(RECORD_SESSION),) if applied.breaks_glass else ()
    return (*map(Obligation, applied.obligations), *broken)


def tighten(circumstances: Circumstances, assurance: AssuranceTable) -> tuple[Unmet, ...]:
    """Return what the overlays in force find unmet."""
    applied = circumstances.applied
    unmet = [Unmet(code) for code in applied.deny]
    if applied.ceiling is not None and circumstances.rank > applied.ceiling:
        unmet.append(Unmet("DEVICE_CEILING" if applied.ceiling == applied.registered else "OVERLAY_CEILING"))
    if applied.acr is not None:
        wanted = assurance.get(applied.acr)
        if wanted is None or assurance_level(circumstances.subject, assurance) < wanted:
            unmet.append(Unmet("OVERLAY_ACR", acr=applied.acr))
    if applied.report_age is not None and circumstances.report_age > applied.report_age:
        unmet.append(Unmet("OVERLAY_REPORT_AGE"))
    return tuple(unmet)


def _signed_in_enough(unmet: Sequence[Unmet], circumstances: Circumstances, assurance: AssuranceTable) -> bool:
    """Whether the sign-in already is everything that is asked for: asking again would loop (RFC 9470)."""
    asked = [item for item in unmet if item.acr or item.max_age >= 0]
    return bool(asked) and all(
        step_up_satisfied(
            circumstances.subject,
            acr=item.acr,
            max_age=item.max_age if item.max_age >= 0 else None,
            table=assurance,
            now=circumstances.tick_end,
        )
        for item in asked
    )


def _observed(decision: Decision, verdict: Verdict, circumstances: Circumstances) -> Decision:
    """Waive, while a service is being onboarded, what its layers found unmet; nothing that overlays or devices say."""
    mode = circumstances.observed
    if mode is None or circumstances.tick_end > mode.until or circumstances.rank > RANK_C2:
        return decision
    by_layers = {item.code for item in verdict.unmet}
    if not circumstances.applied.threshold_plus:
        by_layers.add("TRUST_LOW")  # a threshold that an overlay raised is not the layers' alone
    if circumstances.device_status in BLOCKED_DEVICES or not {item.code for item in decision.unmet} <= by_layers:
        return decision
    # INVARIANT: what is unmet is waived and nothing else, or one more unmet requirement could open a door.
    duties = {duty.id for duty in decision.obligations}
    if not duties.issubset(circumstances.enforces) or (circumstances.write and READ_ONLY in duties):
        return decision
    return observe(decision, codes=frozenset(mode.codes) or None, rank=circumstances.rank)
