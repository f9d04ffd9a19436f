"""docs/doctor.md: its files are written, its commands typed, and what it shows is what they answer."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zt_engine.cli.main import app
from zt_engine.pages.registry import registry

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")


def test_every_command_answers_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name, content in re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        Path(name).write_text(f"# {name}\n{content}", encoding="utf-8")
    shown = re.findall(r"^```console\n\$ zt (doctor check [^\n]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    answers = [CliRunner().invoke(app, shlex.split(command)).stdout for command, _ in shown]

    assert len(shown) >= 1
    assert answers == [output for _, output in shown]


def test_the_page_names_every_code_of_the_doctor() -> None:
    codes = {name for name in registry() if name.startswith(("DOCTOR_", "PROBE_"))}

    assert {name for name in codes if f"`{name}`" not in PAGE} == {"PROBE_URL", "PROBE_UNREACHABLE"}


@pytest.mark.parametrize("language", ["ja", "en"])
def test_findings_speak_the_language_that_is_asked_for(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.conf").write_text("server { location / { proxy_pass http://127.0.0.1:1; } }", encoding="utf-8")

    result = CliRunner().invoke(app, ["doctor", "check", "site.conf", "--lang", language])

    assert result.exit_code == 1
    entry = registry()["DOCTOR_NO_HOOK"]
    assert entry.text(language) in result.stdout and entry.hint(language) in result.stdout


def test_a_missing_file_is_an_exit_status_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.conf").write_text("include gone.conf; server { listen 80; auth_request /q; }", encoding="utf-8")

    result = CliRunner().invoke(app, ["doctor", "check", "site.conf", "--format", "json"])

    assert result.exit_code == 2
    assert '"DOCTOR_HOOK_MISSING"' in result.stdout and '"DOCTOR_UNREADABLE"' in result.stdout
