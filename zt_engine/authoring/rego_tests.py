"""The pack's own Rego tests, run by `opa test`: all must pass, and no rule may be left untried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zt_engine.authoring.build import FOLDER, MAIN, errors_of
from zt_engine.authoring.check import check_options
from zt_engine.authoring.pack import Pack
from zt_engine.authoring.rego_ast import decoded
from zt_engine.core.errors import Problem
from zt_engine.ports import OpaTool

TIMEOUT = "20s"


class TestRun(msgspec.Struct, frozen=True):
    """How many tests passed, the covered share of the shipped Rego in percent, and every fault."""

    __test__ = False

    passed: int
    coverage: float
    problems: tuple[Problem, ...]


def run_tests(pack: Pack, opa: OpaTool) -> TestRun:
    """Run every `*_test.rego`; a failed test, an error and an uncovered line are problems with file and line."""
    options, files = check_options(pack, opa)
    # As a folder, not as a bundle: for bundles OPA reports coverage under two names a file.
    options = (*options, "--timeout", TIMEOUT, FOLDER)
    done = opa.run("test", *options, files=files)
    results = decoded(done)
    if not isinstance(results, list):
        problems = errors_of(pack, done) if pack.tests else [_no_tests(pack)]
        return TestRun(passed=0, coverage=0.0, problems=tuple(problems))
    failures = tuple(_failures(pack, results))
    passed = len(results) - len(failures)
    if failures:
        return TestRun(passed=passed, coverage=0.0, problems=failures)
    report = decoded(opa.run("test", "--coverage", "--coverage-runs=", *options, files=files))
    if not isinstance(report, dict):
        message = "opa made no coverage report"
        problem = Problem(code="TEST_FAILED", message=message, where=str(pack.folder))
        return TestRun(passed=passed, coverage=0.0, problems=(problem,))
    shipped = {place: entry for place, entry in (report.get("files") or {}).items() if _is_shipped(pack, place)}
    return TestRun(passed=passed, coverage=_share(shipped), problems=tuple(_uncovered(pack, shipped)))


def _failures(pack: Pack, results: list[dict[str, Any]]) -> Iterator[Problem]:
    for result in sorted(results, key=_place):
        if result.get("fail") or result.get("error") or result.get("skip"):
            location = result.get("location") or {}
            name = _bundle_name(str(location.get("file", "")))
            outcome = "is skipped" if result.get("skip") else "fails" if result.get("fail") else "cannot run"
            error = result.get("error")
            reason = f": {error.get('message', '')}" if isinstance(error, dict) else ""
            yield Problem(
                code="TEST_FAILED",
                message=f"`{result.get('name')}` {outcome}{reason}",
                where=f"{pack.where.get(name, name)}:{location.get('row', 1)}",
            )


def _place(result: dict[str, Any]) -> tuple[str, int]:
    location = result.get("location") or {}
    return str(location.get("file", "")), int(location.get("row", 0))


def _uncovered(pack: Pack, files: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    for place, entry in sorted(files.items()):
        for gap in entry.get("not_covered") or []:
            start, end = gap["start"]["row"], gap["end"]["row"]
            lines = f"line {start}" if start == end else f"lines {start} to {end}"
            yield Problem(
                code="COVERAGE_LOW",
                message=f"no test reaches {lines}",
                where=f"{pack.where[_bundle_name(place)]}:{start}",
            )


def _share(files: dict[str, dict[str, Any]]) -> float:
    covered = sum(entry.get("covered_lines", 0) for entry in files.values())
    missed = sum(entry.get("not_covered_lines", 0) for entry in files.values())
    return 100.0 * covered / (covered + missed) if covered + missed else 100.0


def _is_shipped(pack: Pack, place: str) -> bool:
    name = _bundle_name(place)
    return name in pack.sources and name != MAIN


def _bundle_name(place: str) -> str:
    return place.lstrip("/").removeprefix(f"{FOLDER}/")


def _no_tests(pack: Pack) -> Problem:
    return Problem(code="TEST_FAILED", message="there are no tests", where=str(pack.folder), hint="write *_test.rego")
