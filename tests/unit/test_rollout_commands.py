"""`zt rollout` from the command line: a rollout is begun from a file, looked at, moved on and taken back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tests.control_support import NOW, Control
from tests.publisher_office import CalledClient
from tests.unit.test_control_rollouts import GOOD, HURT, tell
from zt_engine.cli import rollout
from zt_engine.cli.main import app
from zt_engine.control_plane.rollouts import HEARD_SECONDS
from zt_engine.core.errors import ConfigError, InputError

YAML = f"""
kind: overlay
record: {{id: rain, scope: "service:portal", effect: deny, not_before: {NOW}, not_after: {NOW + 3600}}}
plan:
  rings:
    - {{name: canary, sidecars: [edge-1]}}
    - {{name: all, percent: 100}}
  dwell: 600
  guards: {{newly_denied: 10, must_allow: [{{subject: tanaka, service: portal}}]}}
reason: storm warning
"""


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with Control() as one:
        monkeypatch.setattr(rollout.asked, "client", lambda: contextlib.nullcontext(CalledClient(one)))
        yield one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rain.yaml"
    path.write_text(YAML)
    return path


def zt(*words: str | Path, lang: str = "en") -> str:
    result = CliRunner().invoke(app, ["rollout", "--lang", lang, *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_rollout_is_begun_from_a_file_moved_on_and_taken_back(control: Control, file: Path, tmp_path: Path) -> None:
    assert "there are no rollouts" in zt("list")
    assert "rollout 1: running, reached canary" in zt("begin", file)
    assert "1  running  enforce  overlay:rain  canary" in zt("list")
    assert "rollout 1: complete" in zt("advance", "1", "-m", "looks good")

    again = tmp_path / "again.json"
    again.write_text(json.dumps({**json.loads(zt("show", "1", "--json")), "kind": "overlay"}))
    with pytest.raises(InputError):
        zt("begin", again)  # what is shown is no plan
    assert "進行中" in zt("begin", file, "-m", "again", lang="ja")
    assert "taken back" in zt("abort", "2", "-m", "enough")
    assert json.loads(zt("list", "--json"))[0]["why"] == "enough"


def test_what_is_shown_is_rings_guards_what_shadows_saw_and_the_incident(control: Control, file: Path) -> None:
    zt("begin", file)
    assert "no shadow has reported" in zt("show", "1")
    hurt = msgspec.structs.replace(GOOD, newly_denied=9, changes=(HURT,))
    tell(control, hurt)
    watched = zt("show", "1")
    for line in (
        "overlay:rain", "ring canary: reached", "ring all: not reached", "newly_denied=10", '"subject": "tanaka"',
        "goes on by itself after 600 seconds", "shadow edge-1: decided 500 of 500", "of 50 subjects 9 lose",
        "portal: allow -> deny MFA x9  d1", "suspected", "newly_denied: 9 of 50, limit 10", "storm warning",
    ):  # fmt: skip
        assert line in watched
    control.clock.advance(HEARD_SECONDS)
    tell(control, hurt)

    shown = zt("show", "1")
    assert "taken back because of ROLLOUT_BREACH: A guard did not hold" in shown
    assert "newly_denied: 9 of 50, limit 10  d1" in shown
    assert "reported by edge-1" in shown
    japanese = zt("show", "1", lang="ja")
    assert "リング canary: 到達" in japanese
    assert "取り消しの理由: ROLLOUT_BREACH" in japanese


@pytest.mark.parametrize("text", ["kind: [", "- a list", "\xff"])
def test_a_file_that_does_not_read_is_told_with_its_place(control: Control, tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    for file in (path, tmp_path / "missing.yaml"):
        with pytest.raises(ConfigError) as refused:
            zt("begin", file)
        assert refused.value.problems[0].code == "ROLLOUT_FILE"
        assert str(file) in refused.value.problems[0].where
