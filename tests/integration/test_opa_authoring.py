"""A pack that is right passes; each way of being wrong is found, with its code, its file and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.opa_support import FILES, META, layer, tool, write_pack
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.build import build, main_module
from zt_engine.authoring.check import Checked, check
from zt_engine.authoring.pack import read_pack
from zt_engine.authoring.rego_tests import run_tests
from zt_engine.core.bundle import open_bundle
from zt_engine.core.decision import read_layers
from zt_engine.core.errors import ConfigError, Problem, UnavailableError

BASELINE = "tiny/baseline/baseline.rego"
MINISTRY = "tiny/ministry/ministry.rego"
PORTAL = "tiny/service/portal/portal.rego"


def checked(opa: str, root: Path, **changes: str | None) -> Checked:
    return check(write_pack(root, **changes), tool(opa))


def faults(opa: str, root: Path, **changes: str | None) -> list[tuple[str, str]]:
    """Each fault as its code and its place below the folder."""
    return [
        (problem.code, problem.where.removeprefix(f"{root}/")) for problem in checked(opa, root, **changes).problems
    ]


def plus(name: str, more: str) -> dict[str, str | None]:
    return {name: FILES[name] + more}


def last_line(name: str, more: str) -> int:
    return (FILES[name] + more).rstrip("\n").count("\n") + 1


def test_a_pack_that_is_right_has_no_faults(opa: str, tmp_path: Path) -> None:
    assert checked(opa, tmp_path).problems == ()


# -- layers


def test_a_foreign_package_is_refused(opa: str, tmp_path: Path) -> None:
    """A ministry's file in the baseline's package would be a permission nobody at the baseline gave."""
    found = faults(opa, tmp_path, **{"tiny/ministry/more.rego": f"package zt.layer.baseline\n\n{META}more := 1\n"})

    assert ("LAYER_PACKAGE", "tiny/ministry/more.rego") in found


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("tiny/baseline/more.rego", "zt.layer.baselines"),
        ("tiny/baseline/more.rego", "zt.main"),
        ("tiny/baseline/more.rego", "zt.lib.checks"),
        ("tiny/ministry/more.rego", "zt.layer"),
        ("tiny/ministry/more.rego", "system.authz"),
        ("tiny/service/portal/more.rego", "zt.layer.service"),
        ("tiny/service/portal/more.rego", "zt.layer.service.wiki"),
        ("tiny/service/portal/more.rego", "zt.layer.baseline"),
        ("lib/zt/more.rego", "zt.layer.baseline"),
        ("lib/zt/more.rego", "zt.libs"),
    ],
)
def test_no_file_may_speak_for_another_place(opa: str, tmp_path: Path, file: str, package: str) -> None:
    assert ("LAYER_PACKAGE", file) in faults(opa, tmp_path, **{file: f"package {package}\n\n{META}more := 1\n"})


@pytest.mark.parametrize(
    "reference",
    [
        "data.zt.layer.baseline.result",
        "data.zt.layer.ministry.result.allow",
        "data.zt.layer.service.wiki.x",
        "data.zt.layer[input.subject.org].result",
        'data.zt.layer["baseline"]',
        "data.zt[input.subject.id]",
        "data.zt",
        "data[input.subject.id]",
        "data",
        "data.system.bundles",
        "data.zt.main.portal",
        "data.zt.layer.service",
        "count({k | some k; data.zt.layer[k]})",
        "{x | some x in data.zt.layer.baseline.unmet}",
        'object.get(data, ["zt", "layer", "baseline"], 0)',
        '$"{data.zt.layer.baseline.result}"',
    ],
)
def test_a_reference_to_another_layer_is_refused_in_every_spelling(opa: str, tmp_path: Path, reference: str) -> None:
    more = f"\n{META}peek := {reference}\n"

    assert ("LAYER_REFERENCE", f"{PORTAL}:{last_line(PORTAL, more)}") in faults(opa, tmp_path, **plus(PORTAL, more))


def test_mocking_another_layer_is_a_reference_too(opa: str, tmp_path: Path) -> None:
    more = f"\n{META}mocked if {{\n\tresult.allow with data.zt.layer.baseline.result as true\n}}\n"

    assert ("LAYER_REFERENCE", f"{PORTAL}:{last_line(PORTAL, more) - 1}") in faults(opa, tmp_path, **plus(PORTAL, more))


@pytest.mark.parametrize(
    "imported",
    ["data.zt.layer.baseline", "data.zt.layer", "data.zt", "data", "data.zt.main", "data.zt.layer.service.wiki"],
)
def test_importing_another_layer_is_refused(opa: str, tmp_path: Path, imported: str) -> None:
    source = layer("zt.layer.service.portal", "NOT_STAFF", '"staff" in taken', f"import {imported} as taken\n\n")

    assert ("LAYER_IMPORT", f"{PORTAL}:3") in faults(opa, tmp_path, **{PORTAL: source})


def test_a_layer_may_use_itself_the_library_and_the_published_table(opa: str, tmp_path: Path) -> None:
    source = layer(
        "zt.layer.service.portal",
        "NOT_STAFF",
        "allowed",
        "import data.zt.layer.service.portal.helpers\nimport data.zt.lib.checks\n\n",
    )
    body = "helpers.one == 1\n\tchecks.strong(input.subject.acr)\n\tdata.zt.assurance.aal2 == 2"
    rules = f"{META}allowed if {{\n\t{body}\n}}\n"
    helpers = f"package zt.layer.service.portal.helpers\n\n{META}one := data.zt.layer.service.portal.numbers.one\n"
    found = faults(
        opa,
        tmp_path,
        **{
            PORTAL: source + rules,
            "tiny/service/portal/helpers.rego": helpers,
            "tiny/service/portal/data.yaml": "numbers: {one: 1}\n",
        },
    )

    assert found == []


def test_a_layer_without_an_answer_is_refused(opa: str, tmp_path: Path) -> None:
    assert ("LAYER_RESULT_MISSING", PORTAL) in faults(
        opa, tmp_path, **{PORTAL: f"package zt.layer.service.portal\n\n{META}x := 1\n"}
    )


def test_a_missing_layer_is_refused(opa: str, tmp_path: Path) -> None:
    found = faults(opa, tmp_path, **{MINISTRY: None, "tiny/baseline/baseline_test.rego": None})

    assert ("LAYER_MISSING", "tiny/ministry") in found


def test_rules_that_conflict_are_refused(opa: str, tmp_path: Path) -> None:
    more = f"\n{META}result contains 1\n"

    assert [code for code, _ in faults(opa, tmp_path, **plus(PORTAL, more))] == ["REGO_ERROR"]


def test_a_rule_where_data_stands_already_is_refused(opa: str, tmp_path: Path) -> None:
    found = faults(opa, tmp_path, **{"tiny/ministry/data.yaml": "channels: [closed]\nresult: {}\n"})

    assert [code for code, _ in found] == ["REGO_ERROR"]


def test_no_layer_can_change_another_layers_result(opa: str, tmp_path: Path) -> None:
    """Invariant 13: whatever a service layer answers, the others' answers stay byte for byte the same."""
    document = b'{"subject":{"acr":"aal1","groups":[]},"request":{"channel":"open"}}'
    answers = []
    for body in ('"staff" in input.subject.groups', "true", "1 == 2", "input.nothing"):
        root = tmp_path / str(len(answers))
        pack = read_pack(write_pack(root, **{PORTAL: layer("zt.layer.service.portal", "NOT_STAFF", body)}))
        bundle = open_bundle(build(pack, tool(opa)), keys={}, require_signature=False)
        engine = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=1000)
        answers.append(read_layers(engine.evaluate("zt/main/portal", document)))
        engine.close()

    assert {answer["service"].allow for answer in answers} == {True, False}
    assert all(answer["baseline"] == answers[0]["baseline"] for answer in answers)
    assert all(answer["ministry"] == answers[0]["ministry"] for answer in answers)


