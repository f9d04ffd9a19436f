"""What a candidate would have decided otherwise: every recorded input of a decision log, decided again under it.

A label is looked up anew in the candidate's catalogue where the input says enough of the path; score, people and
devices are as they were recorded, since their records are not in the log. So a changed trust model shows in scenarios.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from zt_engine.authoring.rehearsal import Rehearsed
from zt_engine.bootstrap.activation import make_engine
from zt_engine.bootstrap.deciding import Decider
from zt_engine.bootstrap.weakening import release_parts, weaker
from zt_engine.config import Policy as PolicySettings
from zt_engine.core.bundle import Bundle
from zt_engine.core.catalogue import Catalogue
from zt_engine.core.decision_event import RULE_SOURCES
from zt_engine.core.decision_log import RECORD_PREFIX, LogSegment
from zt_engine.core.errors import ZtError
from zt_engine.core.policy_input import PolicyInput
from zt_engine.core.weakening import Weakening

MAX_DECISIONS: Final = 200_000
MAX_KEPT: Final = 1_000
Direction = Literal["weaker", "stricter"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded decision that comes out otherwise, and whom and what it concerns."""

    direction: Direction
    subject: str
    service: str
    where: str
    decision_id: str
    before: str
    after: str


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a replay found; `counted` is by direction, subject and service, `lost` had no readable input."""

    decisions: int
    replayed: int
    lost: int
    changes: tuple[Change, ...]
    counted: tuple[tuple[Direction, str, str, int], ...]
    weakens: tuple[Weakening, ...]


def impact(bundle: Bundle, segments: Iterable[LogSegment], *, limit: int = MAX_DECISIONS) -> Impact:
    """Decide a log again under a candidate, up to so many decisions."""
    parts = release_parts(bundle)
    decider = Decider(parts, make_engine(bundle, PolicySettings(budget_ms=250)))
    seen: Counter[tuple[Direction, str, str]] = Counter()
    changes: list[Change] = []
    weakens: list[Weakening] = []
    decisions = replayed = lost = 0
    try:
        for segment, event, where in _events(segments):
            if decisions == limit:
                break
            decisions += 1
            if event.get("input_digest") is None or event.get("source") in RULE_SOURCES:
                continue
            input_ = _input(segment, str(event["input_digest"]))
            if input_ is None:
                lost += 1
                continue
            replayed += 1
            before, after = _recorded(event), _again(decider, parts.catalogue, input_)
            ways: tuple[tuple[Direction, Rehearsed, Rehearsed], ...] = (
                ("weaker", before, after), ("stricter", after, before),
            )  # fmt: skip
            for direction, one, other in ways:
                found = list(weaker(where, one, other))
                if not found:
                    continue
                seen[direction, input_.subject.id, input_.resource.service] += 1
                if direction == "weaker" and len(weakens) < MAX_KEPT:
                    weakens += found
                if len(changes) < MAX_KEPT:
                    changes.append(_change(direction, input_, where, event, before, after))
    finally:
        decider.close()
    return Impact(
        decisions=decisions,
        replayed=replayed,
        lost=lost,
        changes=tuple(changes),
        counted=tuple((*key, count) for key, count in seen.most_common(MAX_KEPT)),
        weakens=tuple(weakens[:MAX_KEPT]),
    )


def _events(segments: Iterable[LogSegment]) -> Iterator[tuple[LogSegment, dict[str, Any], str]]:
    for segment in segments:
        for number, line in enumerate(segment.lines(), 1):
            if line.endswith(b"\n") and not line.startswith(RECORD_PREFIX):
                try:
                    yield segment, msgspec.json.decode(line, type=dict[str, Any]), f"{segment.name}:{number}"
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue


def _input(segment: LogSegment, digest: str) -> PolicyInput | None:
    document = segment.find_input(digest)
    if document is None or sha256(document).hexdigest() != digest:
        return None
    try:
        return msgspec.json.decode(document, type=PolicyInput)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _again(decider: Decider, catalogue: Catalogue, input_: PolicyInput) -> Rehearsed:
    try:
        decision = decider.decide_input(_relabelled(catalogue, input_)).decision
    except ZtError as error:
        return Rehearsed(effect="deny", reasons=(error.code,))
    return Rehearsed(
        effect=decision.effect.value,
        obligations=tuple(one.id if one.value is None else f"{one.id}={one.value}" for one in decision.obligations),
        threshold=decision.threshold,
        score=input_.trust.score,
    )


def _relabelled(catalogue: Catalogue, input_: PolicyInput) -> PolicyInput:
    """The input with what the candidate's catalogue says of the path; InputError where it is refused now."""
    request = input_.request
    path = request.path or request.route
    for name, value in request.params.items():
        path = path.replace(f"{{{name}}}", value)
    if not path or "{" in path or "*" in path:
        return input_  # too little is known of it to look it up
    found = catalogue.match(request.host, request.method, path)
    label = msgspec.structs.replace(
        input_.resource.label,
        code=found.label.code,
        rank=found.label.rank,
        integrity=found.label.integrity,
        caveats=list(found.label.caveats),
        compartments=list(found.label.compartments),
        rel_to=list(found.label.rel_to or ()),
        audience=list(found.label.audience or ()),
        purpose=list(found.label.purpose),
    )
    resource = msgspec.structs.replace(
        input_.resource,
        service=found.service,
        service_ceiling=found.ceiling,
        state=found.state,
        attributes=dict(found.attributes),
        label=label,
    )
    return msgspec.structs.replace(input_, resource=resource)


def _recorded(event: dict[str, Any]) -> Rehearsed:
    given = event.get("obligations") or ()
    threshold = event.get("threshold")
    return Rehearsed(
        effect=str(event.get("effect", "deny")),
        obligations=tuple(one["id"] if one.get("value") is None else f"{one['id']}={one['value']}" for one in given),
        threshold=threshold if isinstance(threshold, int) else None,
        score=0,
    )


def _change(
    direction: Direction, input_: PolicyInput, where: str, event: dict[str, Any], before: Rehearsed, after: Rehearsed
) -> Change:
    said = [f"{one.effect} {' '.join(one.obligations)}".strip() for one in (before, after)]
    return Change(
        direction=direction,
        subject=input_.subject.id,
        service=input_.resource.service,
        where=where,
        decision_id=str(event.get("decision_id", "")),
        before=said[0],
        after=said[1],
    )
