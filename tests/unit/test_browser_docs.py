"""What docs/browser-sign-in.md tells an operator to do does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.browser import managed
from tests.doctor.test_printed import PRINTED, SIDECAR_TLS, SITE_TLS, options
from zt_engine.bootstrap import sidecar
from zt_engine.cli.main import app
from zt_engine.config import load, load_control
from zt_engine.control_plane.api.directory import SubjectBody

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/browser-sign-in.md").read_text(encoding="utf-8")
TUTORIAL = PAGE.split("\n## From plain nginx", 1)[1].split("\n## ", 1)[0]
COMMANDS = [shlex.split(line[2:]) for line in re.findall(r"^\$ .*$", TUTORIAL, re.MULTILINE)]
SETTINGS = re.findall(r"^```toml\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)


def run(words: list[str]) -> str:
    typed = words[: words.index(">")] if ">" in words else words
    result = CliRunner().invoke(app, typed[1:])
    assert result.exit_code == 0, (words, result.output)
    return result.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation as the page has it made, up to its start."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `openssl` is missing")
        pytest.skip(reason="no openssl on this machine")
    monkeypatch.chdir(tmp_path)
    run(COMMANDS[0])
    for line in re.findall(r"^\$ ((?:openssl|chmod) .*)$", TUTORIAL, re.MULTILINE):
        subprocess.run(["/bin/sh", "-c", line], check=True, capture_output=True)
    config = tmp_path / "site/zt.toml"
    text = re.sub(r"^# (?=browser_listen = )", "", config.read_text(encoding="utf-8"), flags=re.MULTILINE)
    before, table, after = text.partition("# [sign_in]")
    marked, end, after = after.partition("\n\n")
    text = before + table.removeprefix("# ") + marked.replace("\n# ", "\n") + end + after
    written, shown = tomllib.loads(text), tomllib.loads(SETTINGS[0] + SETTINGS[1])
    assert written["sidecar"]["browser_listen"] == shown["browser_listen"]
    assert written["sign_in"] == shown["sign_in"]
    config.write_text(text, encoding="utf-8")
    return config


def test_the_tutorial_ends_with_a_location_for_browsers(site: Path) -> None:
    settings, control = load(site, {}), load_control(site, {})
    block = run(next(words for words in COMMANDS if words[1] == "hook"))

    assert settings.sidecar.browser_listen and control.sign_in.client_id == "portal-browser"
    assert control.sign_in.key_file is not None and control.path(control.sign_in.key_file).stat().st_mode & 0o077 == 0
    assert "location ^~ /.zt/" in block and "unix:/run/zt/browser.sock" in block
    assert "server_name wiki.corp.example;" in block


def test_the_line_that_the_page_waits_for_is_the_one_a_sidecar_writes_when_it_serves() -> None:
    (event,) = re.findall(r'`"event": "([a-z_.]+)"`', TUTORIAL)

    assert f'log.info("{event}"' in Path(sidecar.__file__).read_text(encoding="utf-8")
    assert event in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_person_is_put_into_the_directory_with_what_it_takes() -> None:
    curl = next(words for words in COMMANDS if words[0] == "curl")

    body = SubjectBody.model_validate(json.loads(curl[curl.index("-d") + 1]))

    assert body.employment == "employee" and curl[-1].endswith("/v1/subjects/https%3A%2F%2Fidp.example/tanaka")


def test_the_table_of_proxies_says_what_each_command_prints(site: Path) -> None:
    table = PAGE.split("\n## Each proxy", 1)[1].split("\n## ", 1)[0]
    told = {"nginx": "location ^~ /.zt/", "caddy": "reverse_proxy /.zt/*", "apache": '<Location "/.zt/">'}
    proof = 'key_file = "keys/pep.key"'
    plain = site.read_text(encoding="utf-8")
    for kind in PRINTED:
        text = plain.replace('hook = "nginx"', f'hook = "{kind}"')
        given = dict(SITE_TLS)
        if kind == "traefik":
            given |= SIDECAR_TLS
            text = text.replace(proof, 'certificate_names = ["front"]').replace(
                "[sidecar]\n",
                '[sidecar]\ntls_listen = ["127.0.0.1:9444"]\nbrowser_tls_listen = ["127.0.0.1:9445"]\n'
                'tls_certificate = "a"\ntls_key = "b"\ntls_client_ca = "c"\n',
            )
        if kind == "apache":
            text = text.replace("[sidecar]\n", '[sidecar]\nfastcgi_listen = ["127.0.0.1:9194"]\n')
        site.write_text(text, encoding="utf-8")
        printed = run(["zt", "hook", kind, "--config", str(site), "--service", "wiki", *options(kind, given)])

        assert f"(hooks/{kind}.md)" in table
        assert told.get(kind, "zt/") in printed and told.get(kind, "") in table


def test_a_managed_chromium_is_made_with_the_commands_and_the_policy_of_the_page() -> None:
    section = PAGE.split("\n## Client certificates in Chromium", 1)[1].split("\n## ", 1)[0]
    tested = Path(managed.__file__).read_text(encoding="utf-8")
    policy = json.loads(re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0])

    (chosen,) = policy["AutoSelectCertificateForUrls"]
    assert json.loads(chosen) == {
        "pattern": "https://wiki.corp.example",
        "filter": {"ISSUER": {"CN": "Demo device CA"}},
    }
    assert '{"pattern": origin, "filter": {"ISSUER": {"CN": issuer}}}' in tested
    for words in ("-N", "--empty-password", "-i", "-K", "-W", managed.SECRET):
        assert words in section and (words in tested or words == managed.SECRET)
