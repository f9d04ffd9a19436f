"""`zt situation` from the command line: what it asks of the control plane, in both languages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from tests.control_support import NOW, Control
from tests.unit.test_control_situation import APPROVERS, CONTINUITY, GRANT, KEYS, OVERLAY
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.cli import situation
from zt_engine.cli.main import app
from zt_engine.control_plane.signals import RULES
from zt_engine.core.errors import InputError


class Asked:
    """A client of a control plane in this process."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def _call(self, method: str, path: tuple[str, ...], body: Any = None) -> dict[str, Any]:
        answer = self._control.call(method, "/" + "/".join(part.replace("/", "%2F") for part in path), body)
        if not answer.is_success:
            raise InputError(answer.json()["code"], "refused")
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def get(self, *path: str) -> dict[str, Any]:
        return self._call("GET", path)

    def put(self, *path: str, body: Any) -> dict[str, Any]:
        return self._call("PUT", path, body)

    def post(self, *path: str, body: Any) -> dict[str, Any]:
        return self._call("POST", path, body)

    def delete(self, *path: str, reason: str) -> dict[str, Any]:
        return self._call("DELETE", (*path[:-1], f"{path[-1].replace('/', '%2F')}?reason={reason}"))


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with Control(approvers=APPROVERS) as one:
        monkeypatch.setattr(situation.asked, "client", lambda: contextlib.nullcontext(Asked(one)))
        monkeypatch.setattr("zt_engine.cli.situation.time.time", lambda: float(NOW))
        yield one


