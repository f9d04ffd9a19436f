"""What we print ourselves is safe: no finding in the configuration of any `zt hook` command."""

from __future__ import annotations

import inspect
import re
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

PRINTED = {command.callback.__name__: command.callback for command in hook.app.registered_commands}
ENDINGS = {"traefik": ".yaml", "envoy": ".yaml", "haproxy": ".cfg"}
SIDECAR_TLS = {"sidecar_ca": "/etc/zt/ca.pem", "client_certificate": "/etc/zt/me.pem", "client_key": "/etc/zt/me.key"}
SITE_TLS = {
    "certificate": "/etc/tls/site.pem",
    "certificate_key": "/etc/tls/site.key",
    "device_cas": "/etc/tls/cas.pem",
}


PROOF = {
    "traefik": ('certificate_names = ["front.proxy.internal"]', ""),
    "apache": ('key_file = "keys/pep.key"', 'fastcgi_listen = ["127.0.0.1:9194"]\n'),
    "envoy_grpc": ("socket_uids = [101]", 'grpc_listen = ["unix:/run/zt/grpc.sock"]\n'),
}
"""Where a key over HTTP is no proof: what stands in its place, and where the sidecar listens besides."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("printed") / "site"
    result = CliRunner().invoke(app, ["init", str(folder), "--pack", "corp"])
    assert result.exit_code == 0, result.output
    return folder


def site(made: Path, kind: str) -> Path:
    """The settings of an installation whose proxy is of a kind."""
    text = (made / "zt.toml").read_text(encoding="utf-8").replace('hook = "nginx"', f'hook = "{kind}"')
    if kind in PROOF:
        proof, listen = PROOF[kind]
        text = re.sub(r"(?m)^key_file = .*$", proof, text).replace("[sidecar]\n", f"[sidecar]\n{listen}")
    settings = made / f"{kind}.toml"
    settings.write_text(text, encoding="utf-8")
    return settings


def printed(settings: Path, command: str, *options: str) -> str:
    words = ["hook", command, "--config", str(settings), "--service", "wiki", *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def options(command: str, given: dict[str, str]) -> list[str]:
    """Those of the options that a command has."""
    known = inspect.signature(PRINTED[command]).parameters
    return [word for name, value in given.items() if name in known for word in ("--" + name.replace("_", "-"), value)]


def test_a_command_of_every_proxy_with_rules_is_looked_at() -> None:
    assert {"nginx", "caddy"} <= set(PRINTED)
    assert set(PRINTED) <= set(CHECKS)


MORE = {
    "caddy": ["--site", "--backend-http2"],
    "traefik": ["--backend-http2"],
    "envoy": ["--backend-http2"],
    "nginx": ["--listen", "127.0.0.1:8443"],
    "apache": ["--root", "/srv/httpd"],
}


@pytest.mark.parametrize("variant", ["plain", "tls", "more"])
@pytest.mark.parametrize("command", sorted(PRINTED))
def test_what_is_printed_has_no_findings(command: str, variant: str, made: Path, tmp_path: Path) -> None:
    settings = site(made, command)
    given = dict(SITE_TLS) if variant != "plain" else {}
    if command == "traefik":
        given |= {**SIDECAR_TLS, "sidecar": "sidecar.example:9443"}
    chosen = options(command, given) + (MORE.get(command, []) if variant == "more" else [])
    texts = [printed(settings, command, *chosen)]
    if "static" in inspect.signature(PRINTED[command]).parameters:
        texts.append(printed(settings, command, *chosen, "--static"))
    paths = [tmp_path / f"printed-{number}{ENDINGS.get(command, '.conf')}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")

    report = check([str(path) for path in paths])

    assert report.proxy == command
    assert (report.findings, report.unreadable) == ((), ())


@pytest.mark.parametrize("rego", [False, True])
def test_what_is_printed_for_envoy_over_grpc_has_no_findings(rego: bool, made: Path, tmp_path: Path) -> None:
    settings = site(made, "envoy_grpc")
    more = ["--request-body", "4096"] if rego else []
    if rego:
        text = settings.read_text(encoding="utf-8").replace("socket_uids", 'rego = "envoy/authz/allow"\nsocket_uids', 1)
        settings.write_text(text, encoding="utf-8")
    path = tmp_path / "printed.yaml"
    path.write_text(printed(settings, "envoy", "--grpc", *options("envoy", SITE_TLS), *more), encoding="utf-8")

    report = check([str(path)])

    assert (report.proxy, report.findings, report.unreadable) == ("envoy", (), ())


def test_the_doctor_knows_the_headers_of_hook_and_backend() -> None:
    assert set(IDENTITY) == {"Zt-Decision", *IDENTITY_HEADERS}
    assert {name.lower() for name in (*SENT, *CERTIFICATE)} <= {*FAMILY.required, *FAMILY.optional}
    assert {name for name in FAMILY.required if name.startswith("x-")} == {name.lower() for name in SENT}
