"""`zt decide`: the real path, taken apart; every point accounted for, every fault at its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from zt_engine.authoring.scenarios import Scenario, read_scenarios
from zt_engine.bootstrap.deciding import Decider
from zt_engine.bootstrap.deciding_ground import Ground, ground_of_pack
from zt_engine.bootstrap.demo_world import HEALTHY
from zt_engine.bootstrap.packs import pack_folder
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.cli.main import app
from zt_engine.core.trust_model import POINT

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^```yaml\n# (allow|observe|deny|step_up):?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CASE = 'request: {method: GET, url: "https://portal.ministry.example/cases/123"}\n'


def examples() -> list[tuple[str, str, str]]:
    return EXAMPLE.findall((ROOT / "docs" / "decide.md").read_text(encoding="utf-8"))


def zt(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["decide", *map(str, words)], env={"LANG": "C.UTF-8", "COLUMNS": "100"})


def asked(folder: Path, text: str) -> Path:
    path = folder / "question.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ground = ground_of_pack("jp-gov")
    yield ground
    ground.engine.close()


@pytest.fixture(scope="module")
def decider(ground: Ground) -> Decider:
    return Decider(ground.parts, ground.engine)


@pytest.fixture(scope="module")
def scenarios() -> tuple[Scenario, ...]:
    return read_scenarios(pack_folder("jp-gov") / "scenarios")


# --- the documentation


def test_the_documentation_has_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize(("effect", "codes", "text"), examples())
def test_examples_of_the_documentation_are_decided_as_it_says(
    effect: str, codes: str, text: str, tmp_path: Path
) -> None:
    result = zt(asked(tmp_path, text), "--pack", "jp-gov", "--json")

    decision = json.loads(result.stdout)["decision"]
    assert (decision["effect"], decision["reasons"]) == (effect, codes.split())
    assert result.exit_code == (0 if effect in ("allow", "observe") else 1)


def test_a_question_in_json_is_decided_like_the_same_in_yaml(tmp_path: Path) -> None:
    question = {
        "request": {"method": "GET", "url": "https://portal.ministry.example/cases/123"},
        "subject": {"id": "nobody-\u7530\u4e2d", "groups": [], "acr": "", "amr": []},
    }
    path = tmp_path / "question.json"
    answers = []
    for text in (json.dumps(question, indent="\t"), json.dumps(question, ensure_ascii=False)):
        path.write_text(text, encoding="utf-8")
        answers.append(zt(path, "--pack", "jp-gov", "--json"))
    answers.append(zt(asked(tmp_path, yaml.safe_dump(question)), "--pack", "jp-gov", "--json"))

    found = [json.loads(answer.stdout)["decision"] for answer in answers]
    assert found[0] == found[1] == found[2]
    assert found[0]["effect"] == "deny"


# --- the explanation


def test_every_point_of_every_scenario_is_accounted_for(decider: Decider, scenarios: tuple[Scenario, ...]) -> None:
    explained = [decider.decide(scenario.question) for scenario in scenarios]
    itemised = [one for one in explained if one.trust is not None]

    assert len(itemised) > 100
    for one in itemised:
        parts = [item.contribution for item in one.trust.items] + [move.points for move in one.trust.adjustments]
        assert sum(parts) == one.trust.score.exact
        assert one.trust.score.score == one.document.trust.score
        assert (one.trust.score.best, one.trust.score.after_step_up) == (
            one.document.trust.best,
            one.document.trust.after_step_up,
        )


def test_a_policy_input_by_itself_is_decided_like_the_question_it_came_from(
    decider: Decider, scenarios: tuple[Scenario, ...]
) -> None:
    """What the log keeps is enough to decide again."""
    differing = []
    for scenario in scenarios:
        explained = decider.decide(scenario.question)
        if explained.document is None:
            continue
        again = decider.decide_input(explained.document)
        if (again.decision, again.layers, again.raw) != (explained.decision, explained.layers, explained.raw):
            differing.append(scenario.en)

    assert differing == []


def test_a_freeze_is_in_the_input_and_in_every_point_so_that_what_is_logged_is_decided_the_same(
    decider: Decider, scenarios: tuple[Scenario, ...]
) -> None:
    differing, frozen = [], 0
    for scenario in scenarios:
        question = scenario.question
        freeze = {"since": question.at - 600, "until": question.at + 600, "max_label": "C2"}
        question = msgspec.structs.replace(question, situation={**question.situation, "freeze": freeze})
        explained = decider.decide(question)
        if explained.document is None or explained.trust is None or explained.trust.facts_as_of is None:
            continue
        frozen += 1
        again = decider.decide_input(explained.document)
        found = (again.decision, again.raw, explained.trust.score.exact // POINT)
        if found != (explained.decision, explained.raw, explained.document.trust.score):
            differing.append(scenario.en)

    assert frozen
    assert differing == []


def test_the_fixes_that_are_named_lift_the_score(decider: Decider, scenarios: tuple[Scenario, ...]) -> None:
    low = [decider.decide(s.question) for s in scenarios if "TRUST_LOW" in s.expect.get("reasons", ())]
    nameable = [one for one in low if one.trust is not None and one.trust.score.best >= one.decision.threshold]

    assert nameable
    assert all(one.fixes for one in nameable)


def test_a_request_that_never_reaches_policy_is_explained_by_its_code(decider: Decider, tmp_path: Path) -> None:
    crafted = 'subject: tanaka\ndevice: healthy_laptop\nrequest: {url: "https://portal.ministry.example/a/..%2fb"}\n'

    result = zt(asked(tmp_path, crafted), "--pack", "jp-gov")

    assert result.exit_code == 1
    assert "PATH_AMBIGUOUS" in result.stdout


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_report_says_every_reason_with_its_remedy(language: str, ground: Ground, tmp_path: Path) -> None:
    path = asked(tmp_path, f"subject: tanaka\ndevice: stale_laptop\n{CASE}")

    result = zt(path, "--pack", "jp-gov", "--lang", language)

    reasons = ground.parts.bundle.reasons
    for code in ("REPORT_STALE", "REPORT_INCOMPLETE"):
        assert code in result.stdout
        assert getattr(reasons[code], language) in result.stdout
        assert getattr(reasons[code], f"hint_{language}") in result.stdout


@pytest.mark.parametrize("language", ["ja", "en"])
def test_no_number_is_cut_at_eighty_columns(language: str, tmp_path: Path) -> None:
    path = asked(tmp_path, f"subject: tanaka\ndevice: stale_laptop\n{CASE}")
    words = ["decide", str(path), "--pack", "jp-gov", "--lang", language]

    result = CliRunner().invoke(app, words, env={"COLUMNS": "80"})

    assert "attested_hw" in result.stdout
    items = [line for line in result.stdout.splitlines() if re.search(r"\d+%", line)]
    assert len(items) == 20
    assert all(re.search(r" \d+%\s+\d+\.\d\d/\d+\s+\d+\.\d\d *$", line) for line in items)


def test_brief_leaves_the_items_out_and_input_shows_what_rego_saw(tmp_path: Path) -> None:
    path = asked(tmp_path, f"subject: tanaka\ndevice: healthy_laptop\n{CASE}")

    full, brief, document = (zt(path, "--pack", "jp-gov", *more) for more in ((), ("--brief",), ("--brief", "--input")))

    assert full.exit_code == brief.exit_code == document.exit_code == 0
    assert "disk encryption" in full.stdout
    assert "disk encryption" not in brief.stdout
    shown = json.loads(document.stdout[document.stdout.index("\n{") :])
    assert (shown["version"], shown["device"]["id"]) == (1, "laptop-1")


# --- bad files


BAD = [
    ("subject: tanka\n" + CASE, 1, "SCENARIO_MALFORMED", "did you mean `tanaka`"),
    ("subject: tanaka\ndevice:\n  like: healthy_laptop\n  fcts: {}\n" + CASE, 4, "SCENARIO_MALFORMED", "`facts`"),
    ("subject: tanaka\nrequest:\n  method: GET\n", 2, "SCENARIO_MALFORMED", "whole URL"),
    ("subject: tanaka\n" + CASE + "at: tomorrow\n", 3, "SCENARIO_MALFORMED", "instant with its offset"),
    ("subject: tanaka\n" + CASE + "binding: rope\n", 3, "SCENARIO_MALFORMED", "`binding` is one of"),
    ("subject: [tanaka\n", 2, "DECIDE_SYNTAX", ""),
    ("subject: tanaka\nsubject: sato\n" + CASE, 2, "DECIDE_SYNTAX", ""),
    ("- subject\n", 1, "SCENARIO_MALFORMED", "no mapping"),
    ("trust: {}\nresource: {}\n", 1, "DECIDE_INPUT", "missing required field"),
]


@pytest.mark.parametrize(("text", "line", "code", "says"), BAD)
def test_a_bad_file_is_refused_with_its_line(text: str, line: int, code: str, says: str, tmp_path: Path) -> None:
    path = asked(tmp_path, text)

    result = zt(path, "--pack", "jp-gov")

    assert result.exit_code == 2
    assert f"{path}:{line}: {code}" in result.stderr
    assert says in result.stderr


def test_a_wrong_type_in_a_policy_input_is_named_with_its_line(tmp_path: Path) -> None:
    question = asked(tmp_path, f"subject: tanaka\ndevice: healthy_laptop\n{CASE}")
    document = json.loads(zt(question, "--pack", "jp-gov", "--json").stdout)["input"]
    document["device"]["report_age"] = "yesterday"
    path = tmp_path / "input.json"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "report_age" in text)

    result = zt(path, "--pack", "jp-gov")

    assert result.exit_code == 2
    assert f"{path}:{line}: DECIDE_INPUT" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--pack", "nope"), "PACK_UNKNOWN"),
        (("--config", "nope.toml"), "CONFIG_UNREADABLE"),
    ],
)
def test_a_policy_that_is_not_there_is_named(words: tuple[str, ...], code: str, tmp_path: Path) -> None:
    result = zt(asked(tmp_path, f"subject: tanaka\n{CASE}"), *words)

    assert result.exit_code == 2
    assert code in result.stderr


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    odd = tmp_path / "odd.yaml"
    odd.write_bytes(b"\xff\xfe")

    missing, unreadable = zt(tmp_path / "nope.yaml", "--pack", "jp-gov"), zt(odd, "--pack", "jp-gov")

    assert (missing.exit_code, unreadable.exit_code) == (2, 2)
    assert "DECIDE_FILE" in missing.stderr
    assert "DECIDE_SYNTAX" in unreadable.stderr


# --- an installation


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    sandbox = Sandbox(tmp_path / "site")
    person = {"groups": ["staff"], "org": "m/na1", "nationality": "JPN", "employment": "regular", "clearance": 300}
    sandbox.subject("mori", **person, compartments=["case:123"])
    sandbox.device("laptop-9", assigned=["mori"], facts=HEALTHY)
    return sandbox


def at(sandbox: Sandbox, question: str) -> dict:
    result = zt(asked(sandbox.folder, question), "--config", sandbox.config, "--json")
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)


def test_an_installation_answers_about_its_own_people_and_devices(sandbox: Sandbox) -> None:
    answer = at(sandbox, f"subject: mori\ndevice: laptop-9\n{CASE}")

    assert answer["decision"]["effect"] == "allow"
    assert answer["input"]["subject"]["acr"] == "phrh"
    assert answer["input"]["device"]["assigned"] is True


def test_an_installation_answers_in_its_present_situation(sandbox: Sandbox) -> None:
    sandbox.situation(threat_level=2, revocations=[{"kind": "device", "key": "laptop-9", "until": None}])

    revoked = at(sandbox, f"subject: mori\ndevice: laptop-9\n{CASE}")
    without = at(sandbox, f"subject: mori\n{CASE}")

    assert revoked["decision"]["reasons"] == ["DEVICE_REVOKED"]
    assert without["input"]["situation"]["threat_level"] == 2


def test_a_record_ages_towards_the_time_that_is_asked_about(sandbox: Sandbox) -> None:
    when = datetime.fromtimestamp(sandbox.now + 2 * 86400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    answer = at(sandbox, f"subject: mori\ndevice: laptop-9\n{CASE}at: {when}\n")

    assert "REPORT_STALE" in answer["decision"]["reasons"]


def test_a_bundle_that_the_sidecar_would_refuse_is_refused(sandbox: Sandbox) -> None:
    bundle = sandbox.folder / "policy" / "bundle.tar.gz"
    bundle.write_bytes(bundle.read_bytes()[:-100])

    result = zt(asked(sandbox.folder, f"subject: mori\n{CASE}"), "--config", sandbox.config)

    assert result.exit_code == 2
    assert "BUNDLE_" in result.stderr
    assert "bundle.tar.gz" in result.stderr