def test_a_service_layer_that_breaks_while_it_decides_denies_that_service_and_no_other(
    opa: str, tmp_path: Path
) -> None:
    broken = layer("zt.layer.service.portal", "NOT_STAFF", "_twice == 1")
    broken += "\n_twice := 1\n\n_twice := 2 if input.subject.groups\n"
    pack = read_pack(write_pack(tmp_path, **{PORTAL: broken}))
    bundle = open_bundle(build(pack, tool(opa)), keys={}, require_signature=False)
    engine = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=1000)
    document = b'{"subject":{"acr":"aal2","groups":["staff"]},"request":{"channel":"closed"}}'

    with pytest.raises(UnavailableError) as refused:
        engine.evaluate("zt/main/portal", document)
    others = [read_layers(engine.evaluate(f"zt/main/{name}", document)) for name in ("wiki", "unlisted")]
    engine.close()

    assert refused.value.code == "ENGINE_TRAP"
    for answer in others:
        assert {name: found.allow for name, found in answer.items()} == {"baseline": True, "ministry": True}


# -- codes, annotations, divergences, Rego itself


def test_a_code_nobody_explains_is_refused_in_rules_and_in_data(opa: str, tmp_path: Path) -> None:
    more = f'\n{META}also contains "NO_SUCH_CODE" if input.subject.id == ""\n'

    assert faults(opa, tmp_path, **plus(PORTAL, more)) == [("REASON_UNKNOWN", f"{PORTAL}:{last_line(PORTAL, more)}")]
    other = faults(
        opa, tmp_path / "b", **{"tiny/ministry/data.yaml": "channels: [closed]\nrow: {C2: [ALSO_UNKNOWN]}\n"}
    )
    assert other == [("REASON_UNKNOWN", "tiny/ministry/data.yaml")]


