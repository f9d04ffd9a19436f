"""What the benchmark of the shadow makes of its rounds. Nothing here is timed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.report import Report
from benchmarks.shadow import LEAST, OTHERS, Comparison, Round, conclude


def one(rate: float = 1000.0, *, p99: float = 900.0, others: float = 0.0) -> Round:
    return Round(
        rate=rate, requests=int(rate), seconds=1.0, p50=100.0, p95=300.0, p99=p99, errors=0, cpu_us=20.0, others=others
    )  # fmt: skip


def concluded(compared: list[Comparison]) -> Report:
    run: Any = SimpleNamespace(report=Report(), plan=SimpleNamespace(rounds=6), say=lambda _text: None)
    conclude(run, compared, caught_up=1.0, decided=10, keys_seen=10, errors=0)
    return run.report


def test_a_machine_that_slows_down_steadily_is_no_difference_of_the_shadows() -> None:
    slower = Comparison(one(p99=1000.0), one(p99=2000.0), one(p99=4000.0))

    assert slower.ratio(lambda it: it.p99) == pytest.approx(1.0)
    assert slower.control(lambda it: it.p99) == pytest.approx(4.0)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_comparison_counts_unless_others_had_the_processor_in_one_of_its_rounds(at: int) -> None:
    shares = [OTHERS] * 3
    assert Comparison(*(one(others=share) for share in shares)).quiet

    shares[at] = OTHERS + 0.01
    assert not Comparison(*(one(others=share) for share in shares)).quiet


def test_only_comparisons_that_count_make_the_figure() -> None:
    quiet = Comparison(one(), one(p99=990.0), one())
    disturbed = Comparison(one(), one(p99=9000.0, others=1.0), one())

    report = concluded([quiet] * LEAST + [disturbed] * 5 * LEAST)

    assert report.values["shadow_p99"] == pytest.approx(1.1)
    assert report.values["shadow_p99_control"] == pytest.approx(1.0)
    assert not report.invalid


def test_a_machine_that_was_never_ours_has_measured_in_vain() -> None:
    disturbed = Comparison(one(), one(others=1.0), one())

    report = concluded([disturbed] * 40)

    assert set(report.invalid) == {"shadow_overhead", "shadow_p99"}
    assert "shadow_coverage" in report.values
