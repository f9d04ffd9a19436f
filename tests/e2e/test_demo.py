"""`zt demo` as a stranger starts it: no opa, no root's home, nothing on PATH; twice, once in each language."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests import forked
from tests.peers import find_peer
from zt_engine.bootstrap.demo import COMMAND, Demo
from zt_engine.bootstrap.demo_story import (
    BROWSER,
    CASE_123,
    CHAPTERS,
    LAPTOP,
    OWN,
    PAPER_7,
    STALE,
    TERMINAL,
    Expected,
    Step,
    Words,
    calm_step,
    story,
)
from zt_engine.bootstrap.demo_world import PACK, DemoWorld, with_timetable
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.cli.demo_report import command_name
from zt_engine.core.bundle import open_bundle
from zt_engine.pages.registry import registry

ZT = [sys.executable, "-c", COMMAND]
OFFICE = 3
"""Requests of the last chapter, of the machine that was enrolled."""


def stranger(home: Path) -> dict[str, str]:
    """The environment of somebody who has nothing but Python."""
    home.mkdir()
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)}


def zt(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    assert words[0] == "zt"
    return subprocess.run([*ZT, *words[1:]], env=environment, capture_output=True, text=True, timeout=120, check=False)


def afterwards(line: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a line as it was printed; return its status and what it said."""
    words = shlex.split(line)
    assert words[0] == "zt"
    return forked.run(words[1:], env=environment)


def printed(output: str, start: str) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.strip().startswith(start)]


def test_the_story_is_long_enough_and_told_in_both_languages() -> None:
    steps = story()

    assert len(steps) >= 15
    assert {step.chapter for step in steps} == set(range(len(CHAPTERS)))
    for step in steps:
        for words in (step.who, step.device, step.data):
            assert all(words)
        assert all(step.note) or not any(step.note)


TOLD: dict[str, Callable[[Step], object]] = {
    "published data is for everybody": lambda step: not step.sent.device and step.expected.effect == "allow",
    "a healthy laptop gets level 2": lambda step: _seen(step, LAPTOP, CASE_123, "allow"),
    "a stale one is told what to fix, on a page": lambda step: (
        _seen(step, STALE, CASE_123, "deny") and step.expected.page == "REPORT_NOW"
    ),
    "nobody gets level 3 from the open network": lambda step: _seen(step, TERMINAL, PAPER_7, "deny"),
    "one's own device": lambda step: _seen(step, OWN, CASE_123, "allow") and "no_download" in step.expected.duties,
    "a browser without a device": lambda step: _seen(step, BROWSER, CASE_123, "deny"),
    "a robot outside its hours": lambda step: "ROBOT_OUTSIDE_HOURS" in step.expected.reasons,
    "a forged identity header": lambda step: "HEADER_RESERVED" in step.expected.reasons,
    "..%2f": lambda step: "..%2f" in step.sent.target and "PATH_AMBIGUOUS" in step.expected.reasons,
    "an edited catalogue": lambda step: step.change is DemoWorld.classify_article and step.expected.effect == "deny",
    "a raised threat level": lambda step: (
        step.change is DemoWorld.raise_threat_level and step.expected.effect == "deny"
    ),
    "a revoked device": lambda step: step.change is DemoWorld.revoke_laptop and step.expected.effect == "deny",
}
"""What the story has to tell, whatever else it tells."""


def _seen(step: Step, device: Words, data: Words, effect: str) -> bool:
    return (step.device, step.data, step.expected.effect) == (device, data, effect)


@pytest.mark.parametrize("chapter", TOLD)
def test_the_story_tells_what_it_is_there_to_tell(chapter: str) -> None:
    assert any(TOLD[chapter](step) for step in story(rego=False))


def test_the_timetable_is_all_that_the_demo_changes_in_the_pack() -> None:
    shipped = compiled_bundle(PACK)

    theirs, ours = (
        open_bundle(raw, keys={}, require_signature=False) for raw in (shipped, with_timetable(shipped, 1_800_000_000))
    )

    assert (theirs.wasm, theirs.reads, theirs.layers, theirs.reasons, theirs.manifest.baseline) == (
        ours.wasm,
        ours.reads,
        ours.layers,
        ours.reasons,
        ours.manifest.baseline,
    )


WRONG = [
    Expected(effect="deny"),
    Expected(effect="step_up"),
    Expected(effect="allow", reasons=("TRUST_LOW",)),
    Expected(effect="allow", duties=("watermark",)),
    Expected(effect="allow", challenge="Bearer"),
    Expected(effect="allow", page="REPORT_NOW"),
]