def test_a_code_nobody_uses_is_refused_at_its_line(opa: str, tmp_path: Path) -> None:
    more = "NEVER_USED: {kind: none, ja: 使われません。, en: Never used.}\nBAD: {kind: none, ja: 一語, en: one word}\n"

    assert faults(opa, tmp_path, **plus("tiny/reasons.yaml", more)) == [
        ("REASON_UNUSED", "tiny/reasons.yaml:4"),
        ("REASON_MALFORMED", "tiny/reasons.yaml:5"),
    ]


@pytest.mark.parametrize(
    ("annotation", "lacking"),
    [
        ("", "has no METADATA"),
        ("# METADATA\n# title: English / 日本語\n", "control, remedy_ja, remedy_en"),
        (META.replace("English / 日本語", "English only"), "title"),
        (META.replace("#   remedy_ja: 直してください。\n", ""), "lacks remedy_ja"),
        (META.replace("AC-3", '""'), "lacks control"),
    ],
)
def test_a_rule_without_its_explanation_is_refused(opa: str, tmp_path: Path, annotation: str, lacking: str) -> None:
    more = f"\n{annotation}helper := 1\n"
    problems = checked(opa, tmp_path, **plus(PORTAL, more)).problems

    assert [problem.code for problem in problems] == ["RULE_METADATA_MISSING"]
    assert lacking in problems[0].message
    assert problems[0].where.endswith(f"portal.rego:{last_line(PORTAL, more)}")


def test_one_annotation_of_document_scope_covers_all_rules_of_a_name(opa: str, tmp_path: Path) -> None:
    more = f"\n{META}helper contains 1\n\nhelper contains 2\n\ndefault other := 1\n"

    assert [code for code, _ in faults(opa, tmp_path, **plus(PORTAL, more))] == ["RULE_METADATA_MISSING"]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("data.zt.layer.ministry.table[2]", "integer_index_into_object"),
        ("data.zt.layer.ministry.deep.table[2]", "integer_index_into_object"),
        ("taken.table[2]", "integer_index_into_object"),
        ("json.marshal(input.subject)", "json_marshal_key_order"),
        ('glob.match("a?c", [], input.subject.id)', "glob_question_mark_non_ascii"),
        ("input.subject.auth_age * 1.5", "float_last_digit"),
        ("input.subject.auth_age / 3", "float_last_digit"),
    ],
)
def test_what_the_engines_answer_differently_is_refused(opa: str, tmp_path: Path, rule: str, name: str) -> None:
    data = "channels: [closed]\ntable: {a: 1}\ndeep: {table: {b: 2}}\nlist: [1, 2, 3]\n"
    source = FILES[MINISTRY].replace(
        "package zt.layer.ministry\n", "package zt.layer.ministry\n\nimport data.zt.layer.ministry as taken\n"
    )
    if "taken" not in rule:
        source = FILES[MINISTRY]
    source += f"\n{META}odd := {rule}\n"
    problems = checked(opa, tmp_path, **{MINISTRY: source, "tiny/ministry/data.yaml": data}).problems

    assert [(problem.code, problem.message.partition(":")[0]) for problem in problems] == [("REGO_DIVERGENCE", name)]
    assert problems[0].where.endswith(f"ministry.rego:{source.count(chr(10))}")


@pytest.mark.parametrize(
    ("data", "name"),
    [('channels: [closed]\nlevels: {"0": 1}\n', "integer_index"), ("channels: [closed]\nx: [0.5]\n", "float_last")],
)
def test_data_that_invites_a_different_answer_is_refused(opa: str, tmp_path: Path, data: str, name: str) -> None:
    problems = checked(opa, tmp_path, **{"tiny/ministry/data.yaml": data}).problems

    assert [problem.code for problem in problems] == ["REGO_DIVERGENCE"]
    assert problems[0].message.startswith(name)


