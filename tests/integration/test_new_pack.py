"""`zt policy new`: what it writes passes every step of publishing as it stands, and it writes over nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.peers import ROOT
from tests.publisher_office import KEY
from zt_engine.bootstrap.new_pack import new_pack, new_service
from zt_engine.bootstrap.release_gate import gate
from zt_engine.bootstrap.workbench import Workbench
from zt_engine.cli.main import app
from zt_engine.core.errors import ConfigError


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["policy", *words])


def documented() -> list[list[str]]:
    """The commands that docs/publishing.md begins with."""
    page = (ROOT / "docs/publishing.md").read_text()
    section = page.split("\n## To begin with\n")[1].split("\n## ")[0]
    return [shlex.split(line)[2:] for line in re.findall(r"^\$ (.*)$", section, re.MULTILINE)]


def test_what_the_documentation_begins_with_passes_as_it_stands(
    opa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pack, service, test, publish = documented()
    answers = [run(*pack), run(*service)]
    built = gate(Workbench(opa), tmp_path / publish[1], KEY)

    assert [answer.exit_code for answer in answers] == [0, 0], [answer.output for answer in answers]
    assert built.bundle.manifest.pack == "acme"
    assert built.bundle.layers["travel_expenses"] == ("baseline", "organisation", "service")
    assert (test, publish) == (["test", "policies/acme"], ["publish", "policies/acme", "--dry-run"])


def test_a_service_in_a_pack_of_the_government_passes_as_well(opa: str, tmp_path: Path) -> None:
    pack = tmp_path / "kasumigaseki"
    new_pack(pack, like="jp-gov")
    for table in (pack / "scenarios").glob("[!_]*.yaml"):
        table.unlink()  # its own pass elsewhere
    new_service(pack, "travel_expenses", host="expenses.ministry.example")
    tested = Workbench(opa).test(pack, engines=("wasm",))

    assert tested.problems == ()
    assert len(tested.rows) == 2


@pytest.mark.parametrize(
    ("service", "host", "code"),
    [
        ("wiki", "wiki.acme.example", "NEW_EXISTS"),
        ("Travel", "expenses.acme.example", "SERVICE_ID_INVALID"),
        ("travel", "expenses.acme.example/x", "NEW_HOST"),
    ],
)
def test_a_service_that_cannot_be_added_changes_no_file(tmp_path: Path, service: str, host: str, code: str) -> None:
    pack = tmp_path / "acme"
    new_pack(pack, like="corp")
    before = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as refused:
        new_service(pack, service, host=host)

    assert refused.value.code.startswith(code)
    assert {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()} == before


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        new_pack(tmp_path, like="corp")

    assert refused.value.code == "NEW_EXISTS"
    assert list(tmp_path.iterdir()) == []
