"""Runs scenarios through a decision path it is given, and says where the answer is another than the author's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from zt_engine.authoring.scenarios import Question, Scenario
from zt_engine.core.errors import Problem, ZtError


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What the path decided; obligations by id, or `id=value`."""

    effect: str
    reasons: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    score: int | None = None
    threshold: int | None = None
    label: str = ""


Decide: TypeAlias = Callable[[Question], Rehearsed]
"""The whole decision path with made-up credentials. May raise ZtError for a question it cannot put."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario after it was run: a line of the report. `problem` is None when the answer was the expected one."""

    scenario: Scenario
    engine: str
    answer: Rehearsed | None
    problem: Problem | None


def rehearse(scenarios: Iterable[Scenario], decide: Decide, *, engine: str, language: str = "en") -> list[Row]:
    """Put every question to `decide`. A question it refuses to put is a fault of the scenario, not of the policy."""
    return [_row(scenario, decide, engine=engine, language=language) for scenario in scenarios]


def compare(one: Sequence[Row], other: Sequence[Row], *, language: str = "en") -> list[Problem]:
    """The scenarios that two engines answered differently, expected or not."""
    return [
        Problem(
            code="ENGINES_DISAGREE",
            message=f"{left.scenario.name(language)}: {left.engine} {left.answer}, {right.engine} {right.answer}",
            where=left.scenario.question.where,
        )
        for left, right in zip(one, other, strict=True)
        if left.answer != right.answer
    ]


def failures(tables: Sequence[Sequence[Row]]) -> list[Problem]:
    """What went wrong on each engine; once, with every engine named, where they went wrong alike."""
    engines: dict[Problem, list[str]] = {}
    for row in (row for rows in zip(*tables, strict=True) for row in rows):
        if row.problem is not None:
            engines.setdefault(row.problem, []).append(row.engine)
    return [_named(problem, names) for problem, names in engines.items()]


def _named(problem: Problem, engines: Sequence[str]) -> Problem:
    message = f"{problem.message} ({', '.join(engines)})"
    return Problem(code=problem.code, message=message, where=problem.where, hint=problem.hint)


def _row(scenario: Scenario, decide: Decide, *, engine: str, language: str) -> Row:
    where, name = scenario.question.where, scenario.name(language)
    try:
        answer = decide(scenario.question)
    except ZtError as error:
        message = f"{name}: {error.code}: {error.message}"
        problem = Problem(code="SCENARIO_MALFORMED", message=message, where=where, hint=error.hint)
        return Row(scenario=scenario, engine=engine, answer=None, problem=problem)
    wrong = "; ".join(_differences(scenario, answer))
    failed = Problem(code="SCENARIO_FAILED", message=f"{name}: {wrong}", where=where) if wrong else None
    return Row(scenario=scenario, engine=engine, answer=answer, problem=failed)


def _differences(scenario: Scenario, answer: Rehearsed) -> Iterable[str]:
    """What was expected and did not come. Reasons and obligations are sets: their order means nothing."""
    for key, wanted in scenario.expect.items():
        found = getattr(answer, key)
        if key == "obligations" and isinstance(wanted, list):
            # Written without its value, an obligation is expected with any.
            found = tuple(item if item in wanted else item.partition("=")[0] for item in found)
        if isinstance(wanted, list):
            if set(found) != set(wanted) or len(found) != len(wanted):
                yield f"{key} {_listed(found)}, expected {_listed(wanted)}"
        elif found != wanted:
            because = f" ({_listed(answer.reasons)})" if key == "effect" and answer.reasons else ""
            yield f"{key} {found}{because}, expected {wanted}"


def _listed(items: Iterable[object]) -> str:
    return "[" + ", ".join(sorted(map(str, items))) + "]"
