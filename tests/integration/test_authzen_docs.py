"""What the page about AuthZEN shows is what happens: its settings, its rules, its questions and their answers."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.authzen_support import Caller, address
from tests.peers import ROOT
from tests.sidecar_support import installation, laptop, running
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.cli.authzen import app as authzen
from zt_engine.sidecar.authzen.metadata import EVALUATION, EVALUATIONS, SEARCHES, WELL_KNOWN

PAGE = (ROOT / "docs/authzen.md").read_text(encoding="utf-8")
ASKED = re.compile(r"^```json ask (\w+)(?: (\S+))?\n(.*?)^```\n.*?^```json answer\n(.*?)^```", re.MULTILINE | re.DOTALL)
KEYS = {"gateway": "a" * 40, "files": "b" * 40}


def shown(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def without_ids(value: Any) -> Any:
    """An answer without what differs each time: the ids of decisions, and the score, which ages."""
    if isinstance(value, dict):
        known = {name: without_ids(item) for name, item in value.items()}
        if "context" in known and isinstance(known["context"], dict):
            known["context"] = {name: item for name, item in known["context"].items() if name not in ("id", "trust")}
        return known
    return [without_ids(item) for item in value] if isinstance(value, list) else value


def test_the_page_shows_what_happens(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "here", opa)
    laptop(sandbox)
    for name, key in KEYS.items():
        sandbox.write(f"keys/{name}.key", key.encode())
    settings = shown("toml settings").replace("127.0.0.1:9193", "127.0.0.1:0")
    sandbox.write("zt.toml", (sandbox.config.read_text() + "\n" + settings).encode())
    sandbox.write("rules/documents.rego", shown("rego rules").encode())
    sandbox.write("rules/data.json", shown("json data").encode())
    sandbox.write("keys/bundle.pem", sandbox.bundle_key.pem())
    build(sandbox.folder, opa, key_id=sandbox.bundle_key.key_id)
    asked = re.findall(
        r"^```json ask (\w+)(?: (\S+))?\n(.*?)^```\n.*?^```json answer\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    assert len(asked) == 5

    with running(sandbox) as process:
        for name, path, question, expected in asked:
            body = question.replace("1790000000", str(int(time.time()) - 60))
            with Caller(address(process), KEYS[name]) as caller:
                reply = caller.post(f"/access/v1/{path or 'evaluation'}", body.encode())

            assert reply.status == 200, reply.body
            assert without_ids(reply.json) == without_ids(json.loads(expected))


def build(folder: Path, opa: str, *, key_id: str) -> None:
    """Run the command that the page shows, in the folder of the installation."""
    command = shown("console").replace("\\\n", " ").removeprefix("$ zt authzen build").split()
    words = [str(folder / word) if word in ("rules", "keys/bundle.pem", "authzen.tar.gz") else word for word in command]

    done = CliRunner().invoke(authzen, ["build", *words, "--opa", opa, "--key-id", key_id, "--lang", "en"])

    assert done.exit_code == 0, done.output
    assert "signed by" in done.output


def test_a_bundle_that_cannot_be_built_says_where(tmp_path: Path, opa: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/x.rego").write_text("package x\n\nallow if {\n")
    (tmp_path / "key.pem").write_bytes(BundleSigningKey.generate("k").pem())

    done = CliRunner().invoke(
        authzen,
        ["build", str(tmp_path / "rules"), "-e", "x/allow", "--key", str(tmp_path / "key.pem"), "--opa", opa,
         "--out", str(tmp_path / "out.tar.gz")],
    )  # fmt: skip

    assert done.exit_code == 1
    assert "x.rego:" in done.output
    assert not (tmp_path / "out.tar.gz").exists()


@pytest.mark.parametrize("path", re.findall(r"`(?:GET|POST) (/[\w./-]+)`", PAGE))
def test_the_addresses_on_the_page_are_those_of_the_metadata(path: str) -> None:
    assert path.encode() in {EVALUATION, EVALUATIONS, WELL_KNOWN, *SEARCHES}