def zt(*words: str | Path, lang: str = "en") -> str:
    result = CliRunner().invoke(app, ["situation", "--lang", lang, *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def key_of(person: str, folder: Path) -> Path:
    path = folder / f"{person}.pem"
    path.write_bytes(KEYS[person].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def signed(kind: str, file: Path, *people: str) -> Path:
    for person in people:
        zt("approve", kind, file, "--approver-key", key_of(person, file.parent))
    return file


def test_the_level_is_raised_by_one_and_lowered_by_what_two_signed(control: Control, tmp_path: Path) -> None:
    assert "severe" in zt("raise", "3", "-m", "summit")
    assert "厳戒" in zt("show", lang="ja")
    file = tmp_path / "down.json"
    zt("lowering", "1", file)
    signed("threat_level", file, "yamada")
    with pytest.raises(InputError, match="APPROVAL_MISSING"):
        zt("lower", file, "-m", "over")
    signed("threat_level", file, "suzuki")

    zt("lower", file, "-m", "over")

    assert json.loads(zt("show", "--json"))["threat_level"] == 1
    with pytest.raises(InputError, match="LOWERING_USED"):
        zt("lower", file, "-m", "again")
    zt("raise", "3", "-m", "again")
    with pytest.raises(InputError, match="LOWERING_USED"):
        zt("lower", file, "-m", "again")


def test_what_is_staged_is_shown_as_staged(control: Control) -> None:
    overlay = OVERLAY | {"id": "o1", "cause": "incident 42"}
    plan = {"rings": [{"name": "canary", "sidecars": ["edge-1"]}, {"name": "all", "percent": 100}]}
    for kind, record, mode in (("overlay", overlay, "enforce"), ("threat_level", {"threat_level": 2}, "report-only")):
        body = {"kind": kind, "record": record, "plan": plan | {"mode": mode}, "reason": "first the canary"}
        assert control.call("POST", "/v1/rollouts", body, who="security").is_success
    shown = zt("show")

    assert "threat level 0: calm" in shown
    assert "overlay:o1  staged, rollout 1 (reached: canary)  " in shown
    assert "threat_level  only watched, rollout 2  threat level 2: alert" in shown
    assert "展開 1（到達: canary）" in zt("show", lang="ja")


def test_what_was_signed_or_declared_once_is_not_done_again(control: Control, tmp_path: Path) -> None:
    grant = tmp_path / "grant.json"
    grant.write_text(json.dumps(GRANT))
    zt("grant", signed("grant", grant, "yamada", "suzuki"))
    with pytest.raises(InputError, match="DECLARED_ALREADY"):
        zt("grant", grant)
    with pytest.raises(InputError, match="APPROVED_ALREADY"):
        signed("grant", grant, "suzuki")

    assert len(control.announced()) == 1
    assert len(json.loads(grant.read_text())["approvals"]) == 2


def test_the_revocation_of_a_device_nobody_knows_is_recorded_and_remarked_on(control: Control) -> None:
    told = zt("revoke", "device", "laptop-x", "-m", "lost")

    assert "no such device is known" in told
    assert "no such device" not in zt("revoke", "subject", "tanaka", "-m", "left")
    assert "revocations in force: 2" in zt("show")


def test_a_name_that_somebody_told_turns_no_line_around_and_moves_no_cursor(control: Control) -> None:
    scope = "subject:\N{RIGHT-TO-LEFT OVERRIDE}akanat\x9b2J"
    zt("overlay", "o1", "--effect", "deny", "--scope", scope, "-m", "障害\N{IDEOGRAPHIC SPACE}対応")

    assert "subject:\N{REPLACEMENT CHARACTER}akanat\N{REPLACEMENT CHARACTER}2J" in zt("show")
    assert "障害\N{IDEOGRAPHIC SPACE}対応" in zt("show")


def test_an_overlay_has_an_end_and_is_taken_back(control: Control) -> None:
    zt("overlay", "incident-42", "--effect", "ceiling:100", "--scope", "ownership:byod", "-m", "incident 42")
    shown = zt("show")
    zt("remove", "overlay", "incident-42", "-m", "over")

    ((_, told), (_, gone)) = control.announced()
    assert (told["not_after"] - told["not_before"], told["cause"]) == (86_400, "incident 42")
    assert gone == {"id": "incident-42", "removed": True}
    assert "overlay:incident-42  ceiling:100  ownership:byod" in shown
    assert "raised by admin:owner" in shown
    assert "nothing else is in force" in zt("show")


def test_grants_and_continuity_go_as_they_were_signed(control: Control, tmp_path: Path) -> None:
    grant, declared = tmp_path / "grant.json", tmp_path / "continuity.json"
    grant.write_text(json.dumps(GRANT))
    declared.write_text(json.dumps(CONTINUITY))
    with pytest.raises(InputError, match="APPROVAL_MISSING"):
        zt("grant", grant)

    zt("grant", signed("grant", grant, "yamada", "suzuki"))
    zt("continuity", signed("continuity", declared, "yamada", "suzuki"))

    assert [kind for kind, _ in control.announced()] == ["grant.changed", "continuity.changed"]
    assert "break_glass:g/1  tanaka" in zt("show")
    assert "continuity:c1" in zt("show")


def test_whatever_is_revoked_is_told(control: Control) -> None:
    zt("revoke", "subject", "tanaka", "-m", "left")
    zt("revoke", "jti", "t1", "-m", "leaked", "--hours", "1")

    assert control.announced() == [
        ("revocation.added", {"kind": "subject", "key": "tanaka", "until": None}),
        ("revocation.added", {"kind": "jti", "key": "t1", "until": NOW + 3600}),
    ]
    assert "revocations in force: 2" in zt("show")


def test_what_broke_the_glass_is_shown_until_it_was_reviewed(control: Control, tmp_path: Path) -> None:
    grant = tmp_path / "grant.json"
    grant.write_text(json.dumps(GRANT))
    zt("grant", signed("grant", grant, "yamada", "suzuki"))
    zt("remove", "grant", "g/1", "-m", "over")
    assert "review:g/1  until " in zt("show")

    assert "grant:g/1: reviewed" in zt("review", "g/1", "-m", "two cases read")
    assert "review:" not in zt("show")


RULES_OF_SIGNALS = "risks:\n  - {id: user-risk, signal: user_risk, scope: subject, gate: [deny]}\n"


def test_what_somebody_noticed_is_told_and_shown_with_its_rule(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.plane.extras[RULES] = load_signals(RULES_OF_SIGNALS, where="signals.yaml")

    told = zt("signal", "user_risk", "subject:tanaka", "--level", "high")
    again = zt("signal", "user_risk", "subject:tanaka", "--level", "low")

    zt("signal", "user_risk", "subject:suzuki", "--level", "high")
    control.clock.advance(60)
    monkeypatch.setattr("zt_engine.cli.situation.time.time", lambda: float(NOW + 60))
    cleared = zt("signal", "user_risk", "subject:suzuki", "--level", "cleared")
    end = datetime.fromtimestamp(NOW + 2700, UTC).strftime("%Y-%m-%d %H:%MZ")

    assert f"overlay:signals/user-risk/suzuki/2: cleared; it ends at {end}" in cleared
    assert f"{end} に終わります" in zt("signal", "user_risk", "subject:suzuki", "--level", "cleared", lang="ja")
    assert "overlay:signals/user-risk/tanaka/1: changed" in told
    assert "no overlay is another one" in again
    line = "overlay:signals/user-risk/tanaka/2  deny  subject:tanaka  until "
    (english,) = [one for one in zt("show").splitlines() if one.startswith(line)]
    assert english.endswith("  from signals, rule user-risk")
    assert "シグナルによる措置、ルール user-risk" in zt("show", lang="ja")


def test_what_no_rule_is_about_is_said(control: Control) -> None:
    with pytest.raises(InputError, match="SIGNAL_UNRULED"):
        zt("signal", "user_risk", "subject:tanaka", "--level", "high")
    assert CliRunner().invoke(app, ["situation", "signal", "user_risk", "subject:tanaka"]).exit_code == 2
