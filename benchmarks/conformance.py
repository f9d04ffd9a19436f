"""How much of OPA's own conformance suite does our engine get right? Read from the last full run, or run now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Run
from benchmarks.processes import BenchmarkError

NAME = "conformance"
NEEDS = ("opa",)
ROOT = Path(__file__).resolve().parent.parent
SUMMARY = ROOT / ".cache/conformance/summary.json"
COMMAND = [sys.executable, "-m", "tests.conformance.run"]


def measure(run: Run) -> None:
    """Take the pass rate over."""
    if not SUMMARY.exists():
        run.say("  no summary yet: running all vectors (minutes)")
        done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
        if not SUMMARY.exists():
            raise BenchmarkError(f"the conformance run left no summary: {(done.stderr or done.stdout)[-300:]}")
    summary = json.loads(SUMMARY.read_text())
    run.report.samples[NAME] = summary
    run.report.figure("conformance_pass_rate", summary["pass_rate"])
    run.report.figure("conformance_wrong", summary["wrong"])
