"""What the layers said, and what it means: the one place where an effect is decided.

INVARIANT: `allow` needs every required layer to say `{"allow": true, "unmet": []}` and nothing else to object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from zt_engine.core.errors import UnavailableError

CONFIDENTIAL_RANK = 200
"""The highest rank (C2) that observation, exceptions and continuity may open."""

KINDS = ("none", "contact", "device", "report", "auth")
"""What would turn a code into an allow, from what nobody can help to what a new sign-in cures."""

STEP_UP_KINDS = frozenset({"auth"})
REPORT_KINDS = frozenset({"auth", "report"})


class Effect(StrEnum):
    """What the proxy is told; ALLOW and OBSERVE are 200, the others 401 or 403."""

    ALLOW = "allow"
    STEP_UP = "step_up"
    DENY = "deny"
    OBSERVE = "observe"


class Unmet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, order=True):
    """A requirement that is not proven; `acr` and `max_age` (seconds) say which sign-in would prove it."""

    code: str
    acr: str = ""
    max_age: int = -1


class Obligation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that must be enforced if the request is let through; a numeric value is an upper bound."""

    id: str
    value: int | str | None = None


class LayerResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one legal shape of a layer's answer (architecture: layers)."""

    allow: bool
    unmet: list[Unmet]
    obligations: list[Obligation]
    threshold: int


