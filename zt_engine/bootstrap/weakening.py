"""What a new release gives up: its models compared with the old one's, and every scenario of both decided by both.

Needs no `opa`: both policies decide on the Wasm engine, in bounded memory, each question within its budget. What could
not be compared in time, or holds no sources to compare, is a weakening too: two people look at it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.authoring.rehearsal import Rehearsed
from zt_engine.authoring.scenarios import Scenario, scenarios_in
from zt_engine.bootstrap.activation import Parts, digest, read_catalogue, read_trust
from zt_engine.bootstrap.rehearsal import Stage
from zt_engine.core.bundle import Bundle
from zt_engine.core.errors import BundleError, ZtError
from zt_engine.core.weakening import Weakening, weakened_catalogue, weakened_data, weakened_trust

MAX_WEAKENINGS: Final = 200
"""Enough to say that two people are needed, and why."""
MAX_SCENARIOS: Final = 5_000
SECONDS: Final = 30.0
BUDGET_MS: Final = 250
MEMORY_MIB: Final = 64
_ORDER: Final[Mapping[str, int]] = {"deny": 0, "step_up": 1, "allow": 2, "observe": 3}
"""From strict to permissive: what is observed is let through although its layers refuse it."""
_DENIED: Final = Rehearsed(effect="deny")


def weakenings(active: Bundle | None, candidate: Bundle, *, seconds: float = SECONDS) -> tuple[Weakening, ...]:
    """Return what the candidate holds less strictly than the active bundle; nothing when none is active.

    Raises BundleError BUNDLE_FILE_MISSING for a candidate without its own catalogue and trust model, and ConfigError
    for ones that cannot be read. Takes seconds, and never more than `seconds` and a half: not for the event loop.
    """
    new = release_parts(candidate)
    if active is None or active.content_digest == candidate.content_digest:
        return ()
    try:
        old = release_parts(active)
    except ZtError as error:
        return (Weakening(code="WEAKENS_UNKNOWN", where=active.revision, before=error.code, after="-"),)
    found: list[Weakening] = []
    for one in _all(old, new, seconds):
        found.append(one)
        if len(found) == MAX_WEAKENINGS:
            break
    return tuple(found)


def release_parts(bundle: Bundle) -> Parts:
    """Return the parts of a bundle that holds all of its own, as a release does."""
    if bundle.catalogue is None or bundle.trust is None:
        raise BundleError("BUNDLE_FILE_MISSING", "a release holds its catalogue and trust model", where=bundle.revision)
    return Parts(
        bundle=bundle,
        catalogue=read_catalogue(bundle.catalogue, where="catalogue.yaml"),
        catalogue_digest=digest(bundle.catalogue),
        trust=read_trust(bundle.trust, where="trust.yaml"),
        trust_digest=digest(bundle.trust),
    )


def scenarios_of(bundle: Bundle) -> tuple[Scenario, ...]:
    """Return the scenarios that travel in a bundle; ConfigError SCENARIO_MALFORMED."""
    return scenarios_in(bundle.scenarios)


@contextlib.contextmanager
def stage(parts: Parts) -> Iterator[Stage]:
    """Open the decision path of one release on the Wasm engine."""
    bundle = parts.bundle
    engine = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=BUDGET_MS, memory_mib=MEMORY_MIB)
    try:
        yield Stage(parts, engine)
    finally:
        engine.close()


def decided_by(scenarios: tuple[Scenario, ...], stage_of: Stage) -> Iterator[tuple[Scenario, Rehearsed]]:
    """Yield each scenario with what a policy decides; what cannot be put to it is denied."""
    for scenario in scenarios:
        try:
            yield scenario, stage_of.decide(scenario.question)
        except ZtError:
            yield scenario, _DENIED


def weaker(where: str, before: Rehearsed, after: Rehearsed) -> Iterator[Weakening]:
    """Yield what one decision gave up: effect, obligations of what is let through, threshold."""
    old, new = _ORDER[before.effect], _ORDER[after.effect]
    if new > old:
        yield Weakening(code="WEAKENS_DECISION", where=where, before=before.effect, after=after.effect)
    if min(old, new) >= _ORDER["allow"] and set(before.obligations) - set(after.obligations):
        yield Weakening(
            code="WEAKENS_OBLIGATION",
            where=where,
            before=" ".join(sorted(before.obligations)),
            after=" ".join(sorted(after.obligations)) or "-",
        )
    was, is_now = _asked(before), _asked(after)
    if was is not None and is_now is not None and is_now < was:
        yield Weakening(code="WEAKENS_THRESHOLD", where=where, before=str(was), after=str(is_now))


def _asked(answer: Rehearsed) -> int | None:
    """The threshold that layers set: a refusal before them has none of its own."""
    return None if answer.score is None else answer.threshold


def _all(old: Parts, new: Parts, seconds: float) -> Iterator[Weakening]:
    ends = time.monotonic() + seconds
    yield from weakened_catalogue(old.catalogue, new.catalogue)
    yield from weakened_trust(old.trust, new.trust)
    yield from weakened_data(msgspec.json.decode(old.bundle.data), msgspec.json.decode(new.bundle.data))
    for service, layers in sorted(old.bundle.layers.items()):
        left = new.bundle.layers.get(service, layers)
        if set(layers) - set(left):
            yield Weakening(code="WEAKENS_LAYER", where=service, before=" ".join(layers), after=" ".join(left))
    for service in sorted(new.bundle.layers.keys() - old.bundle.layers.keys()):
        # What it has to get past was fewer or other layers once, for all that is known here.
        yield Weakening(code="WEAKENS_LAYER", where=service, before="-", after=" ".join(new.bundle.layers[service]))
    try:
        asked, still = _asked_by(old.bundle), _asked_by(new.bundle)
    except ZtError as error:
        yield Weakening(code="WEAKENS_UNKNOWN", where=error.where, before=error.code, after="-")
        return
    # Every question that either of them asks, once; those that are asked no more among them.
    questions = tuple({**asked, **still})
    scenarios = tuple({**still, **asked}[question] for question in questions)
    if len(scenarios) > MAX_SCENARIOS:
        yield _unfinished(MAX_SCENARIOS, len(scenarios))
    with stage(old) as before, stage(new) as after:
        both = zip(decided_by(scenarios, before), decided_by(scenarios, after), strict=True)
        for count, ((scenario, one), (_, other)) in enumerate(both):
            if count == MAX_SCENARIOS:
                return
            where = f"{scenario.question.where}: {scenario.name('en')}"
            yield from weaker(where, one, other)
            if questions[count] not in still and (_ORDER[other.effect] < _ORDER["allow"] or other.obligations):
                # The release after this one would be compared without it.
                yield Weakening(code="WEAKENS_SCENARIO", where=where, before=other.effect, after="-")
            if time.monotonic() > ends and count + 1 < len(scenarios):
                yield _unfinished(count + 1, len(scenarios))
                return


def _asked_by(bundle: Bundle) -> dict[bytes, Scenario]:
    """Every question of a bundle's scenarios, wherever it is written."""
    asked: dict[bytes, Scenario] = {}
    for scenario in scenarios_of(bundle):
        question = msgspec.structs.replace(scenario.question, where="")
        asked.setdefault(msgspec.json.encode(question, order="sorted"), scenario)
    return asked


def _unfinished(done: int, of: int) -> Weakening:
    return Weakening(code="WEAKENS_UNKNOWN", where="scenarios", before=str(of), after=str(done))