def test_an_index_into_a_list_is_no_divergence(opa: str, tmp_path: Path) -> None:
    source = FILES[MINISTRY] + f"\n{META}second := data.zt.layer.ministry.list[1]\n"

    assert (
        faults(opa, tmp_path, **{MINISTRY: source, "tiny/ministry/data.yaml": "channels: [closed]\nlist: [1, 2]\n"})
        == []
    )


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "GET", "url": "http://a"})',
        "time.now_ns()",
        "opa.runtime()",
        'io.jwt.decode("a")',
        "no.such(1)",
    ],
)
def test_a_function_that_is_not_offered_is_refused_by_name(opa: str, tmp_path: Path, call: str) -> None:
    more = f"\n{META}outside := {call}\n"
    problems = checked(opa, tmp_path, **plus(PORTAL, more)).problems

    assert [problem.code for problem in problems] == ["REGO_BUILTIN_UNSUPPORTED"]
    assert call.partition("(")[0] in problems[0].message
    assert problems[0].where.endswith(f"portal.rego:{last_line(PORTAL, more)}")


def test_a_misspelt_input_is_refused_by_the_schema(opa: str, tmp_path: Path) -> None:
    more = f"\n{META}typo := input.subject.clearence\n"

    assert faults(opa, tmp_path, **plus(PORTAL, more)) == [("REGO_ERROR", f"{PORTAL}:{last_line(PORTAL, more)}")]


def test_strict_mode_finds_what_nobody_uses(opa: str, tmp_path: Path) -> None:
    more = f"\n{META}unused if {{\n\tx := 1\n}}\n"

    assert faults(opa, tmp_path, **plus(PORTAL, more)) == [("REGO_ERROR", f"{PORTAL}:{last_line(PORTAL, more) - 1}")]


def test_every_syntax_error_is_reported_at_its_place(opa: str, tmp_path: Path) -> None:
    found = faults(
        opa,
        tmp_path,
        **{BASELINE: "package zt.layer.baseline\n\nx := ]\n", PORTAL: "package zt.layer.service.portal\n\ny := }\n"},
    )

    assert {code for code, _ in found} == {"REGO_ERROR"}
    assert {(BASELINE + ":3"), (PORTAL + ":3")} <= {where for _, where in found}


def test_loaders_of_the_engine_judge_catalogue_and_trust(opa: str, tmp_path: Path) -> None:
    def refuse(text: str, where: str) -> object:
        raise ConfigError((Problem(code="CATALOGUE_RULE", message=f"{len(text)}", where=f"{where}:3"),))

    found = check(
        write_pack(tmp_path), tool(opa), loaders={"catalogue.yaml": refuse, "trust.yaml": lambda text, where: text}
    )

    assert [(problem.code, problem.where) for problem in found.problems] == [
        ("CATALOGUE_RULE", f"{tmp_path}/tiny/catalogue.yaml:3")
    ]


# -- tests


def run_of(opa: str, root: Path, **changes: str | None) -> tuple[int, float, list[tuple[str, str]]]:
    run = run_tests(read_pack(write_pack(root, **changes)), tool(opa))
    return (
        run.passed,
        run.coverage,
        [(problem.code, problem.where.removeprefix(f"{root}/")) for problem in run.problems],
    )


TEST_FILE = "tiny/baseline/baseline_test.rego"


def test_tests_that_pass_and_reach_every_rule_are_enough(opa: str, tmp_path: Path) -> None:
    assert run_of(opa, tmp_path) == (6, 100.0, [])


def test_a_failing_a_skipped_and_a_broken_test_are_problems_at_their_lines(opa: str, tmp_path: Path) -> None:
    more = (
        "\ntest_wrong if 1 == 2\n\ntodo_test_later if true\n\ntest_conflict if {\n\tx := {1, 2}\n\tcount(x) == 3\n}\n"
    )
    passed, _, problems = run_of(opa, tmp_path, **plus(TEST_FILE, more))

    line = last_line(TEST_FILE, more)
    assert passed == 6
    assert problems == [
        ("TEST_FAILED", f"{TEST_FILE}:{line - 7}"),
        ("TEST_FAILED", f"{TEST_FILE}:{line - 5}"),
        ("TEST_FAILED", f"{TEST_FILE}:{line - 3}"),
    ]