class Decision(msgspec.Struct, frozen=True):
    """An effect with everything that explains it. `unmet` is empty exactly when nothing objected."""

    effect: Effect
    reasons: tuple[str, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    threshold: int = 0
    observed: Effect | None = None
    """For OBSERVE: what would have been decided."""

    @property
    def opens(self) -> bool:
        """Whether the request may reach the backend."""
        return self.effect is Effect.ALLOW or self.effect is Effect.OBSERVE

    @classmethod
    def deny(cls, *codes: str, step_up: bool = False) -> Decision:
        """Return a refusal that was decided before, or instead of, policy."""
        return cls(effect=Effect.STEP_UP if step_up else Effect.DENY, reasons=codes, unmet=tuple(map(Unmet, codes)))


class Verdict(msgspec.Struct, frozen=True):
    """The meet of all layers, before trust, observation and enforceability are considered."""

    allow: bool
    unmet: tuple[Unmet, ...]
    obligations: tuple[Obligation, ...]
    threshold: int


class Standing(msgspec.Struct, frozen=True):
    """What decides between sign in again, report again and no."""

    score: int
    best: int
    after_step_up: int
    has_credential: bool
    may_step_up: bool
    """False when the token already satisfies every acr and max_age asked for: asking again would loop."""


_decode_layers = msgspec.json.Decoder(dict[str, LayerResult]).decode


def read_layers(raw: bytes) -> dict[str, LayerResult]:
    """Decode an entrypoint's value; any other shape raises UnavailableError ENGINE_MALFORMED."""
    try:
        return _decode_layers(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnavailableError("ENGINE_MALFORMED", str(error)) from None


def meet(results: Mapping[str, LayerResult], *, required: Sequence[str], known: Mapping[str, str]) -> Verdict:
    """Unite the required layers: allow only if all allow, unmet and obligations united, the higher threshold.

    `known` maps every registered code to its kind. A missing or foreign layer, an unknown code, `allow` with something
    unmet and `allow: false` without a reason raise UnavailableError LAYER_MALFORMED: a broken layer denies.
    """
    if len(results) != len(required) or not required:
        raise UnavailableError("LAYER_MALFORMED", f"layers {sorted(results)} answered, {sorted(required)} must")
    allow, threshold = True, 0
    unmet: set[Unmet] = set()
    obligations: dict[str, Obligation] = {}
    for name in required:
        result = results.get(name)
        if result is None or result.allow == bool(result.unmet):
            raise UnavailableError("LAYER_MALFORMED", f"layer `{name}` is missing or contradicts itself")
        if not 0 <= result.threshold <= 1000:
            raise UnavailableError("LAYER_MALFORMED", f"layer `{name}` has threshold {result.threshold}")
        if not result.allow:
            allow = False
            for item in result.unmet:
                if item.code not in known:
                    raise UnavailableError("LAYER_MALFORMED", f"layer `{name}` names the unknown code `{item.code}`")
            unmet.update(result.unmet)
        threshold = max(threshold, result.threshold)
        for obligation in result.obligations:
            _unite(obligations, obligation)
    return Verdict(
        allow=allow,
        unmet=tuple(sorted(unmet)),
        obligations=tuple(sorted(obligations.values(), key=_by_id)),
        threshold=threshold,
    )


def _by_id(obligation: Obligation) -> str:
    return obligation.id


def _unite(into: dict[str, Obligation], new: Obligation) -> None:
    """Keep the stricter of two values: the smaller number; two different texts cannot both hold and are refused."""
    old = into.get(new.id)
    if old is None or old == new or old.value is None:
        into[new.id] = new
    elif new.value is None:
        return
    elif isinstance(old.value, int) and isinstance(new.value, int):
        into[new.id] = old if old.value <= new.value else new
    else:
        raise UnavailableError("LAYER_MALFORMED", f"obligation `{new.id}` has two values that cannot both hold")


def decide(
    verdict: Verdict,
    standing: Standing,
    *,
    kinds: Mapping[str, str],
    enforces: Iterable[str],
    extra_unmet: Sequence[Unmet] = (),
    extra_obligations: Sequence[Obligation] = (),
    threshold_plus: int = 0,
) -> Decision:
    """Turn the meet of the layers into an effect.

    Situation overlays arrive as `extra_unmet`, `extra_obligations` and `threshold_plus`: they only ever tighten.
    The score is compared with the threshold here as well as in Rego. An obligation nobody enforces denies.
    """
    threshold = min(100, verdict.threshold + threshold_plus) if verdict.threshold <= 100 else verdict.threshold
    unmet = set(verdict.unmet).union(extra_unmet)
    if standing.score < threshold:
        unmet.add(Unmet("TRUST_LOW"))
    duties = verdict.obligations
    if extra_obligations:
        obligations = {obligation.id: obligation for obligation in duties}
        for obligation in extra_obligations:
            _unite(obligations, obligation)
        duties = tuple(sorted(obligations.values(), key=_by_id))
    if not unmet and verdict.allow:
        if not {obligation.id for obligation in duties}.issubset(enforces):
            return Decision(
                effect=Effect.DENY,
                reasons=("OBLIGATION_UNENFORCEABLE",),
                unmet=(Unmet("OBLIGATION_UNENFORCEABLE"),),
                obligations=duties,
                threshold=threshold,
            )
        return Decision(effect=Effect.ALLOW, obligations=duties, threshold=threshold)
    ordered = tuple(sorted(unmet))
    return _explain(ordered, standing, kinds=kinds, threshold=threshold, duties=duties)


def _explain(
    unmet: tuple[Unmet, ...],
    standing: Standing,
    *,
    kinds: Mapping[str, str],
    threshold: int,
    duties: tuple[Obligation, ...],
) -> Decision:
    """Choose between sign in again, report again and no, by what is unmet and how far trust could rise.

    The first reason is the one a person is told: what no sign-in and no report would cure, or what a sign-in would.
    """
    codes = {item.code: KINDS.index(kinds.get(item.code, "none")) for item in unmet}
    found = {kinds.get(code, "none") for code in codes if code != "TRUST_LOW"}
    effect = Effect.DENY
    first: tuple[str, ...] = ()
    if not standing.has_credential and "AUTH_REQUIRED" in codes:
        effect, first = Effect.STEP_UP, ("AUTH_REQUIRED",)
    elif found <= STEP_UP_KINDS and standing.may_step_up and standing.after_step_up >= threshold:
        effect = Effect.STEP_UP
    elif found <= REPORT_KINDS and standing.best >= threshold and (found or standing.best > standing.score):
        first = ("REPORT_NOW",)
    reasons = sorted(codes, key=lambda code: (code == "TRUST_LOW", codes[code], code))
    ordered = (*first, *(code for code in reasons if code not in first))
    return Decision(effect=effect, reasons=ordered, unmet=unmet, obligations=duties, threshold=threshold)


def observe(decision: Decision, *, codes: frozenset[str] | None, rank: int) -> Decision:
    """Waive what the layers found unmet while a host is being onboarded, and keep what would have been decided.

    `codes` limits what is waived; None waives every policy code. Ranks above C2 are never observed. The caller
    guarantees that token, device status, target, staleness and log refusals never reach this function.
    """
    if decision.effect is Effect.ALLOW or rank > CONFIDENTIAL_RANK:
        return decision
    waived = {item.code for item in decision.unmet}
    if codes is not None and not waived <= codes:
        return decision
    return msgspec.structs.replace(decision, effect=Effect.OBSERVE, observed=decision.effect)
