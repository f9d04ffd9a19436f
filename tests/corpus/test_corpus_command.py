"""`zt corpus` as docs/corpus.md shows it: only addresses are replaced."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.corpus.proxies import CANDIDATES
from tests.corpus.world import World
from tests.peers import ROOT
from zt_engine.cli import corpus
from zt_engine.core.errors import ZtError

PAGE = ROOT / "docs/corpus.md"
BIN = Path(sys.executable).parent
NGINX = [name for name, candidate in CANDIDATES.items() if name.startswith("nginx") and not candidate.missing]
BARE = ("--host", "app.example", "--protected", "/vault", "--public", "/pub")


def shown() -> list[str]:
    """The console blocks that this test runs, without their prompts."""
    found = re.findall(
        r"<!-- run: tests/corpus/test_corpus_command\.py -->\n```console\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    return [block.replace("$ ", "") for block in found]


class Person:
    """Types commands in a shell, against an nginx with the printed block in front of `zt corpus backend`."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.backend = subprocess.Popen(
            shown()[0].replace(":8080", ":0").split(), stdout=subprocess.PIPE, env=self.environment, text=True
        )
        assert self.backend.stdout is not None
        self.said = self.backend.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", self.said)
        assert found is not None, self.said
        self.witness = found[0]
        prefix = folder / "nginx"
        prefix.mkdir()
        self.proxy = CANDIDATES[NGINX[0]].make()
        front = self.proxy.start(self.world, self.witness, prefix)
        self.front = f"{front.host}:{front.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TOKEN": self.world.values()["token"],
        }

    def type(self, block: str) -> subprocess.CompletedProcess[str]:
        places = {"127.0.0.1:8080": self.witness, "127.0.0.1:8000": self.front, "127.0.0.1:9191": self.world.address}
        for written, real in places.items():
            block = block.replace(written, real)
        block = re.sub(r"(?<=--config )zt\.toml", str(self.world.sandbox.config), block)
        return subprocess.run(
            ["/bin/sh", "-c", block], capture_output=True, text=True, env=self.environment, timeout=100, check=False
        )

    def run(self, *arguments: str) -> Result:
        command = ["run", "--witness", self.witness, "--lang", "en", *BARE, *arguments]
        return CliRunner().invoke(corpus.app, command)

    def close(self) -> None:
        self.proxy.stop()
        self.backend.terminate()
        assert self.backend.stdout is not None
        self.backend.stdout.close()
        self.backend.wait(20)
        self.world.close()


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    if not NGINX:
        if os.environ.get("CI"):
            pytest.fail("no nginx")
        pytest.skip(reason="no nginx on this machine")
    typing = Person(tmp_path_factory.mktemp("person"))
    yield typing
    typing.close()


def test_the_backend_says_where_it_listens_and_which_stacks_it_has(person: Person) -> None:
    assert "wsgi" in person.said and "php" in person.said


def test_what_the_page_shows_proves_the_printed_nginx_block(person: Person) -> None:
    token, (first, second) = "export CORPUS_TOKEN=$TOKEN\n", shown()[1:]

    without, with_log = person.type(first), person.type(token + second)

    assert (without.returncode, with_log.returncode) == (0, 0), without.stdout + with_log.stdout + with_log.stderr
    assert "Nothing got past" in without.stdout and "VIOLATED" not in without.stdout
    assert "whether an allow exists" in without.stdout and "whether an allow exists" not in with_log.stdout
    assert "nobody changes the world (" in with_log.stdout
    assert "the address of `hook` is not known" in without.stdout
    assert "the address of `hook` is not known" not in with_log.stdout


def test_a_backend_without_a_proxy_is_told_what_got_past(person: Person) -> None:
    result = person.run("--target", f"http://{person.witness}", "--class", "6")

    assert result.exit_code == 1
    assert "subject-on-public (GHSA-7r4p-vjf4-gxv4): VIOLATED" in result.stdout
    assert "takes the client for `minister`" in result.stdout


def test_an_ordinary_request_that_is_refused_is_no_proof(person: Person) -> None:
    arguments = ["--target", f"http://{person.front}", "--class", "1", "--token", "wrong", "--user", "tanaka"]

    result = person.run(*arguments, "--format", "json")

    outcomes = {record["id"]: record["outcome"] for record in json.loads(result.stdout)}
    assert result.exit_code == 2
    assert outcomes["plain-signed-in"] == "unserved" and outcomes["plain-stranger"] == "refused"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "ftp://x"], "CORPUS_TARGET"),
        (["--target", "http://x/path"], "CORPUS_TARGET"),
        (["--target", "http://x", "--class", "16"], "CORPUS_TARGET"),
        (["--target", "http://x", "--set", "closing"], "CORPUS_TARGET"),
        (["--target", "http://127.0.0.1:1"], "CORPUS_WITNESS"),
    ],
)
def test_what_cannot_be_used_is_said_with_a_code(arguments: list[str], code: str) -> None:
    result = CliRunner().invoke(corpus.app, ["run", "--witness", "127.0.0.1:1", *BARE, *arguments])

    assert isinstance(result.exception, ZtError)
    assert result.exception.code == code


def test_every_probe_can_be_listed_and_shown() -> None:
    listed = CliRunner().invoke(corpus.app, ["list", "--format", "json"])
    shown_one = CliRunner().invoke(corpus.app, ["show", "dot-segments-escaped"])

    records = json.loads(listed.stdout)
    assert len(records) >= 200 and {record["class"] for record in records} == set(range(1, 16))
    assert "GET {public}/%2e%2e{protected}/{id} HTTP/1.1" in shown_one.stdout and "=> refused" in shown_one.stdout
