"""The command `zt` before any of its groups."""

from __future__ import annotations

from contextvars import copy_context
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from zt_engine.cli.main import app
from zt_engine.cli.output import chosen_language


def test_the_version_that_is_installed_is_said() -> None:
    said = CliRunner().invoke(app, ["--version"])

    assert (said.exit_code, said.output) == (0, f"zt-engine {version('zt-engine')}\n")


@pytest.mark.parametrize(
    ("environment", "option", "language"),
    [
        ({}, None, "en"),
        ({"LANG": "ja_JP.UTF-8"}, None, "ja"),
        ({"LANG": "ja"}, None, "ja"),
        ({"LANG": "fr_FR.UTF-8"}, None, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "en_US.UTF-8"}, None, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ja_JP.UTF-8"}, None, "ja"),
        ({"LANG": "ja_JP.UTF-8"}, "en", "en"),
        ({"LANG": "C"}, "JA", "ja"),
    ],
)
def test_a_command_speaks_the_language_asked_for_else_that_of_its_environment_else_english(
    environment: dict[str, str], option: str | None, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert copy_context().run(chosen_language, option) == language


def test_a_language_that_nothing_speaks_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="ja or en"):
        chosen_language("fr")
