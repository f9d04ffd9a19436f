"""A peer that is missing is never silent: what was therefore skipped is said, and in CI it is a failure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.peers import FINDERS, ROOT, find_peer, missing_peers, skipped_tests

OPTIONAL = {
    ("tests/fuzz/test_gate.py", "no atheris on this machine: it is optional"),
    ("tests/integration/test_agent_commands.py", "no systemd on this machine"),
}
"""Skipped in CI as well, one by one: tools that no container has."""
LACKS = re.compile("on this machine|missing: ")


def skips() -> Iterator[tuple[str, str, bool]]:
    """Each skip of a test for something that a machine lacks: the file, the reason, whether CI fails there instead."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "pytest.skip(" not in text or path == Path(__file__):
            continue
        for block in ast.walk(ast.parse(text)):
            said = [ast.unparse(part) for part in block.body] if isinstance(block, ast.If) else []
            for line in said:
                if line.startswith("pytest.skip(") and LACKS.search(line):
                    reason = line.removeprefix("pytest.skip(reason=").strip("f'\")")
                    yield path.relative_to(ROOT).as_posix(), reason, any("'CI'" in other for other in said)


def test_in_ci_a_missing_peer_is_a_failure_wherever_a_test_would_be_skipped_for_it() -> None:
    found = list(skips())

    assert len(found) > 25
    assert {(path, reason) for path, reason, fails in found if not fails} <= OPTIONAL


def test_what_was_skipped_is_said_with_its_reason_and_each_test_once() -> None:
    lines = skipped_tests(
        [
            ("tests/e2e/test_a.py::test_one[x]", "Skipped: no envoy on this machine"),
            ("tests/e2e/test_a.py::test_one[y]", "Skipped: no envoy on this machine"),
            ("tests/e2e/test_b.py::test_two", "no caddy on this machine"),
        ]
    )

    assert lines == [
        "1 skipped: no caddy on this machine: tests/e2e/test_b.py::test_two",
        "2 skipped: no envoy on this machine: tests/e2e/test_a.py::test_one",
    ]
    assert skipped_tests([]) == []


def test_a_peer_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(peers, "FINDERS", {name: FINDERS[name] for name in ("curl", "php", "wrk")})

    assert missing_peers() == ["curl", "php", "wrk"]
    (tmp_path / "php").write_text("#!/bin/sh\n")
    (tmp_path / "php").chmod(0o755)

    assert missing_peers() == ["curl", "wrk"]
    assert find_peer("php") == tmp_path / "php"
