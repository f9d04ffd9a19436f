"""The packs that come with the program, and what a checkout says of one that was edited."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zt_engine.adapters.capabilities import INSIDE_WASM
from zt_engine.bootstrap import packs
from zt_engine.bootstrap.identity import secret_file
from zt_engine.cli.output import warn_if_edited
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import ConfigError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the policies, where a pack may be edited."""
    shutil.copytree(packs.policies_folder(), tmp_path / "policies")
    monkeypatch.setattr(packs, "policies_folder", lambda: tmp_path / "policies")
    return tmp_path / "policies"


@pytest.mark.parametrize("pack", ["corp", "jp-gov"])
def test_what_is_shipped_was_compiled_from_what_is_there(pack: str) -> None:
    assert not packs.edited_since_compiled(pack)


@pytest.mark.parametrize("pack", ["corp", "jp-gov"])
def test_a_pack_that_ships_never_leaves_the_wasm_to_decide(pack: str) -> None:
    """A built-in of the host costs as much as the rest of a decision; `sprintf` is one."""
    bundle = open_bundle(packs.compiled_bundle(pack), keys={}, require_signature=False)

    assert set(bundle.manifest.builtins) <= set(INSIDE_WASM)
    assert "sprintf" not in INSIDE_WASM


@pytest.mark.parametrize("file", ["baseline/baseline.rego", "reasons.yaml", "trust.yaml"])
def test_an_edit_of_any_part_is_noticed_until_it_is_compiled(
    file: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkout / "jp-gov" / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("baseline", "baselime").replace("phr", "phs").replace("en: ", "en: So, "))

    warn_if_edited("jp-gov", "en")
    warn_if_edited("corp", "en")

    said = capsys.readouterr().err
    assert said == "zt: the pack jp-gov was edited after it was compiled, which is how it decides here: make packs\n"


def test_a_pack_that_does_not_exist_was_not_edited() -> None:
    with pytest.raises(ConfigError, match="PACK_UNKNOWN"):
        packs.edited_since_compiled("nowhere")


@pytest.mark.parametrize(
    ("name", "command"), [("log.pem", "openssl genpkey -algorithm ed25519"), ("pep.key", "openssl rand")]
)
def test_a_lost_key_is_replaced_by_one_of_its_kind(name: str, command: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        secret_file(tmp_path / name)

    (problem,) = caught.value.problems
    assert "restore it from backup" in problem.hint
    assert command in problem.hint
    assert str(tmp_path / name) in problem.hint
