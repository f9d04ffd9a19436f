"""The first set-up of the README, command by command, as somebody would type it. Only addresses are replaced."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import Backend
from zt_engine.adapters.nginx_process import NginxProcess, find_nginx, listen_text, reserve

ROOT = Path(__file__).resolve().parents[2]
ZT = Path(sys.executable).parent / "zt"
ADDRESS = "127.0.0.1:8000"


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- run: tests/e2e/test_readme\.py -->\n```console\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    return [line.removeprefix("$ ") for line in block[1].splitlines()]


class Person:
    """Types the commands, in a folder of their own."""

    def __init__(self, folder: Path, backend: Backend, nginx: Path) -> None:
        self.folder = folder
        self.backend = backend
        self.executable = nginx
        self.socket = reserve()
        self.address = listen_text(self.socket)
        # A Unix socket for the sidecar: the ports of the README may be taken on this machine.
        self.environment = {
            **os.environ,
            "LANG": "C.UTF-8",
            "ZT_SIDECAR__LISTEN": f"unix:{folder}/ask",
            "ZT_SIDECAR__ADMIN_LISTEN": f"unix:{folder}/admin",
        }
        self.sidecar: subprocess.Popen[str] | None = None
        self.nginx: NginxProcess | None = None
        self.answers: list[http.client.HTTPResponse] = []

    def type(self, command: str) -> None:
        line, _, output = command.partition(" > ")
        words = shlex.split(line.removesuffix(" &"))
        match words:
            case ["make", *_]:
                pass  # what runs this test was set up by it
            case ["zt", "sidecar", *_]:
                self.start(words)
            case ["zt", "hook", *_]:
                self.write(output, self.run([*words, "--listen", self.address]))
            case ["zt", *_]:
                self.run(words)
            case ["nginx", "-s", "reload"]:
                folder = self.folder / "nginx"
                folder.mkdir()
                text = (self.folder / "zt.conf").read_text(encoding="utf-8")
                self.nginx = NginxProcess.start(self.executable, http=text, folder=folder, sockets=[self.socket])
            case ["curl", *options, url]:
                headers = [options[at + 1].split(": ", 1) for at, word in enumerate(options) if word == "-H"]
                self.get(url, dict(headers))
            case _:
                pytest.fail(f"the README shows `{command}`, which this test cannot type")

    def run(self, words: list[str]) -> str:
        words = [word.replace("127.0.0.1:8080", self.backend.address) for word in words]
        done = subprocess.run(
            [ZT, *words[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, output: str, text: str) -> None:
        (self.folder / Path(output).name).write_text(text, encoding="utf-8")

    def start(self, words: list[str]) -> None:
        self.sidecar = subprocess.Popen(
            [ZT, *words[1:]], cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        assert self.sidecar.stderr is not None
        seen = []
        for line in self.sidecar.stderr:
            seen.append(line)
            if "sidecar.started" in line:
                return
        pytest.fail("".join(seen))

    def get(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        assert url.startswith(f"http://{ADDRESS}")
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.request("GET", url.removeprefix(f"http://{ADDRESS}"), headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        self.answers.append(answer)
        return answer

    def leave(self) -> None:
        if self.nginx is not None:
            self.nginx.stop()
        if self.sidecar is not None:
            self.sidecar.terminate()
            self.sidecar.communicate(timeout=20)
        self.socket.close()
        self.backend.close()


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    nginx = find_nginx()
    if nginx is None:
        pytest.fail("nginx comes with the development lock")
    somebody = Person(tmp_path, Backend(), nginx)
    yield somebody
    somebody.leave()


def test_the_first_set_up_of_the_readme_works_as_it_is_typed(person: Person) -> None:
    for command in commands():
        person.type(command)
    first = person.answers[0]
    foreign = person.get(f"http://{ADDRESS}/", {"Host": "www.corp.example"})
    crooked = person.get(f"http://{ADDRESS}/pages/..%2fadmin", {"Host": "wiki.corp.example"})

    assert (first.status, first.headers["Zt-Reason"]) == (401, "AUTH_REQUIRED")
    assert foreign.status == 421
    assert (crooked.status, crooked.headers["Zt-Reason"]) == (403, "PATH_AMBIGUOUS")
    assert person.backend.received == []


def test_the_public_site_of_the_readme_is_let_through_by_a_block_of_its_own(person: Person) -> None:
    for command in commands():
        person.type(command.replace("--service wiki", "--service website"))
    wiki = person.answers[0]
    public = person.get(f"http://{ADDRESS}/", {"Host": "www.corp.example"})

    assert (wiki.status, public.status) == (421, 200)
    assert [(r.line[1], r.values("host")) for r in person.backend.received] == [(b"/", [b"www.corp.example"])]


@pytest.mark.parametrize(
    ("language", "words"), [("C.UTF-8", "would share one backend"), ("ja_JP.UTF-8", "一つのバックエンドに")]
)
def test_without_a_choice_the_services_are_listed(person: Person, language: str, words: str) -> None:
    person.run(["zt", "init", "my-site", "--pack", "corp"])

    refused = subprocess.run(
        [ZT, "hook", "nginx", "--config", "my-site/zt.toml"],
        cwd=person.folder,
        env={**person.environment, "LANG": language, "LC_ALL": language},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refused.returncode != 0 and refused.stdout == ""
    assert "SERVICE_AMBIGUOUS" in refused.stderr
    assert "--service " in refused.stderr and "wiki" in refused.stderr
    assert words in refused.stderr
