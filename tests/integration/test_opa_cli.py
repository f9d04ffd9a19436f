"""`zt policy` as a person meets it: exit codes, files and lines, both languages."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.integration.opa_support import share_tool
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.cli.main import app as program
from zt_engine.cli.policy import app
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import ConfigError

QUESTION = 'subject: {type: user, id: a}\nrequest: {url: "https://nowhere.example/"}\n'
POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture(autouse=True)
def _one_opa(monkeypatch: pytest.MonkeyPatch, opa: str) -> None:
    share_tool(monkeypatch, opa)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of a small company's pack, to be edited."""
    for name in ("corp", "lib", "schemas"):
        shutil.copytree(POLICIES / name, tmp_path / "policies" / name)
    return tmp_path / "policies" / "corp"


def zt(opa: str, *arguments: object) -> Result:
    command, *rest = map(str, arguments)
    result = CliRunner().invoke(app, [command, *rest, "--opa", opa])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def append(path: Path, text: str) -> int:
    """Append a line; return its number."""
    path.write_text(path.read_text() + text)
    return path.read_text().count("\n")


def test_a_right_pack_exits_with_zero(opa: str, pack: Path) -> None:
    result = zt(opa, "check", pack, "--lang", "en")

    assert (result.exit_code, result.output) == (0, f"{pack}: nothing wrong.\n")


def test_a_fault_is_told_with_file_line_and_remedy_in_the_chosen_language(opa: str, pack: Path) -> None:
    source = next(pack.glob("baseline/*.rego"))
    line = append(source, "\nunexplained := 1\n")

    english, japanese = zt(opa, "check", pack, "--lang", "en"), zt(opa, "check", pack, "--lang", "ja")

    assert english.exit_code == japanese.exit_code == 1
    assert f"{source}:{line}: RULE_METADATA_MISSING: The METADATA of a rule is incomplete." in english.output
    assert f"{source}:{line}: RULE_METADATA_MISSING: 規則の説明（METADATA）が足りません。" in japanese.output
    assert "1件の問題" in japanese.output


def test_faults_of_catalogue_and_trust_are_told_as_the_engine_would(opa: str, pack: Path) -> None:
    append(pack / "catalogue.yaml", "\nunknown_key: 1\n")
    append(pack / "trust.yaml", "\nunknown_key: 1\n")
    result = zt(opa, "check", pack)

    assert result.exit_code == 1
    assert "catalogue.yaml:" in result.output
    assert "trust.yaml:" in result.output


def test_test_runs_everything_and_says_how_much(opa: str, pack: Path) -> None:
    result = zt(opa, "test", pack, "--table", "--lang", "en")

    assert result.exit_code == 0, result.output
    assert "coverage 100.0 %" in result.output
    assert "Scenarios (wasm): 3" in result.output
    assert "Scenarios (opa): 3" in result.output
    assert "✓" in result.output


def test_a_scenario_that_fails_is_told_with_its_line(opa: str, pack: Path) -> None:
    table = min(path for path in pack.glob("scenarios/*.yaml") if path.name != "_fixtures.yaml")
    text = table.read_text()
    assert "effect: allow" in text
    table.write_text(text.replace("effect: allow", "effect: observe", 1))
    result = zt(opa, "test", pack, "--engine", "wasm")

    assert result.exit_code == 1
    assert f"{table}:" in result.output
    assert "SCENARIO_FAILED" in result.output


def test_build_writes_a_bundle_signed_with_the_key(opa: str, pack: Path, tmp_path: Path) -> None:
    key = BundleSigningKey.generate("site-1")
    (tmp_path / "site-1.pem").write_bytes(key.pem())
    out = tmp_path / "bundle.tar.gz"
    result = zt(opa, "build", pack, "--out", out, "--key", tmp_path / "site-1.pem", "--lang", "en")

    assert result.exit_code == 0, result.output
    assert "signed by site-1" in result.output
    assert open_bundle(out.read_bytes(), keys={"site-1": key.public()}).revision in result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.glob(".bundle-*")] == []


def test_build_refuses_a_pack_with_faults_and_leaves_the_old_bundle(opa: str, pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    out.write_bytes(b"old")
    append(next(pack.glob("baseline/*.rego")), "\nunexplained := 1\n")

    assert zt(opa, "build", pack, "--out", out).exit_code == 1
    assert out.read_bytes() == b"old"


def test_what_cannot_be_run_says_why(opa: str, pack: Path, tmp_path: Path) -> None:
    for arguments, code in (
        (("build", pack, "--out", tmp_path / "nowhere/b.tar.gz"), "BUNDLE_NOT_WRITTEN"),
        (("build", pack, "--key", tmp_path / "none.pem"), "BUNDLE_KEY_MALFORMED"),
        (("check", "no_such_pack"), "PACK_UNKNOWN"),
    ):
        with pytest.raises(ConfigError) as caught:
            zt(opa, *arguments)
        assert caught.value.code == code
    with pytest.raises(ConfigError) as caught:
        zt("/nowhere/opa", "check", pack)
    assert caught.value.code == "OPA_MISSING"


def test_an_unknown_engine_is_a_usage_error(opa: str, pack: Path) -> None:
    assert zt(opa, "test", pack, "--engine", "regorus").exit_code == 2


def test_a_pack_that_is_being_written_can_be_asked(opa: str, pack: Path, tmp_path: Path) -> None:
    """Without publishing it, and without the program's own packs."""
    question = tmp_path / "question.yaml"
    question.write_text(QUESTION)
    words = ["decide", str(question), "--pack", str(pack), "--opa", opa, "--json"]

    before = CliRunner().invoke(program, words)
    append(next(pack.glob("baseline/*.rego")), "\nunexplained := 1\n")
    after = CliRunner().invoke(program, words)

    assert before.exit_code in (0, 1), before.output
    assert json.loads(before.stdout)["decision"]["effect"] in ("allow", "deny", "step_up")
    assert (after.exit_code, "RULE_METADATA_MISSING" in after.output) == (2, True)
