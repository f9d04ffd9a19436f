"""The page of each proxy: its settings are read, and its command prints what the proxy takes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from tests.peers import ROOT, find_peer
from tests.proxies.authority import Authority
from tests.proxies.process import free_port
from tests.sidecar_support import edit, installation
from zt_engine.adapters.nginx_process import main_config
from zt_engine.bootstrap.wiring import keep_fixed
from zt_engine.cli import hook
from zt_engine.cli.output import Language, describe
from zt_engine.config import load
from zt_engine.core.errors import ConfigError

PROXIES = re.compile(r"\[\[proxies\]\].*?\n\n", re.DOTALL)
KINDS = ("nginx", "caddy", "traefik", "envoy", "haproxy", "apache")


def shown(kind: str) -> tuple[str, list[str]]:
    """The settings that a page begins with, if any, and the words of its first command that prints something."""
    page = (ROOT / f"docs/hooks/{kind}.md").read_text(encoding="utf-8")
    before, _, behind = page.partition(f"zt hook {kind} ")
    settings = re.search(r"```toml\n(.*?)```", before, re.DOTALL)
    command = behind.replace("\\\n", " ").partition("\n")[0].partition(">")[0]
    return settings[1] if settings is not None else "", [kind, *shlex.split(command)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Path:
    """The settings of an installation that nobody starts."""
    return installation(tmp_path_factory.mktemp("table") / "zt", opa, listen="127.0.0.1:9191").config


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
    if kind == "haproxy":  # both in one file, or the key beside the certificate
        (tmp_path / "tls" / f"{server.certificate.name}.key").write_bytes(server.key.read_bytes())
    given = {"--config": sandbox.config, "--certificate": server.certificate, "--certificate-key": server.key}
    typed = [str(given.get(option, word)) for option, word in zip(["", *words], words, strict=False)]
    result = CliRunner().invoke(hook.app, typed)

    assert result.exit_code == 0, (result.output, result.exception)
    assert "portal.example" in result.stdout and sandbox.pep_key not in result.stdout
    if (command := check_of(kind, result.stdout, typed, sandbox.folder, tmp_path)) is None:
        return
    checked = subprocess.run(
        command, capture_output=True, check=False, text=True, timeout=60, cwd=sandbox.folder,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert checked.returncode == 0, (checked.stdout, checked.stderr)
    assert "not formatted" not in checked.stderr and "DocumentRoot" not in checked.stderr


def test_every_page_says_in_the_same_words_where_its_table_stands_and_what_takes_it_up() -> None:
    said = set()
    for kind in KINDS:
        page = (ROOT / f"docs/hooks/{kind}.md").read_text(encoding="utf-8")
        said.add(page.partition("```toml\n")[2].partition("```\n\n")[2].partition("\n\n")[0])

    (words,) = said
    assert "`SIGHUP`" in words and "`--proxy NAME`" in words and "operations.md#reload-and-restart" in words


@pytest.mark.parametrize(("kind", "section"), [*((kind, "Set it up") for kind in KINDS), ("envoy", "Over gRPC")])
def test_the_table_of_a_page_stands_in_place_of_the_one_that_was_there_or_beside_it(
    kind: str, section: str, table: Path
) -> None:
    page = (ROOT / f"docs/hooks/{kind}.md").read_text(encoding="utf-8")
    said = page.partition(f"## {section}\n")[2].partition("```toml\n")[2].partition("```\n")[0]
    listeners = said.partition("[[proxies]]")[0].removeprefix("[sidecar]\n").strip()
    new = "[[proxies]]" + said.partition("[[proxies]]")[2] + "\n"
    other = new.replace('"front"', '"other"').replace('"mesh"', '"other"').replace("keys/pep.key", "keys/other.key")
    (key := table.parent / "keys/other.key").write_bytes(b"0" * 32)
    key.chmod(0o600)
    command = [kind, "--config", str(table), "--service", "portal", *(["--grpc"] if section == "Over gRPC" else [])]
    if kind == "traefik":
        command += ["--sidecar-ca", "ca.pem", "--client-certificate", "me.pem", "--client-key", "me.key"]

    before, given = load(table, {}), table.read_text(encoding="utf-8")
    listening = given.replace("[sidecar]\n", f"[sidecar]\n{listeners}\n", 1)
    instead = PROXIES.sub(lambda _: new, listening, count=1)
    beside = PROXIES.sub(lambda found: found[0] + other, listening, count=1)
    try:
        for text, words in ((instead, []), (beside, ["--proxy", "other"])):
            table.write_text(text, encoding="utf-8")
            result = CliRunner().invoke(hook.app, [*command, *words])
            kept, waiting = keep_fixed(before, after := load(table, {}))

            assert result.exit_code == 0, (result.output, result.exception)
            assert kept.proxies == after.proxies and f'"{kept.proxies[-1].hook}"' in new
            assert {*waiting} == {f"sidecar.{line.partition(' ')[0]}" for line in listeners.splitlines()}
    finally:
        table.write_text(given, encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "words", "other"),
    [
        ("nginx", [], "haproxy"),
        *((kind, [], "nginx") for kind in KINDS if kind != "nginx"),
        ("envoy", ["--grpc"], "envoy"),
        ("envoy", [], "envoy_grpc"),
    ],
)
def test_a_table_of_another_proxy_is_refused_before_anything_is_written(
    kind: str, words: list[str], other: str, table: Path
) -> None:
    needed = ["--sidecar-ca", "ca.pem", "--client-certificate", "me.pem", "--client-key", "me.key"]
    command = [kind, *words, "--config", str(table), *(needed if kind == "traefik" else [])]
    given = table.read_text(encoding="utf-8")
    text = given.replace('hook = "nginx"', f'hook = "{other}"')
    if other == "envoy_grpc":
        text = text.replace('key_file = "keys/pep.key"', "socket_uids = [101]")
    made = {path: path.read_bytes() for path in table.parent.rglob("*") if path.is_file()}
    table.write_text(text, encoding="utf-8")
    try:
        result = CliRunner().invoke(hook.app, command)
    finally:
        table.write_text(given, encoding="utf-8")

    assert isinstance(result.exception, ConfigError), (result.output, result.exception)
    assert [problem.code for problem in result.exception.problems] == ["PROXY_HOOK_OTHER"] and result.stdout == ""
    for language in get_args(Language):
        told = describe(result.exception.problems[0], language)
        assert f'`hook = "{other}"`' in told and "zt.toml" in told and "SIGHUP" in told and "--proxy" in told
    assert {path: path.read_bytes() for path in table.parent.rglob("*") if path.is_file()} == made


def test_what_haproxy_is_told_of_one_service_stays_whole_when_another_is_printed(tmp_path: Path, opa: str) -> None:
    haproxy = find_peer("haproxy")
    if haproxy is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `haproxy` is missing")
        pytest.skip(reason="no haproxy on this machine")
    sandbox = installation(tmp_path / "zt", opa, listen="127.0.0.1:9191")  # which nobody starts
    edit(sandbox, "zt.toml", ('hook = "nginx"', 'hook = "haproxy"'))
    files = []
    for service in ("portal", "pilot"):
        command = ["haproxy", "--config", str(sandbox.config), "--service", service]
        result = CliRunner().invoke(hook.app, [*command, "--listen", f"127.0.0.1:{free_port()}"])
        assert result.exit_code == 0, (result.output, result.exception)
        files.append(tmp_path / f"{service}.cfg")
        files[-1].write_text(result.stdout, encoding="utf-8")

    for loaded in ([files[0]], [files[1]], files):
        words = [word for file in loaded for word in ("-f", str(file))]
        checked = subprocess.run([str(haproxy), "-c", *words], capture_output=True, check=False, text=True, timeout=60)
        assert checked.returncode == 0, (loaded, checked.stdout, checked.stderr)


def check_of(kind: str, text: str, typed: list[str], settings: Path, folder: Path) -> list[str] | None:
    """How the page lets the proxy itself read what was printed; None for Traefik, which reads when it starts."""
    peer = find_peer("nginx (Debian)" if kind == "nginx" else kind)
    if peer is None or kind == "traefik":
        return None
    file = folder / ("printed.yaml" if kind == "envoy" else "printed")
    match kind:
        case "nginx":  # `nginx -t` binds what it is told to listen on
            text = re.sub(r"listen (?:\[::\]:)?443\b", lambda _: f"listen 127.0.0.1:{free_port()}", text)
            text = main_config(peer, http=text, folder=folder)
            command = [str(peer), "-t", "-p", f"{folder}/", "-e", f"{folder}/error.log", "-c", str(file)]
        case "caddy":
            command = [str(peer), "validate", "--config", str(file), "--adapter", "caddyfile"]
        case "envoy":
            read = f'set -a; . keys/pep.envoy.env; set +a; test -n "$ZT_PEP_KEY"; exec {peer} --mode validate'
            command = ["bash", "-ec", f"{read} -c {file} --use-dynamic-base-id"]
        case "haproxy":
            text = re.sub(r"(?m)^ *(?:user|group) .*\n", "", text)  # of the distribution
            command = [str(peer), "-c", "-f", str(file)]
        case _:
            text = CliRunner().invoke(hook.app, [*typed, "--root", str(folder)]).stdout
            command = [str(peer), "-t", "-f", str(file)]
    file.write_text(text, encoding="utf-8")
    return command
