"""A log that a mixed run left: verified, replayed byte for byte, and found out when anything in it is changed."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.sidecar_support import (
    CASE,
    NOTE,
    PUBLIC,
    Load,
    edit,
    in_process,
    installation,
    laptop,
    logged,
    question,
    verified,
    wait_for,
)
from zt_engine.adapters.approvals import approve
from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.log_recovery import segments
from zt_engine.authoring.replay import ReplayReport, replay
from zt_engine.bootstrap.replaying import Replayer
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.cli import audit

PILOT = "https://pilot.example/x"
OVERLAYS = [
    ("threshold:+30", "tenant"),
    ("acr:phrh", "service:portal"),
    ("report_age:1", "label:C2"),
    ("ceiling:100", "tenant"),
    ("obligation:watermark", "subject:tanaka"),
    ("obligation:read_only", "tenant"),
    ("deny", "device:laptop-1"),
]
SECRET = "https://portal.example/secret"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Sandbox]:
    """An installation that has decided everything there is to decide, under several policies, and was stopped."""
    sandbox = installation(tmp_path_factory.mktemp("replay") / "zt", opa)
    approver = Ed25519PrivateKey.generate()
    public = approver.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    sandbox.write("keys/boss.pub.pem", public)
    edit(
        sandbox,
        "zt.toml",
        ("\n[policy]\n", '\n[policy]\napprovers = [{ person = "boss", key = "keys/boss.pub.pem" }]\n'),
    )
    device = laptop(sandbox)
    clock = FakeClock(sandbox.now)
    now = int(sandbox.now)
    with in_process(sandbox, clock=clock) as program:

        def ask_everything() -> None:
            for claims in ({}, {"acr": "pwd", "amr": ["pwd"]}, {"auth_time": now - 20_000}):
                token = sandbox.token("tanaka", device=device, **claims)
                for url in (PUBLIC, CASE, NOTE, SECRET, PILOT, "https://portal.example/cases/2"):
                    program.ask(url, token=token, device=device)
            for url in (PUBLIC, CASE, PILOT, "https://portal.example/nowhere"):
                program.ask(url)
            program.ask(CASE, token="garbage")
            clock.advance(5)

        def situated(**fields: Any) -> None:
            sandbox.situation(**fields)
            program.refresh()
            assert program.problems() == []
            ask_everything()

        ask_everything()
        laptop(sandbox, report_received_at=now - 100_000, version=2)
        program.refresh()
        ask_everything()
        laptop(sandbox, version=3, ceiling=100)
        program.refresh()
        ask_everything()
        laptop(sandbox, version=4)
        overlay = {"not_before": now - 10, "not_after": now + 10_000}
        for number, (effect, scope) in enumerate(OVERLAYS):
            record = {"id": f"o{number}", "effect": effect, "scope": scope, **overlay}
            situated(threat_level=number % 5, overlays=[record])
        situated(overlays=[{"id": "x", "effect": "deny", "scope": "tenant", "exercise": True, **overlay}])
        grant = {
            "id": "g1", "kind": "exception", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 200,
            "waives": ["REPORT_STALE"], "not_before": now - 100, "not_after": now + 10_000, "reason": "test",
        }  # fmt: skip
        situated(grants=[{**grant, "approvals": [approve(approver, "grant", grant)]}])
        situated(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
        situated()
        # Other policies: what decided before must be decided again by what decided then.
        text = (sandbox.folder / "policy/catalogue.yaml").read_text()
        sandbox.write("policy/catalogue.yaml", text.replace("observe: {until: 2030-01-01T00:00:00Z}", "").encode())
        program.refresh()
        ask_everything()
        edit(sandbox, "policy/trust.yaml", ("slack: 15", "slack: 5"))
        program.refresh()
        ask_everything()
        sandbox.publish(compiled(opa, edits=(("_threshold := 60", "_threshold := 88"),)))
        program.refresh()
        ask_everything()
        assert program.problems() == []
    yield sandbox


def decided_again(sandbox: Sandbox, log: Path | None = None) -> ReplayReport:
    folder = log or sandbox.folder / "log"
    with contextlib.closing(Replayer()) as replayer:
        return replay(read_log([folder]), replayer, Archive(folder / "archive"), limit=1000)


def test_the_run_has_everything_in_it(ran: Sandbox) -> None:
    events = logged(ran)

    effects = {event["effect"] for event in events}
    reasons = {reason for event in events for reason in event["reasons"]}
    assert effects == {"allow", "step_up", "deny", "observe"}
    assert reasons >= {
        "REPORT_NOW", "AUTH_REQUIRED", "MFA_REQUIRED", "NOT_ALLOWED", "TRUST_LOW", "OVERLAY_ACR", "OVERLAY_CEILING",
        "OVERLAY_DENIED", "DEVICE_CEILING",
        "OVERLAY_REPORT_AGE", "OBLIGATION_UNENFORCEABLE", "DEVICE_REVOKED", "TOKEN_MALFORMED",
        "ROUTE_UNKNOWN",
    }  # fmt: skip
    assert any(event["grants"] == ["exception:g1"] for event in events)
    assert any(event["observed"] for event in events)
    assert len({json.dumps(event["versions"]) for event in events}) > 10


def test_every_decision_comes_out_the_same_byte_for_byte(ran: Sandbox) -> None:
    report = decided_again(ran)

    assert (report.differences, report.faults) == ((), ())
    assert report.decisions == len(logged(ran))
    assert report.replayed == report.same == sum(event["input_digest"] is not None for event in logged(ran))
    assert report.replayed > 300


def test_the_commands_say_so(ran: Sandbox) -> None:
    for command in ("verify", "replay"):
        result = CliRunner().invoke(audit.app, [command, "--config", str(ran.config), "--lang", "en"])

        assert result.exit_code == 0, result.output


def test_a_log_that_rotates_under_load_is_replayed_file_by_file(tmp_path: Path, opa: str) -> None:
    """A remembered decision goes on after a rotation; the input of its events is beside them all the same."""
    sandbox = installation(tmp_path / "zt", opa)
    edit(sandbox, "zt.toml", ('dir = "log"', 'dir = "log"\nsegment_mib = 1'))
    device = laptop(sandbox)
    with in_process(sandbox) as program:
        load = Load(program.address, question(sandbox, token=sandbox.token("tanaka", device=device), device=device))
        wait_for(lambda: program.program.log.generation >= 2 or load.faults, "two rotations", seconds=60)
        load.more(20)
        load.stop()

    assert load.faults == []
    read = list(read_log([sandbox.folder / "log"]))
    assert len(read) >= 3
    archive = Archive(sandbox.folder / "log/archive")
    with contextlib.closing(Replayer()) as replayer:
        # Each by itself: retention removes the older ones.
        reports = [replay([segment], replayer, archive) for segment in read]
    assert [(report.differences, report.faults) for report in reports] == [((), ())] * len(read)
    assert sum(report.same for report in reports) == len(load.replies)


# -- invariant 12 -----------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _edited(lines: list[bytes], at: int) -> list[bytes]:
    line = lines[at].replace(b'"effect":"deny"', b'"effect":"allow"')
    if line == lines[at]:
        line = line.replace(b'"ts":"20', b'"ts":"21', 1)
    return [*lines[:at], line, *lines[at + 1 :]]


CHANGES: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "an edit": _edited,
    "a removal": lambda lines, at: [*lines[:at], *lines[at + 1 :]],
    "a repeat": lambda lines, at: [*lines[: at + 1], lines[at], *lines[at + 1 :]],
    "a swap": lambda lines, at: [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]],
    "a cut": lambda lines, at: lines[:at],
    "a cut in a line": lambda lines, at: [*lines[:at], lines[at][:40]],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_invariant_12_any_edit_removal_reordering_or_truncation_is_found(
    ran: Sandbox, tmp_path: Path, change: str, seed: int
) -> None:
    copy = Sandbox.__new__(Sandbox)
    copy.folder = tmp_path / "zt"
    for name in ("log", "checkpoints", "keys"):
        shutil.copytree(ran.folder / name, copy.folder / name)
    assert verified(copy).faults == ()
    (path,) = segments(copy.folder / "log")
    lines = _lines(path)
    at = random.Random(f"{change}{seed}").randrange(5, len(lines) - 1)

    path.write_bytes(b"".join(CHANGES[change](lines, at)))

    assert verified(copy).faults != ()


def test_a_decision_that_was_changed_does_not_come_out_the_same(ran: Sandbox, tmp_path: Path) -> None:
    """Even the holder of every key cannot make an allow out of a denial that the policy does not give."""
    shutil.copytree(ran.folder / "log", tmp_path / "log")
    (path,) = segments(tmp_path / "log")
    lines = _lines(path)
    at = next(number for number, line in enumerate(lines) if b'"effect":"deny"' in line and b'"input_digest":"' in line)
    path.write_bytes(b"".join(_edited(lines, at)))

    report = decided_again(ran, tmp_path / "log")

    assert [(one.field, one.recorded, one.redecided) for one in report.differences] == [("effect", '"allow"', '"deny"')]


def test_an_input_that_was_changed_is_found(ran: Sandbox, tmp_path: Path) -> None:
    shutil.copytree(ran.folder / "log", tmp_path / "log")
    (path,) = segments(tmp_path / "log/inputs", kind="inputs")
    path.write_bytes(path.read_bytes().replace(b'"rank":200', b'"rank":100', 1))

    report = decided_again(ran, tmp_path / "log")

    assert {fault.code for fault in report.faults} == {"LOG_INPUT_CHANGED"}


def test_a_policy_that_was_changed_or_is_gone_is_found(ran: Sandbox, tmp_path: Path) -> None:
    shutil.copytree(ran.folder / "log", tmp_path / "log")
    first, *_ = (tmp_path / "log/archive/catalogue").iterdir()
    first.chmod(0o600)
    first.write_bytes(first.read_bytes().replace(b"C2", b"C1"))
    for bundle in (tmp_path / "log/archive/bundle").iterdir():
        bundle.unlink()

    report = decided_again(ran, tmp_path / "log")

    assert {fault.code for fault in report.faults} == {"LOG_REPLAY_FAILED"}
    assert report.same == 0