@pytest.mark.timeout(60)
def test_an_expectation_that_does_not_hold_is_a_fault(tmp_path: Path) -> None:
    """A demo that could not fail would prove nothing."""
    with Demo(tmp_path / "d", language="ja") as demo:
        right = demo.run(calm_step())
        wrong = [demo.run(msgspec.structs.replace(calm_step(), expected=expected)) for expected in WRONG]
        demo.stop_sidecar()
        (segment,) = (tmp_path / "d" / "log").glob("decisions*.jsonl")
        segment.write_bytes(segment.read_bytes().replace(b'"subject":"sato"', b'"subject":"abe"', 1))
        audit = demo.verify_log()

    assert right.faults == ()
    assert [bool(result.faults) for result in wrong] == [True] * len(WRONG)
    assert audit.faults


@pytest.mark.timeout(240)
def test_the_demo_holds_in_japanese_and_its_commands_work_afterwards(tmp_path: Path, opa: str) -> None:
    environment = stranger(tmp_path / "home") | {"OPA": opa}
    folder = tmp_path / "d"

    done = zt(f"zt demo --lang ja --dir {folder}", environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == len(story()) + 1 + OFFICE  # and the log
    assert "✗" not in done.stdout
    assert registry()["REPORT_NOW"].ja in done.stdout
    assert f"→ {registry()['REPORT_NOW'].hint_ja}" in done.stdout
    (head,) = {line for line in done.stdout.splitlines() if "だれ" in line and "スコア" in line}
    assert all(column in head for column in ("端末", "情報", "判定", "µs"))
    assert f"{len(story()) + OFFICE}件すべて期待どおりでした" in done.stdout
    (verify,) = printed(done.stdout, "zt audit verify")
    assert afterwards(verify, environment)[0] == 0
    status, out, err = afterwards(f"zt audit verify --config {folder}/zt.toml", environment)
    assert status == 0, out + err
    status, out, err = afterwards(f"zt audit replay {folder}/log --lang en", environment)
    assert status == 0, out + err
    assert re.search(r"([1-9]\d*) of \d+ decisions were made again, \1 came out the same", out)
    (decide,) = printed(done.stdout, "zt decide")
    status, out, err = afterwards(decide, environment)
    assert status == 1, err
    assert "REPORT_NOW" in out
    assert not any((tmp_path / "home").iterdir())


@pytest.mark.timeout(240)
def test_the_demo_stays_in_english_behind_the_nginx_of_debian_and_leaves_nothing_running(tmp_path: Path) -> None:
    nginx = find_peer("nginx (Debian)")
    if nginx is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `nginx (Debian)` is missing")
        pytest.skip(reason="no nginx of the system on this machine")
    folder = tmp_path / "d"
    command = [*ZT, "demo", "--keep", "--lang", "en", "--dir", str(folder), "--nginx", str(nginx)]
    environment = stranger(tmp_path / "home") | {"OPA": str(tmp_path / "none")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    shown = []
    try:
        for line in process.stdout:
            shown.append(line)
            if "admin.sock http" in line:
                break
        output = "".join(shown)
        assert "editing a Rego rule was left out" in output
        assert f"All {len(story(rego=False)) + OFFICE} as expected" in output
        assert "Ctrl-C ends it" in output
        curls = printed(output, "curl --cacert")
        assert len(curls) == 5
        statuses = [curl(line) for line in curls]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)

    assert process.returncode == 0, output + rest
    assert f"rm -r {folder}" in rest
    assert statuses == [200, 403, 403, 200, 403]
    port = int(re.findall(r"https://[a-z.]+:(\d+)/", output)[0])
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


@pytest.mark.parametrize("on_path", [True, False])
def test_a_command_that_is_printed_calls_this_program(
    on_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `zt` on PATH is not ours: the command would run something else."""
    for folder in ("venv", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "zt").write_text("#!/bin/sh\n")
        (tmp_path / folder / "zt").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / ("venv" if on_path else "other")))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "venv" / "zt")])

    assert command_name() == ("zt" if on_path else "venv/zt")


def curl(line: str) -> int:
    """Run a printed line, as whoever tries it would; return the status."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `curl` is missing")
        pytest.skip(reason="no curl on this machine")
    words = [*shlex.split(line), "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    return int(subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout)
