"""What is printed for people in a browser is safe as well: no finding, though nobody is asked about `/.zt/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.test_printed import ENDINGS, PRINTED, SIDECAR_TLS, SITE_TLS, options, printed, site
from tests.doctor.test_printed import made as made
from zt_engine.doctor.check import check


def with_browsers(command: str, made: Path) -> str:
    """What a command prints where the settings say that browsers sign in."""
    settings = site(made, command)
    listen = 'browser_listen = ["unix:/run/zt/browser.sock"]\n'
    if command == "traefik":
        listen = (
            'tls_listen = ["127.0.0.1:9443"]\nbrowser_tls_listen = ["127.0.0.1:9494"]\ntls_certificate = "keys/a"\n'
            'tls_key = "keys/b"\ntls_client_ca = "keys/c"\n'
        )
    settings.write_text(settings.read_text(encoding="utf-8").replace("[sidecar]\n", "[sidecar]\n" + listen))
    given = SITE_TLS | SIDECAR_TLS if command == "traefik" else SITE_TLS
    return printed(settings, command, *options(command, given))


@pytest.mark.parametrize("command", sorted(PRINTED))
def test_the_location_of_browsers_is_no_finding(command: str, made: Path, tmp_path: Path) -> None:
    text = with_browsers(command, made)
    path = tmp_path / ("printed" + ENDINGS.get(command, ".conf"))
    path.write_text(text, encoding="utf-8")

    report = check([str(path)])

    assert ".zt/" in text or "[.]zt/" in text
    assert (report.findings, report.unreadable) == ((), ())


SPOILT = {
    "nginx": ("_browser/;", "_backend;"),
    "caddy": ("unix//run/zt/browser.sock", "127.0.0.1:8080"),
    "traefik": ("service: zt-front-wiki_corp_example-browser", "service: zt-front-wiki_corp_example"),
    "envoy": ("cluster: zt_browser", "cluster: zt_backend"),
    "haproxy": ("^/[.]zt/", "^/"),
}
"""What would let somebody past the question: the location leads to the backend, or is more than its path."""


@pytest.mark.parametrize("command", sorted(SPOILT))
def test_the_same_location_in_front_of_the_backend_is_one(command: str, made: Path, tmp_path: Path) -> None:
    before, after = SPOILT[command]
    text = with_browsers(command, made)
    assert before in text
    path = tmp_path / ("printed" + ENDINGS.get(command, ".conf"))
    path.write_text(text.replace(before, after, 1), encoding="utf-8")

    codes = {finding.code for finding in check([str(path)]).findings}

    assert codes & {"DOCTOR_AUTH_OFF", "DOCTOR_ROUTE_OPEN", "DOCTOR_FINAL_DENY"}
