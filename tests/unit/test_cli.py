"""The command `zt` before any of its groups."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from zt_engine.cli.main import app


def test_the_version_that_is_installed_is_said() -> None:
    said = CliRunner().invoke(app, ["--version"])

    assert (said.exit_code, said.output) == (0, f"zt-engine {version('zt-engine')}\n")