def test_a_rule_no_test_reaches_is_a_problem(opa: str, tmp_path: Path) -> None:
    more = f'\n{META}never := 1 if input.subject.id == "x"\n'
    _, coverage, problems = run_of(opa, tmp_path, **plus(PORTAL, more))

    assert coverage < 100
    assert problems[0] == ("COVERAGE_LOW", f"{PORTAL}:{last_line(PORTAL, more)}")


def test_a_pack_without_tests_has_not_been_tested(opa: str, tmp_path: Path) -> None:
    _, _, problems = run_of(opa, tmp_path, **{TEST_FILE: None})

    assert problems
    assert {code for code, _ in problems} <= {"TEST_FAILED", "COVERAGE_LOW"}


def test_named_cases_are_allowed_in_tests_and_nowhere_else(opa: str, tmp_path: Path) -> None:
    body = 'some name, acr in {"one": "aal2"}\n\tbaseline.result.allow with input.subject.acr as acr'
    more = f"\ntest_cases[name] if {{\n\t{body}\n}}\n"
    passed, _, problems = run_of(opa, tmp_path, **plus(TEST_FILE, more))

    assert (passed, problems) == (7, [])


# -- building


def test_entrypoints_name_exactly_the_layers_that_must_answer(opa: str, tmp_path: Path) -> None:
    text = main_module(read_pack(write_pack(tmp_path))).decode()

    assert "package zt.main" in text
    assert (
        'portal := {"baseline": data.zt.layer.baseline.result, "ministry": data.zt.layer.ministry.result, '
        '"service": data.zt.layer.service.portal.result}'
    ) in text
    assert 'wiki := {"baseline": data.zt.layer.baseline.result, "ministry": data.zt.layer.ministry.result}' in text
    assert 'unlisted := {"baseline": data.zt.layer.baseline.result, "ministry": data.zt.layer.ministry.result}' in text


def test_the_same_sources_build_the_same_bytes_wherever_they_lie(opa: str, tmp_path: Path) -> None:
    # Each asks `opa` for itself.
    one = build(read_pack(write_pack(tmp_path / "a")), OpaBinary(Path(opa)))
    other = build(read_pack(write_pack(tmp_path / "b")), OpaBinary(Path(opa)))

    assert one == other
    changed = build(read_pack(write_pack(tmp_path / "c", **plus(BASELINE, "\n"))), tool(opa))
    assert changed != one


def test_a_bundle_says_what_it_is_made_of(opa: str, tmp_path: Path) -> None:
    bundle = open_bundle(build(read_pack(write_pack(tmp_path)), tool(opa)), keys={}, require_signature=False)

    assert bundle.layers == {
        "portal": ("baseline", "ministry", "service"),
        "wiki": ("baseline", "ministry"),
        "unlisted": ("baseline", "ministry"),
    }
    assert bundle.reads == ("/request/channel", "/subject/acr", "/subject/groups")
    assert {"count", "gte"} <= set(bundle.builtins)
    assert bundle.reasons["MFA_REQUIRED"].ja == "多要素のサインインが必要です。"
    assert "baseline/baseline_test.rego" not in bundle.manifest.sources
    assert bundle.data == b'{"zt":{"assurance":{"aal1":1,"aal2":2},"layer":{"ministry":{"channels":["closed"]}}}}'


def test_a_change_of_the_library_is_a_change_of_the_baseline_and_one_of_the_ministry_is_not(
    opa: str, tmp_path: Path
) -> None:
    def baseline(name: str, **changes: str | None) -> str:
        raw = build(read_pack(write_pack(tmp_path / name, **changes)), tool(opa))
        return open_bundle(raw, keys={}, require_signature=False).manifest.baseline

    original = baseline("a")

    assert baseline("b", **plus(MINISTRY, "\n")) == original
    assert baseline("c", **plus("lib/zt/checks.rego", "\n")) != original
    assert baseline("d", **{"tiny/trust.yaml": "assurance:\n  aal1: 2\n  aal2: 2\n"}) != original


def test_rego_that_does_not_compile_is_refused_with_its_line(opa: str, tmp_path: Path) -> None:
    pack = read_pack(write_pack(tmp_path, **plus(PORTAL, "\nbad := nowhere\n")))

    with pytest.raises(ConfigError) as caught:
        build(pack, tool(opa))
    assert (
        caught.value.problems[0].where
        == f"{tmp_path}/{PORTAL}:{last_line(PORTAL, chr(10) + 'bad := nowhere' + chr(10))}"
    )
