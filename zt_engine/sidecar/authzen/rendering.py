"""Decisions as AuthZEN callers read them: constant for a remembered decision but for its id.

A denial has one code and its texts, and what a stronger sign-in would have to be; never thresholds, never rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zt_engine.core.decision import Decision, Effect
from zt_engine.core.generations import Generations
from zt_engine.pages.registry import Code
from zt_engine.sidecar.authzen.rules import RuleOutcome
from zt_engine.sidecar.authzen.wire import encoded
from zt_engine.sidecar.outcomes import Outcome

MAX_RENDERED = 20_000
BARE = {True: b'{"decision":true}', False: b'{"decision":false}'}
ALLOWED = b'{"decision":true,"context":{"id":"'
DENIED = b'{"decision":false,"context":{"id":"'
Texts = Mapping[str, Code]


class Renderings:
    """Writes decisions; what is the same for every request that shares one is written once."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._known: Generations[Outcome, bytes] = Generations(MAX_RENDERED)

    def of(self, outcome: Outcome, number: bytes) -> bytes:
        """Return a decision with its context, in which `number` is its id."""
        before, after = self.around(outcome)
        return before + number + after

    def around(self, outcome: Outcome) -> tuple[bytes, bytes]:
        """Return what stands before a decision's id, and what stands behind it."""
        rest = self._known.get(outcome)
        if rest is None:
            rest = self._rest(outcome)
            self._known.put(outcome, rest)
        return (ALLOWED if outcome.decision.opens else DENIED), rest

    def _rest(self, outcome: Outcome) -> bytes:
        decision = outcome.decision
        said = self._allowed(outcome) if decision.opens else refused(decision, self._texts)
        if isinstance(outcome, RuleOutcome):
            said = {**({} if decision.opens else said), **outcome.said}
            said.pop("id", None)  # the decision's own stands there
        members = encoded(said)[1:-1]
        return b'"' + (b"," + members if members else b"") + b"}}"

    def _allowed(self, outcome: Outcome) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if outcome.trust is not None:
            said = {"max_label": outcome.kind[2], "trust": outcome.trust.score}
        if outcome.decision.obligations:
            said["obligations"] = [
                {
                    "id": duty.id,
                    "type": duty.id,
                    "properties": {} if duty.value is None else {"value": duty.value},
                }
                for duty in outcome.decision.obligations
            ]
        return said


def refused(decision: Decision, texts: Texts) -> dict[str, Any]:
    """Return what a denial tells."""
    code = decision.reasons[0] if decision.reasons else "INTERNAL_ERROR"
    step_up = decision.effect is Effect.STEP_UP
    known = texts.get(code)
    said: dict[str, Any] = {"reason": code, "reason_admin": {"401" if step_up else "403": code}}
    if known is not None:
        said["reason_user"] = {"en": known.en, "ja": known.ja}
    if step_up:
        acrs = dict.fromkeys(item.acr for item in decision.unmet if item.acr)
        ages = [item.max_age for item in decision.unmet if item.max_age >= 0]
        said |= {"acr_values": " ".join(acrs)} if acrs else {}
        said |= {"max_age": min(ages)} if ages else {}
    return said


def denial(code: str, texts: Texts) -> bytes:
    """Return a denial that has no decision behind it, and so no id: the log did not take it."""
    return b'{"decision":false,"context":%b}' % encoded(refused(Decision.deny(code), texts))


def faulty(message: str) -> bytes:
    """Return what stands for an item of a batch that is no question."""
    return b'{"decision":false,"context":{"error":{"message":%b,"status":400}}}' % encoded(message)
