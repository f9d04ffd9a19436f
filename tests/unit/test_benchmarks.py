"""The report of the benchmarks, the arithmetic behind its ratios, and the seeded site. Nothing here is timed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from benchmarks import data, documents, metrics, over_http, through_nginx, wrk
from benchmarks.bench import Measured
from benchmarks.fleet_releases import changed
from benchmarks.metrics import Counts
from benchmarks.processes import BenchmarkError, pinned
from benchmarks.report import BARS, Report, filled, markdown, paired, rounded, table
from benchmarks.site import new_directory_entry, new_report
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, MANIFEST, WASM, make_bundle

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {"commit": "abc", "machine": {"cpu": "a processor"}, "quick": False}
CONTRACT = {
    "cold_vs_opa", "warm_vs_opa", "warm_vs_noop", "mixed_vs_opa", "warm_hit_rate", "mixed_hit_rate", "nginx_vs_noop",
    "nginx_p99_vs_noop", "rego_vs_opa", "catalogue_us_10000", "conformance_pass_rate", "conformance_wrong",
}  # fmt: skip


def sample(rate: float = 1000.0, *, errors: int = 0, p99: float = 900.0) -> Measured:
    return Measured(
        rate=rate, requests=int(rate * 5), seconds=5.0, p50=100.0, p95=300.0, p99=p99, errors=errors, cpu_us=20.0
    )


def counts(*, hits: float = 95.0, misses: float = 5.0, allowed: float = 100.0, log_records: float = 100.0) -> Counts:
    return Counts(
        hits=hits, misses=misses, allowed=allowed, decisions=100.0, log_records=log_records, engine_seconds=0.1,
        engine_calls=5.0,
    )  # fmt: skip


def five_rounds(**changed: list[Measured]) -> over_http.Rounds:
    rounds = over_http.Rounds()
    rates = {"noop": 100.0, "opa": 10.0, "cold": 80.0, "warm": 250.0, "mixed": 130.0}
    rounds.samples = {name: [sample(rate) for _ in range(5)] for name, rate in rates.items()} | changed
    rounds.counts = {"warm": [counts()], "mixed": [counts(hits=70.0, misses=30.0)], "cold": [counts()]}
    return rounds


class FakeRun:
    def __init__(self) -> None:
        self.report = Report()


# -- figures


def test_every_figure_of_the_contract_has_a_bar_written_down():
    assert set(BARS) >= CONTRACT


def test_a_ratio_is_the_median_of_the_ratios_of_neighbours():
    ours, theirs = [100.0, 50.0, 300.0], [10.0, 10.0, 10.0]

    assert paired(ours, theirs) == 10.0


def test_a_slow_minute_that_hits_both_neighbours_leaves_the_ratio_alone():
    assert paired([100.0, 25.0, 100.0], [10.0, 2.5, 10.0]) == 10.0


def test_runs_without_a_neighbour_have_no_ratio():
    with pytest.raises(ValueError, match="zip"):
        paired([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("cold_vs_opa", 7.0, True), ("cold_vs_opa", 6.99, False), ("nginx_p99_vs_noop", 1.3, True),
        ("nginx_p99_vs_noop", 1.31, False), ("conformance_wrong", 0, True), ("conformance_wrong", 1, False),
        ("mixed_hit_rate", 0.1, True),
    ],
)  # fmt: skip
def test_a_figure_is_held_against_its_bar(name: str, value: float, met: bool):
    assert BARS[name].met(value) is met


def test_the_document_has_value_bar_and_unit_of_each_figure():
    found = Report()
    found.figure("cold_vs_opa", 9.87654)

    document = found.document(ABOUT)

    assert document["figures"] == {"cold_vs_opa": {"value": 9.877, "bar": ">= 7", "unit": "x", "met": True}}
    assert json.loads(json.dumps(document))["commit"] == "abc"


def test_a_figure_nobody_wrote_a_bar_for_is_refused():
    with pytest.raises(KeyError, match="cold_vs_oba"):
        Report().figure("cold_vs_oba", 1.0)


def test_a_rejected_figure_is_shown_as_invalid_and_has_no_value():
    found = Report()
    found.figure("warm_vs_opa", 40.0)
    found.reject("warm_vs_opa", "3 answers were no 200")

    document = found.document(ABOUT)

    assert "warm_vs_opa" not in document["figures"]
    assert "INVALID: 3 answers were no 200" in table(document)


def test_figures_below_their_bar_are_named():
    found = Report()
    found.figure("cold_vs_opa", 6.0)
    found.figure("warm_vs_opa", 21.0)

    assert found.below == ["cold_vs_opa"]
    assert "BELOW THE BAR" in table(found.document(ABOUT))


def test_four_digits_are_kept():
    assert [rounded(value) for value in (12.34567, 0.98765, 12345.6, 0)] == [12.35, 0.9877, 12350.0, 0.0]


def test_the_readme_table_replaces_what_stands_between_the_marks():
    found = Report()
    found.figure("cold_vs_opa", 9.0)
    text = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"

    new = filled(text, markdown(found.document(ABOUT)))

    assert new.startswith("before\n<!-- bench -->\n| figure |")
    assert "| 9.00x | >= 7 |" in new
    assert "not measured" in new
    assert "old" not in new
    assert new.endswith("<!-- /bench -->\nafter\n")
    assert filled(new, "again") == "before\n<!-- bench -->\nagain\n<!-- /bench -->\nafter\n"


def test_a_readme_without_marks_is_not_touched():
    with pytest.raises(ValueError, match="bench"):
        filled("nothing here", "table")


def test_the_last_full_run_that_is_checked_in_has_the_contract_s_shape():
    document = json.loads((ROOT / "benchmarks/results/latest.json").read_text())

    assert document["quick"] is False
    assert set(document["figures"]) | set(document["invalid"]) | set(document["not_run"]) >= CONTRACT
    for name, figure in document["figures"].items():
        assert isinstance(figure["value"], float | int), name
        assert (figure["bar"], figure["unit"]) == (BARS[name].text, BARS[name].unit)
    assert {"commit", "machine", "versions", "samples"} <= document.keys()


def test_a_quick_run_is_not_held_against_the_bars():
    found = Report()
    found.figure("cold_vs_opa", 1.0)

    assert "BELOW" not in table(found.document({**ABOUT, "quick": True}))


# -- what invalidates a run


def test_five_good_rounds_give_every_ratio():
    run = FakeRun()

    over_http.conclude(run, five_rounds())

    assert run.report.invalid == {}
    assert run.report.values["cold_vs_opa"] == 8.0
    assert run.report.values["warm_vs_noop"] == 2.5
    assert run.report.values["mixed_vs_opa"] == 13.0
    assert run.report.values["warm_hit_rate"] == 0.95
    assert run.report.values["mixed_hit_rate"] == 0.7


def test_one_refused_request_makes_every_figure_of_that_contestant_invalid():
    run = FakeRun()

    over_http.conclude(run, five_rounds(warm=[sample(250.0)] * 4 + [sample(250.0, errors=1)]))

    assert {"warm_vs_opa", "warm_vs_noop", "warm_rate", "warm_hit_rate", "warm_p99_us"} == set(run.report.invalid)
    assert "cold_vs_opa" in run.report.values


def test_errors_of_the_peer_make_the_ratios_against_it_invalid():
    run = FakeRun()

    over_http.conclude(run, five_rounds(opa=[sample(10.0, errors=2)] * 5))

    assert {"cold_vs_opa", "warm_vs_opa", "mixed_vs_opa", "opa_rate"} == set(run.report.invalid)
    assert "warm_vs_noop" in run.report.values


@pytest.mark.parametrize("fault", [counts(allowed=99.0), counts(log_records=99.0)], ids=["refused", "unlogged"])
def test_a_refusal_or_an_unlogged_decision_makes_a_figure_invalid(fault: Counts):
    run, rounds = FakeRun(), five_rounds()
    rounds.counts["cold"] = [fault]

    over_http.conclude(run, rounds)

    assert {"cold_vs_opa", "cold_rate"} == set(run.report.invalid)


def test_a_missing_peer_takes_only_its_ratios_with_it():
    run, rounds = FakeRun(), five_rounds()
    del rounds.samples["opa"]

    over_http.conclude(run, rounds)

    assert {"cold_vs_opa", "warm_vs_opa", "mixed_vs_opa"} == set(run.report.missing)
    assert run.report.values["warm_vs_noop"] == 2.5


def test_errors_through_nginx_make_its_figures_invalid():
    run = FakeRun()
    good, bad = [sample()] * 5, [sample(errors=1)] * 5

    through_nginx.conclude(run, {"alone": good, "noop": good, "us": bad}, [counts()] * 5)

    assert set(run.report.invalid) == {"nginx_rate", "nginx_vs_noop", "nginx_p99_vs_noop", "nginx_vs_alone"}


# -- the client


def test_a_report_of_wrk_becomes_a_sample_with_all_its_errors():
    line = {
        "requests": 5000, "duration_us": 2_000_000, "bytes": 1, "connect": 1, "read": 2, "write": 3, "status": 4,
        "timeout": 5, "p50": 10, "p95": 20, "p99": 30, "max": 40,
    }  # fmt: skip

    assert wrk.sample_of(line) == wrk.Sample(rate=2500.0, requests=5000, seconds=2.0, p50=10, p95=20, p99=30, errors=15)


def test_strings_are_written_behind_their_length(tmp_path: Path):
    load = wrk.write_requests(tmp_path / "requests", [b"ab", b"", b"c" * 300])

    assert load.requests.read_bytes() == b"\2\0\0\0ab" + b"\0\0\0\0" + b"\x2c\1\0\0" + b"c" * 300


def test_the_counters_of_a_sidecar_are_read_and_subtracted():
    text = (
        "# TYPE zt_decisions_total counter\n"
        'zt_decisions_total{effect="allow",label="C2",reason=""} 90.0\n'
        'zt_decisions_total{effect="deny",label="C2",reason="TRUST_LOW"} 10.0\n'
        'zt_decision_cache_total{result="hit"} 75.0\nzt_decision_cache_total{result="miss"} 25.0\n'
        "zt_log_records 101.0\n"
    )

    read = metrics.parse(text)
    less = metrics.parse(text) - metrics.parse('zt_decision_cache_total{result="hit"} 50.0\n')

    assert (read.allowed, read.decisions, read.log_records, read.hit_rate) == (90.0, 100.0, 101.0, 0.75)
    assert (less.hits, less.misses, less.hit_rate) == (25.0, 25.0, 0.5)


def test_a_set_of_rego_is_compared_without_its_order():
    assert documents.value(b'{"unmet":[{"code":"B"},{"code":"A"}]}') == documents.comparable(
        {"unmet": [{"code": "A"}, {"code": "B"}]}
    )


def test_a_pinned_block_leaves_the_process_where_it_was():
    import os

    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}

    assert os.sched_getaffinity(0) == before


# -- the site


def test_the_site_is_the_same_in_every_run():
    assert data.people(30) == data.people(30)
    assert data.people(50)[:30] == data.people(30)
    assert data.keys(data.people(30)) == data.keys(data.people(30))


def test_two_hundred_people_have_two_thousand_different_keys():
    keys = data.keys(data.people(data.HOT_PEOPLE))

    assert len(keys) == 2000
    assert len({(key.person, key.target.host, key.target.path) for key in keys}) == 2000


def test_zipf_s_law_gives_the_first_key_twice_what_the_second_has():
    drawn = Counter(data.zipf(1000, 200_000))

    assert drawn[0] / drawn[1] == pytest.approx(2, rel=0.1)
    assert max(drawn) < 1000
    assert data.zipf(1000, 50) == data.zipf(1000, 50)


def test_a_site_of_ten_thousand_reports_a_dozen_times_a_second():
    assert 11 <= data.reports_per_second(10_000) <= 14
    assert 0 < data.directory_changes_per_second(10_000) < 0.1


def test_a_report_replaces_a_record_and_renews_its_facts(tmp_path: Path):
    (person,) = data.people(1)
    path = tmp_path / "policy/devices" / f"{person.device_id}.json"
    path.parent.mkdir(parents=True)
    record = {"version": 3, "report_received_at": 1, "facts": {"disk.encrypted": {"received_at": 1}}}
    path.write_bytes(msgspec.json.encode(record))

    new_report(tmp_path, person, now=99.5)

    assert msgspec.json.decode(path.read_bytes()) == {
        "version": 4, "report_received_at": 99, "facts": {"disk.encrypted": {"received_at": 99}},
    }  # fmt: skip
    assert path.stat().st_mode & 0o077 == 0


def test_a_directory_change_gives_a_person_another_group(tmp_path: Path):
    (person,) = data.people(1)
    path = tmp_path / "policy/subjects" / f"{person.id}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode({"version": 1, "groups": list(person.groups)}))

    new_directory_entry(tmp_path, person)

    assert msgspec.json.decode(path.read_bytes()) == {"version": 2, "groups": [*person.groups, "list-002"]}


def test_every_route_that_is_asked_for_is_in_the_generated_catalogue():
    catalogue = load_catalogue(data.catalogue_text(3, 40), where="benchmark")

    for host, method, path in data.route_requests(3, 40, 300):
        assert catalogue.match(host, method, path).route
    assert sum(1 for _ in catalogue.rules) == 120


# -- nginx


def test_a_printed_block_that_changed_is_not_measured_in_silence():
    with pytest.raises(BenchmarkError, match="ssl_client_escaped_cert"):
        through_nginx.adapted("server { }", ask=True)


def test_the_block_without_a_question_differs_only_in_the_question():
    block = (
        "auth_request /_zt/auth;\nZt-Client-Verify $ssl_client_verify;\nproxy_set_header Zt-Client-Cert "
        "$ssl_client_escaped_cert;\n"
    )

    asked, alone = through_nginx.adapted(block, ask=True), through_nginx.adapted(block, ask=False)

    assert "$http_bench_certificate;" in asked
    assert alone == asked.replace("auth_request /_zt/auth;", "auth_request off;")


def test_a_release_of_the_benchmark_is_the_pack_under_another_version_with_a_module_nobody_has_compiled():
    unsigned = make_bundle(
        {WASM: b"\0asm", "catalogue.yaml": b"a: 1\n"}, pack="tiny", version="1.0.0", input_version=1,
        layers={"unlisted": ("baseline",)}, reads=("/device/facts",), builtins=("count",),
    )  # fmt: skip

    before, after = (
        bundle_archive.read(raw) for raw in (unsigned, changed(unsigned, "0.0.2", None, kind="rules"))
    )  # fmt: skip

    old, new = (json.loads(files[MANIFEST])["metadata"]["zt"] for files in (before, after))
    assert new["version"] == "0.0.2"
    assert new["wasm"]["sha256"] != old["wasm"]["sha256"]
    assert after[WASM].startswith(before[WASM])
    assert {**before, MANIFEST: b"", WASM: b""} == {**after, MANIFEST: b"", WASM: b""}
    other = bundle_archive.read(changed(unsigned, "0.0.3", None, kind="catalogue"))
    assert {**other, MANIFEST: b"", CATALOGUE: b""} == {**before, MANIFEST: b"", CATALOGUE: b""}
    assert other[CATALOGUE] == before[CATALOGUE] + b"# 0.0.3\n"
