"""Key files that cannot be relied on: named all at once, with what to do, and never with what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zt_engine.bootstrap.identity import proxy_credentials, secret_file
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, Problem

SECRET = "4711-" * 8
GOOD = """
[[proxies]]
name = "front"
key_file = "keys/front.key"
previous_key_file = "keys/before.key"

[[proxies]]
name = "inner"
channel = "closed"
key_file = "keys/inner.key"

[[issuers]]
issuer = "https://idp.example"
audiences = ["https://portal.example"]
jwks = "keys/jwks.json"
"""


def installed(folder: Path) -> Path:
    (folder / "keys").mkdir()
    (folder / "zt.toml").write_text(GOOD)
    for number, name in enumerate(("front", "before", "inner")):
        path = folder / f"keys/{name}.key"
        path.write_text(f"{SECRET}{number}\n")
        path.chmod(0o600)
    return folder


def faults(folder: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as refused:
        proxy_credentials(load(folder / "zt.toml", {}))
    return list(refused.value.problems)


def test_good_key_files_are_read_without_their_line_end(tmp_path: Path) -> None:
    folder = installed(tmp_path)

    front, inner = proxy_credentials(load(folder / "zt.toml", {}))

    assert (front.channel, len(front.key_digests)) == ("open", 2)
    assert (inner.channel, len(inner.key_digests)) == ("closed", 1)
    assert secret_file(folder / "keys/front.key") == f"{SECRET}0".encode()


@pytest.mark.parametrize(
    ("spoil", "message", "hint"),
    [
        (lambda path: path.chmod(0o640), "group or others may use this key", "chmod 600"),
        (lambda path: path.chmod(0o604), "group or others may use this key", "chmod 600"),
        (lambda path: path.chmod(0o620), "group or others may use this key", "chmod 600"),
        (lambda path: path.write_text("4711-47"), "a key has at least", "openssl rand -hex 32"),
        (lambda path: path.write_text(" \n"), "a key has at least", "openssl rand -hex 32"),
        (lambda path: path.unlink(), "No such file", "openssl rand -hex 32"),
    ],
    ids=["group reads", "others read", "group writes", "short", "empty", "gone"],
)
def test_a_key_file_that_cannot_be_relied_on_is_refused_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, hint: str
) -> None:
    path = installed(tmp_path) / "keys/front.key"
    spoil(path)

    (problem,) = faults(tmp_path)

    assert (problem.code, problem.where) == ("CONFIG_FILE", str(path))
    assert message in problem.message
    assert hint in problem.hint
    assert "4711" not in str(problem)


def test_every_bad_key_file_is_named_at_once(tmp_path: Path) -> None:
    folder = installed(tmp_path)
    (folder / "keys/front.key").chmod(0o644)
    (folder / "keys/inner.key").unlink()

    assert [problem.where for problem in faults(folder)] == [
        str(folder / "keys/front.key"),
        str(folder / "keys/inner.key"),
    ]


def test_two_proxies_with_one_key_could_not_be_told_apart(tmp_path: Path) -> None:
    folder = installed(tmp_path)
    (folder / "keys/inner.key").write_text((folder / "keys/before.key").read_text())

    (problem,) = faults(folder)

    assert "4711" not in str(problem)
