"""The pages about Caddy and Traefik: their settings are read, and their commands print what the proxy takes."""

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


def fenced(page: str, language: str) -> str:
    """The first block of a page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/hooks" / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("kind", ["caddy", "traefik"])
def test_what_a_page_says_to_type_prints_a_configuration(kind: str, tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    text = sandbox.config.read_text(encoding="utf-8")
    settings, proxies = fenced(f"{kind}.md", "toml").split("[[proxies]]")
    text = PROXIES.sub(lambda _: f"[[proxies]]{proxies}\n", text, count=1)
    text = text.replace("[sidecar]\n", settings.strip() + "\n" if settings else "[sidecar]\n", 1)
    sandbox.write("zt.toml", text.encode())
    command = fenced(f"{kind}.md", "console").replace("\\\n", " ").splitlines()[0].removeprefix("$ ")
    words = shlex.split(command.partition(">")[0])[2:]

    server = Authority(tmp_path / "tls", "server").issue("portal", hosts=["portal.example"])
    given = {
        "zt.toml": str(sandbox.config),
        f"/etc/{kind}/tls/portal.pem": str(server.certificate),
        f"/etc/{kind}/tls/portal.key": str(server.key),
    }
    result = CliRunner().invoke(hook.app, [given.get(word, word) for word in words])

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
