"""`zt policy publish` and its neighbours as a person types them: a pack goes in, a release comes out, and back."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from tests.control_support import Control
from tests.integration.opa_support import share_tool
from tests.peers import ROOT
from tests.publisher_office import KEY, PEOPLE, Office, remembered
from zt_engine.bootstrap import publishing, release_diff, release_reading
from zt_engine.bootstrap.release_gate import gate
from zt_engine.cli import policy, publish

Run = Callable[..., Any]
OWNERS = """repository = "policy.git"
maintainers = ["maintainer.pub"]
[[publishing.owners]]
service = "payroll"
keys = ["payroll.pub"]
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of a shipped pack with what all packs share."""
    for name in ("corp", "lib", "schemas"):
        shutil.copytree(ROOT / "policies" / name, tmp_path / "policies" / name)
    return tmp_path / "policies/corp"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opa: str) -> Iterator[Run]:
    for module in (publishing, release_reading, release_diff):
        monkeypatch.setattr(module, "weakenings", remembered)
    share_tool(monkeypatch, opa)
    (tmp_path / "site-1.pem").write_bytes(KEY.pem())
    (tmp_path / "site-1.pub.pem").write_text(KEY.public().pem())
    for person, key in PEOPLE.items():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{person}.pem").write_bytes(pem)
        assert key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    config = tmp_path / "zt.toml"
    config.write_text('[policy]\nkeys = ["site-1.pub.pem"]\n[publishing]\nkey_file = "site-1.pem"\nauthor = "tanaka"\n')
    with Control() as control:
        office = Office(control)
        monkeypatch.setattr(publish, "plane_of", lambda *_: contextlib.nullcontext(office.plane))
        monkeypatch.setattr(time, "time", control.clock.now)

        def call(*words: str) -> Any:
            with_opa = ["--opa", opa] if words[0] == "publish" else []
            return CliRunner().invoke(policy.app, [*words, *with_opa, "--config", str(config), "--lang", "en"])

        yield call


def test_a_pack_is_published_approved_taken_back_and_a_bad_one_changes_nothing(
    run: Run, pack: Path, tmp_path: Path
) -> None:
    with (tmp_path / "zt.toml").open("a") as config:
        config.write(OWNERS)
    none = run("status")
    first = run("publish", str(pack), "--verbose")
    catalogue = pack / "catalogue.yaml"
    catalogue.write_text(catalogue.read_text().replace('"group:support"]}', '"group:support", "group:finance"]}'))
    weaker = run("publish", str(pack))
    approved = [run("approve", "2", "--key", str(tmp_path / f"{person}.pem"), "--yes") for person in PEOPLE]
    differs = run("diff")
    back = run("rollback")
    source = pack / "baseline/baseline.rego"
    source.write_text(source.read_text() + "\nbroken :=\n")
    failed = run("publish", str(pack))

    for result in (first, weaker, *approved, differs, back):
        assert result.exit_code == 0, (result.output, result.exception)
    assert none.exit_code == 1
    assert re.findall(r"^\[ *\d+\.\d s\] (\w+)", first.stderr, re.MULTILINE) == [
        "checking", "running", "deciding", "deciding", "building", "comparing", "signing",
    ]  # fmt: skip
    assert " s] " not in weaker.stderr
    assert "release 1 is in force" in first.output
    assert "whose change it is was not checked" in first.output
    assert "WEAKENS_LABEL" in weaker.output
    assert "release 2 waits for 2 more people" in weaker.output
    assert "group:finance" in approved[0].output.partition("It weakens")[0]
    assert "release 2 is in force" in approved[1].output
    assert "~ catalogue.yaml" in differs.output
    assert "release 3 is in force" in back.output
    assert failed.exit_code == 1
    assert "baseline.rego:" in failed.stderr
    assert "Nothing was published" in failed.stdout
    rows = [line.split("│")[1:3] for line in run("history").output.splitlines() if line.startswith("│")]
    assert [" ".join("".join(row).split()) for row in rows] == ["* 3 in force", "2 rolled back", "1 replaced"]


def test_a_pack_goes_out_by_a_plan_or_is_only_watched(
    run: Run, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[Path, Any] = {}

    def once(bench: Any, folder: Path, *rest: Any, **more: Any) -> Any:
        if folder not in built:
            built[folder] = gate(bench, folder, *rest, **more)
        return built[folder]

    monkeypatch.setattr(publish, "gate", once)  # the same pack twice is tested once
    plan = tmp_path / "plan.yaml"
    plan.write_text("rings: [{name: canary, sidecars: [edge-1]}, {name: all, percent: 100}]\ndwell: 600\n")
    watched = run("publish", str(pack), "--report-only")
    none = run("status")
    shown = run("status", "1")
    first = run("publish", str(pack), "--plan", str(plan))
    status = run("status")
    history = run("history").output

    assert re.search(r" 2 +│ going out ", history)
    assert re.search(r" 1 +│ only watched ", history)
    assert "): going out" in status.output
    assert "release 1 is watched and decides nowhere" in watched.output
    assert "nothing was released yet" in none.output
    assert "rollout 1: running, report-only" in shown.output
    assert "release 2 goes out ring by ring" in first.output
    assert "ring canary: reached, 0 of 0 have it" in status.output
    assert "ring all: not reached" in status.output
