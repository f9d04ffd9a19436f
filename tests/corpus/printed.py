"""The matrix of the corpus below the summary of a test run, whichever worker ran which proxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zt_engine.corpus.matrix import table

COLUMN = "corpus"
"""The property of a test's report that holds a proxy's name and its column."""


def matrix_of(stats: Mapping[str, Iterable[Any]]) -> str:
    """The matrix out of the reports of a run, empty when the corpus was not among them."""
    reports = (report for outcome in ("passed", "failed") for report in stats.get(outcome, ()))
    columns = {
        str(value[0]): [str(text) for text in value[1:]]
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == COLUMN
    }
    return table(dict(sorted(columns.items()))) if columns else ""
