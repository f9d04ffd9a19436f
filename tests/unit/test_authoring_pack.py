"""A pack folder is read as it was written, or refused with all its faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.opa_support import FILES, write_pack
from zt_engine.authoring.build import layer_table
from zt_engine.authoring.pack import read_pack
from zt_engine.core.errors import ConfigError


def faults(root: Path, **changes: str | None) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        read_pack(write_pack(root, **changes))
    return [(problem.code, problem.where.removeprefix(f"{root}/")) for problem in caught.value.problems]


def test_sources_tests_and_data_go_by_the_names_they_have_in_a_bundle(tmp_path: Path) -> None:
    pack = read_pack(
        write_pack(tmp_path, **{"tiny/baseline/README.md": "words", "tiny/service/portal/deep/data.json": '{"a":1}'})
    )

    assert set(pack.sources) == {
        "baseline/baseline.rego",
        "lib/zt/checks.rego",
        "ministry/ministry.rego",
        "service/portal/portal.rego",
    }
    assert set(pack.tests) == {"baseline/baseline_test.rego"}
    assert pack.data == {
        "zt/assurance/data.json": b'{"aal1":1,"aal2":2}',
        "zt/layer/ministry/data.json": b'{"channels":["closed"]}',
        "zt/layer/service/portal/deep/data.json": b'{"a":1}',
    }
    assert pack.where["baseline/baseline.rego"] == str(tmp_path / "tiny/baseline/baseline.rego")
    assert pack.reasons["NOT_STAFF"].kind == "contact"
    assert pack.reasons_at["NOT_STAFF"].endswith("reasons.yaml:3")


def test_each_service_of_the_catalogue_has_its_layers(tmp_path: Path) -> None:
    assert layer_table(read_pack(write_pack(tmp_path))) == {
        "portal": ("baseline", "ministry", "service"),
        "wiki": ("baseline", "ministry"),
        "unlisted": ("baseline", "ministry"),
    }


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tiny/pack.yaml": None}, ("PACK_MALFORMED", "")),
        (
            {"tiny/pack.yaml": "pack: tiny\nversion: 1\nlayers: [baseline, ministry]\n"},
            ("PACK_MALFORMED", "tiny/pack.yaml:2"),
        ),
        (
            {"tiny/pack.yaml": 'pack: ../x\nversion: "1"\nlayers: [baseline, ministry]\n'},
            ("PACK_MALFORMED", "tiny/pack.yaml:1"),
        ),
        ({"tiny/pack.yaml": 'pack: t\nversion: "1"\nlayers: [ministry]\n'}, ("PACK_MALFORMED", "tiny/pack.yaml:3")),
        (
            {"tiny/pack.yaml": 'pack: t\nversion: "1"\nlayers: [baseline, ministry]\nlayer: x\n'},
            ("PACK_MALFORMED", "tiny/pack.yaml:4"),
        ),
        ({"tiny/pack.yaml": 'pack: t\nversion: "1"\nlayers: [baseline]\n'}, ("PACK_FILE_UNKNOWN", "tiny/ministry")),
        ({"tiny/notes.rego": "package x\n"}, ("PACK_FILE_UNKNOWN", "tiny/notes.rego")),
        ({"tiny/servce/portal/x.rego": "package x\n"}, ("PACK_FILE_UNKNOWN", "tiny/servce")),
        ({"tiny/baseline/x.yaml": "a: 1\n"}, ("PACK_FILE_UNKNOWN", "tiny/baseline/x.yaml")),
        ({"tiny/baseline/規則.rego": "package x\n"}, ("PACK_FILE_UNKNOWN", "tiny/baseline/規則.rego")),
        ({"tiny/service/nowhere/x.rego": "package x\n"}, ("PACK_FILE_UNKNOWN", "tiny/service/nowhere")),
        ({"tiny/service/wiki/data.yaml": "a: 1\n"}, ("LAYER_MISSING", "tiny/service/wiki")),
        ({"tiny/baseline/data.yaml": "a: [1\n"}, ("PACK_MALFORMED", "tiny/baseline/data.yaml:2")),
        ({"tiny/baseline/data.yaml": "- 1\n"}, ("PACK_MALFORMED", "tiny/baseline/data.yaml")),
        ({"tiny/baseline/data.json": '{"a":1,"a":2}'}, ("PACK_MALFORMED", "tiny/baseline/data.json")),
        ({"tiny/ministry/data.json": '{"a":1}'}, ("PACK_MALFORMED", "tiny/ministry/data.yaml")),
        (
            {"tiny/catalogue.yaml": "services:\n  Portal: {}\n  portal: {}\n"},
            ("SERVICE_ID_INVALID", "tiny/catalogue.yaml:2"),
        ),
        (
            {"tiny/catalogue.yaml": "services:\n  not: {}\n  portal: {}\n"},
            ("SERVICE_ID_INVALID", "tiny/catalogue.yaml:2"),
        ),
        (
            {"tiny/catalogue.yaml": "services:\n  unlisted: {}\n  portal: {}\n"},
            ("SERVICE_ID_INVALID", "tiny/catalogue.yaml:2"),
        ),
        ({"tiny/trust.yaml": "trust: 1\n"}, ("PACK_MALFORMED", "tiny/trust.yaml:1")),
        (
            {"tiny/reasons.yaml": "A_B: {kind: auth, ja: あ, en: a}\nC_D: {kind: what, ja: あ, en: a}\n"},
            ("REASON_MALFORMED", "tiny/reasons.yaml:2"),
        ),
        ({"tiny/reasons.yaml": 'A_B: {kind: auth, ja: " ", en: a}\n'}, ("REASON_TEXT_MISSING", "tiny/reasons.yaml:1")),
        ({"tiny/reasons.yaml": "A_B: {kind: auth, ja: あ}\n"}, ("REASON_MALFORMED", "tiny/reasons.yaml:1")),
        ({"schemas/input.json": None}, ("PACK_MALFORMED", "schemas/input.json")),
    ],
)
def test_a_fault_is_named_with_its_place(
    tmp_path: Path, changes: dict[str, str | None], fault: tuple[str, str]
) -> None:
    code, where = fault
    found = faults(tmp_path, **changes)

    assert any(a == code and (b == where or not where) for a, b in found), found


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path, **{"tiny/trust.yaml": "a: 1\n", "tiny/reasons.yaml": "A_B: 1\n", "tiny/baseline/x.txt": ""}
    )

    assert {code for code, _ in found} == {"PACK_MALFORMED", "REASON_MALFORMED", "PACK_FILE_UNKNOWN"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = write_pack(tmp_path)
    (tmp_path / "outside.rego").write_text("package outside\n")
    (folder / "baseline" / "link.rego").symlink_to(tmp_path / "outside.rego")

    with pytest.raises(ConfigError) as caught:
        read_pack(folder)
    assert [(p.code, p.message) for p in caught.value.problems] == [("PACK_MALFORMED", "not a plain file")]


def test_a_pack_copied_out_without_what_all_share_is_told_what_to_copy(tmp_path: Path) -> None:
    folder = write_pack(tmp_path)
    (tmp_path / "schemas" / "input.json").unlink()

    with pytest.raises(ConfigError) as caught:
        read_pack(folder)
    (problem,) = caught.value.problems
    assert problem.message == "does not exist"
    assert "`lib` and `schemas`" in problem.hint


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    folder = write_pack(tmp_path)
    (folder / "baseline" / "latin.rego").write_bytes(b"# \xe9\n")
    (folder / "baseline" / "large.rego").write_bytes(b"#" * (5 << 20))

    with pytest.raises(ConfigError) as caught:
        read_pack(folder)
    assert [Path(p.where).name for p in caught.value.problems] == ["large.rego", "latin.rego"]


def test_a_pack_copied_out_alone_brings_its_library(tmp_path: Path) -> None:
    moved = {
        name.replace("lib/", "tiny/lib/", 1).replace("schemas/", "tiny/schemas/", 1): text
        for name, text in FILES.items()
    }
    for name, content in moved.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    assert "lib/zt/checks.rego" in read_pack(tmp_path / "tiny").sources
