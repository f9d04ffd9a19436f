"""What we print ourselves is safe: no finding in the configuration of any `zt hook` command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from zt_engine.cli import hook
from zt_engine.cli.main import app
from zt_engine.doctor.check import CHECKS, check
from zt_engine.doctor.names import CERTIFICATE, IDENTITY
from zt_engine.doctor.nginx.question import SENT
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.nginx import FAMILY

PRINTED = sorted(command.name or command.callback.__name__ for command in hook.app.registered_commands)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("printed") / "site"
    made = CliRunner().invoke(app, ["init", str(folder), "--pack", "corp"])
    assert made.exit_code == 0, made.output
    return folder


def printed(site: Path, command: str, *options: str) -> str:
    words = ["hook", command, "--config", str(site / "zt.toml"), "--service", "wiki", *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_nginx_is_among_the_hooks_that_print() -> None:
    assert "nginx" in PRINTED


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("command", PRINTED)
def test_what_is_printed_has_no_findings(command: str, tls: bool, site: Path, tmp_path: Path) -> None:
    kind = command.split("-")[0]
    if kind not in CHECKS:
        pytest.skip(f"no rules for {kind}")
    options = ("--certificate", "/etc/tls/site.pem", "--certificate-key", "/etc/tls/site.key") if tls else ()
    path = tmp_path / f"{kind}.conf"
    path.write_text(printed(site, command, *options), encoding="utf-8")

    report = check([str(path)])

    assert report.proxy == kind
    assert (report.findings, report.unreadable) == ((), ())


def test_the_doctor_knows_the_headers_of_hook_and_backend() -> None:
    assert set(IDENTITY) == {"Zt-Decision", *IDENTITY_HEADERS}
    assert {name.lower() for name in (*SENT, *CERTIFICATE)} <= {*FAMILY.required, *FAMILY.optional}
    assert {name for name in FAMILY.required if name.startswith("x-")} == {name.lower() for name in SENT}
