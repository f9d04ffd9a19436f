"""`Zt-Assertion`: made for the routes that ask for it, and what its page shows a backend is enough to rely on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.fakes.clock import FakeClock
from tests.peers import ROOT
from tests.sidecar_support import CASE, NOTE, InProcess, edit, in_process, installation, laptop
from zt_engine.adapters.assertion_jws import load_asserter
from zt_engine.bootstrap.sandbox import Device, Sandbox
from zt_engine.core.errors import ConfigError

PAGE = (ROOT / "docs/backends.md").read_text(encoding="utf-8")


def who_asks() -> Callable[..., dict[str, Any]]:
    """The function that the page shows."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    return names["who_asks"]


class Place:
    """An installation with the key that the page has made, and a route that asks for a statement."""

    def __init__(self, folder: Path, opa: str) -> None:
        self.sandbox: Sandbox = installation(folder / "zt", opa)
        self.device: Device = laptop(self.sandbox)
        self.clock = FakeClock(self.sandbox.now)
        for line in re.findall(r"^\$ (openssl .*)$", PAGE, re.MULTILINE):
            subprocess.run(["/bin/sh", "-c", line], cwd=self.sandbox.folder, check=True, capture_output=True)
        self.public = (self.sandbox.folder / "keys/assertion.pub.pem").read_text()
        settings = self.sandbox.folder / "zt.toml"
        settings.write_text(settings.read_text() + '\n[assertion]\nkey_file = "keys/assertion.pem"\nseconds = 600\n')
        edit(self.sandbox, "policy/catalogue.yaml", ("POST], label: C2}", "POST], label: C2, assertion: true}"))
        self.token = self.sandbox.token("tanaka", device=self.device, groups=["staff"])
        self.program: InProcess

    def assertion(self, url: str = CASE) -> str:
        reply = self.program.ask(url, token=self.token, device=self.device)
        assert reply.status == 200
        return reply.header("Zt-Assertion") or ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Place]:
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `openssl` is missing")
        pytest.skip(reason="no openssl on this machine")
    found = Place(tmp_path_factory.mktemp("assertion"), opa)
    with in_process(found.sandbox, clock=found.clock) as program:
        found.program = program
        yield found


def test_a_backend_that_reads_it_as_the_page_says_knows_who_asks_from_where_and_for_what(place: Place) -> None:
    said = who_asks()(place.assertion(), place.public, "portal")

    assert said.keys() == {"iss", "aud", "sub", "device", "groups", "label", "trust", "iat", "exp"}
    assert (said["aud"], said["sub"], said["device"], said["label"]) == ("portal", "tanaka", "laptop-1", "C2")
    assert said["iss"] == place.program.program.settings.sidecar.id
    assert 0 <= said["trust"] <= 100
    assert said["exp"] - said["iat"] == 600
    assert said["iat"] <= place.clock.now() < said["exp"]


def test_a_route_that_does_not_ask_gets_an_empty_one(place: Place) -> None:
    assert place.assertion(NOTE) == ""


@pytest.mark.parametrize("how", ["another service", "another key", "changed", "unsigned", "too late"])
def test_what_is_not_a_statement_for_this_backend_now_is_refused(place: Place, how: str) -> None:
    made, public, service = place.assertion(), place.public, "portal"
    head, claims, signature = made.split(".")
    if how == "another service":
        service = "pilot"
    elif how == "another key":
        public = (place.sandbox.folder / "keys/log-signing.pub.pem").read_text()
    elif how == "changed":
        made = f"{head}.{claims[:-4]}AAAA.{signature}"
    elif how == "unsigned":
        made = jwt.encode({"aud": service}, None, algorithm="none", headers={"typ": "zt-assertion+jwt"})
    else:
        signer = load_asserter(place.sandbox.folder / "keys/assertion.pem", sidecar="s", seconds=60)
        made = signer.sign(
            audience=service, subject="tanaka", device="laptop-1", groups=(), label="C2", trust=90,
            issued_at=int(place.sandbox.now) - 3600,
        )  # fmt: skip

    with pytest.raises(jwt.InvalidTokenError):
        who_asks()(made, public, service)


def test_no_other_token_is_an_assertion_and_an_assertion_is_no_access_token(place: Place) -> None:
    with pytest.raises(jwt.InvalidTokenError, match="another kind"):
        who_asks()(place.token, place.public, "portal")
    refused = place.program.ask(CASE, token=place.assertion(), device=place.device)

    assert (refused.status in (401, 403), (refused.reason or "").startswith("TOKEN_")) == (True, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.chmod(0o644), "group or others may use this key"),
        (lambda path: path.write_text("no key"), ""),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes((path.parent / "bundle.pem").read_bytes()), "not an Ed25519 private key"),
    ],
    ids=["readable by others", "no key", "gone", "of another kind"],
)
def test_a_key_that_cannot_be_relied_on_is_a_fault_of_the_settings(
    place: Place, tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    keys = place.sandbox.folder / "keys"
    (bundle,) = (path for path in keys.glob("bundle-*.pem") if not path.name.endswith(".pub.pem"))
    (tmp_path / "bundle.pem").write_bytes(bundle.read_bytes())
    path = tmp_path / "assertion.pem"
    path.write_bytes((keys / "assertion.pem").read_bytes())
    path.chmod(0o600)
    assert "PRIVATE" not in repr(load_asserter(path, sidecar="s", seconds=60))
    change(path)

    with pytest.raises(ConfigError) as refused:
        load_asserter(path, sidecar="s", seconds=60)

    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("CONFIG_FILE", str(path))
    assert said in problem.message
