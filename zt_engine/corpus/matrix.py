"""The matrix: proxies across, classes down, and below it whatever is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from zt_engine.corpus.probe import CLASSES
from zt_engine.corpus.runner import Report
from zt_engine.corpus.verdict import Outcome

LETTERS = {
    Outcome.REFUSED: "refused",
    Outcome.EXACT: "exact",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.UNSERVED: "unserved",
    Outcome.VIOLATED: "VIOLATED",
}


def matrix(results: Mapping[str, Sequence[Report]]) -> str:
    """Return a table of how the probes of each class ended, by proxy, and every fault."""
    return "\n".join([table({name: cells(reports) for name, reports in results.items()}), *wrong(results)])


def cells(reports: Sequence[Report]) -> list[str]:
    """Return one column, in the order of the classes."""
    return [cell(reports, number) for number in CLASSES]


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return columns side by side, under their names."""
    widths = {name: max(len(name), *map(len, column)) + 1 for name, column in columns.items()}
    lines = [" ".join([f"{'class':25}", *(f"{name:{width}}" for name, width in widths.items())]).rstrip()]
    for at, (number, title) in enumerate(CLASSES.items()):
        row = [f"{column[at]:{widths[name]}}" for name, column in columns.items()]
        lines.append(" ".join([f"{number:2} {title:22}", *row]).rstrip())
    return "\n".join(lines)


def cell(reports: Sequence[Report], number: int) -> str:
    """Return one cell, such as `12 refused, 2 exact`; `-` when nothing of the class was sent."""
    counts = Counter(report.outcome for report in reports if report.probe.number == number)
    return ", ".join(f"{counts[outcome]} {LETTERS[outcome]}" for outcome in LETTERS if counts[outcome]) or "-"


def wrong(results: Mapping[str, Sequence[Report]]) -> Iterator[str]:
    """Yield a line for each fault."""
    for name, reports in results.items():
        for report in reports:
            if report.outcome in (Outcome.VIOLATED, Outcome.UNSERVED):
                yield f"{name}: {report.probe.id} ({report.probe.advisory}): {report.outcome}, {report.statuses}"
                yield from (f"    {text}" for text in report.details)


def holes(results: Mapping[str, Sequence[Report]]) -> list[str]:
    """Return which proxy was judged in no probe of which class."""
    judged = (Outcome.REFUSED, Outcome.EXACT, Outcome.VIOLATED)
    return [
        f"{name}: {title}"
        for name, reports in results.items()
        for number, title in CLASSES.items()
        if not any(report.probe.number == number and report.outcome in judged for report in reports)
    ]


def document(reports: Sequence[Report]) -> list[dict[str, object]]:
    """Return the reports for programs."""
    return [
        {
            "id": report.probe.id,
            "class": report.probe.number,
            "advisory": report.probe.advisory,
            "outcome": str(report.outcome),
            "details": list(report.details),
            "statuses": list(report.statuses),
        }
        for report in reports
    ]
