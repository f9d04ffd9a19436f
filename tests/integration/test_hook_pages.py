"""The page of each proxy: its settings are read, and its command prints what the proxy takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.peers import ROOT, find_peer
from tests.proxies.authority import Authority
from tests.sidecar_support import installation
from zt_engine.cli import hook

PROXIES = re.compile(r"\[\[proxies\]\].*?\n\n", re.DOTALL)
KINDS = ("nginx", "caddy", "traefik", "envoy", "haproxy", "apache")


def shown(kind: str) -> tuple[str, list[str]]:
    """The settings that a page begins with, if any, and the words of its first command that prints something."""
    page = (ROOT / f"docs/hooks/{kind}.md").read_text(encoding="utf-8")
    before, _, behind = page.partition(f"zt hook {kind} ")
    settings = re.search(r"```toml\n(.*?)```", before, re.DOTALL)
    command = behind.replace("\\\n", " ").partition("\n")[0].partition(">")[0]
    return settings[1] if settings is not None else "", [kind, *shlex.split(command)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_page_says_to_type_prints_a_configuration(kind: str, tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa, listen="127.0.0.1:9191")  # which nobody starts
    text = sandbox.config.read_text(encoding="utf-8")
    said, words = shown(kind)
    settings, _, proxies = said.partition("[[proxies]]")
    if proxies:
        text = PROXIES.sub(lambda _: f"[[proxies]]{proxies}\n", text, count=1)
    text = text.replace("[sidecar]\n", settings.strip() + "\n" if settings else "[sidecar]\n", 1)
    sandbox.write("zt.toml", text.encode())

    server = Authority(tmp_path / "tls", "server").issue("portal", hosts=["portal.example"])
    given = {"--config": sandbox.config, "--certificate": server.certificate, "--certificate-key": server.key}
    typed = [str(given.get(option, word)) for option, word in zip(["", *words], words, strict=False)]
    result = CliRunner().invoke(hook.app, typed)

    assert result.exit_code == 0, (result.output, result.exception)
    assert "portal.example" in result.stdout and sandbox.pep_key not in result.stdout
    caddy = find_peer("caddy")
    if kind == "caddy" and caddy is not None:
        file = tmp_path / "Caddyfile"
        file.write_text(result.stdout, encoding="utf-8")
        checked = subprocess.run(
            [caddy, "validate", "--config", file, "--adapter", "caddyfile"],
            capture_output=True, check=False, text=True, timeout=30, env={"HOME": str(tmp_path)},
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr
        assert "not formatted" not in checked.stderr
