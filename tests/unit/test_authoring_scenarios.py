"""Scenarios are read strictly, put to the decision path as written, and compared member by member."""

from __future__ import annotations

from pathlib import Path

import pytest

from zt_engine.authoring.rehearsal import Rehearsed, compare, failures, rehearse
from zt_engine.authoring.scenarios import Question, Scenario, read_scenarios
from zt_engine.core.errors import ConfigError, InputError

FIXTURES = """\
defaults:
  at: 2026-11-20T10:00:00+09:00
  request: {client_ip: 192.0.2.10, channel: open}
subjects:
  tanaka: {type: user, id: tanaka, groups: [staff], auth_age: 120}
  tanaka_later: {like: tanaka, auth_age: 9000}
  bot: {type: workload, id: bot}
  tanaka_via_bot: {like: tanaka_later, delegate: bot}
devices:
  laptop: {id: laptop-1, key: dpop, facts: {disk.encrypted: true, os.supported: true}}
  open_laptop: {like: laptop, facts: {disk.encrypted: {value: false, age: 60}}}
  nothing: none
situations:
  calm: {threat_level: 0}
  storm: {like: calm, threat_level: 3}
"""
TABLE = """\
scenarios:
  - name: {ja: 読める, en: may read}
    source: A7
    subject: tanaka
    device: laptop
    request: {method: GET, url: "https://portal.example/a"}
    expect: {effect: allow, reasons: [], obligations: [no_store]}
"""


def read(root: Path, table: str = TABLE, fixtures: str | None = FIXTURES) -> tuple[Scenario, ...]:
    (root / "table.yaml").write_text(table)
    if fixtures is not None:
        (root / "_fixtures.yaml").write_text(fixtures)
    return read_scenarios(root)


def question(root: Path, **lines: str) -> Question:
    """The question of the one scenario with some of its lines replaced."""
    table = TABLE
    for key, value in lines.items():
        kept = [line for line in table.splitlines() if not line.startswith(f"    {key}:")]
        table = "\n".join([*kept, f"    {key}: {value}", ""])
    return read(root, table)[0].question


def faults(root: Path, table: str = TABLE, fixtures: str = FIXTURES) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(root, table, fixtures)
    assert {problem.code for problem in caught.value.problems} == {"SCENARIO_MALFORMED"}
    return [(problem.where.removeprefix(f"{root}/"), problem.message) for problem in caught.value.problems]


def test_names_likes_and_defaults_come_to_one_complete_question(tmp_path: Path) -> None:
    asked = question(tmp_path, subject="tanaka_via_bot", device="open_laptop", situation="storm")

    assert asked.subject == {"type": "user", "id": "tanaka", "groups": ["staff"], "auth_age": 9000, "delegate": "bot"}
    assert asked.delegate == {"type": "workload", "id": "bot"}
    assert asked.device == {
        "id": "laptop-1",
        "key": "dpop",
        "facts": {"disk.encrypted": {"value": False, "age": 60}, "os.supported": True},
    }
    assert asked.binding == "dpop"
    assert asked.request == {
        "client_ip": "192.0.2.10",
        "channel": "open",
        "method": "GET",
        "url": "https://portal.example/a",
    }
    assert asked.situation == {"threat_level": 3}
    assert asked.at == 1_795_136_400
    assert asked.where == f"{tmp_path}/table.yaml:2"


@pytest.mark.parametrize(
    ("device", "binding"), [("none", "none"), ("nothing", "none"), ("laptop", "dpop"), ("{id: x}", "none")]
)
def test_a_token_is_bound_to_the_devices_key_if_there_is_one(tmp_path: Path, device: str, binding: str) -> None:
    assert question(tmp_path, device=device).binding == binding


def test_a_binding_that_is_written_down_wins(tmp_path: Path) -> None:
    assert question(tmp_path, binding="none").binding == "none"


def test_inline_entries_may_be_like_named_ones(tmp_path: Path) -> None:
    asked = question(tmp_path, subject="{like: tanaka, groups: []}", at="2026-11-20T10:00:05Z")

    assert asked.subject["groups"] == []
    assert asked.at == 1_795_168_805


def test_a_table_needs_no_fixtures(tmp_path: Path) -> None:
    table = TABLE.replace("subject: tanaka", "subject: {type: user, id: x}").replace(
        "device: laptop", "at: 2026-11-20T10:00:00Z"
    )

    assert read(tmp_path, table, None)[0].question.device is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("subject: tanaka", "subject: tanka", "there is no `tanka`"),
        ("subject: tanaka", "subject: none", "`subject` is a subject"),
        ("subject: tanaka", "subject: {like: bot, grops: []}", "unknown key `grops`"),
        ("device: laptop", "device: {id: x, facts: {a.b: {vale: 1}}}", "fact `a.b`: unknown key `vale`"),
        ("device: laptop", "divice: laptop", "unknown key `divice`"),
        ("device: laptop", "binding: tls", "`binding` is one of"),
        ("source: A7", "at: 2026-11-20", "`at` is an instant"),
        ("source: A7", "situation: {overlay: []}", "unknown key `overlay`"),
        ("https://portal.example/a", "/a", "whole URL"),
        ("effect: allow", "effect: permit", "`expect.effect`"),
        ("effect: allow, ", "", "`expect.effect`"),
        ("reasons: []", "reasons: MFA", "`expect.reasons`"),
        ("reasons: []", "reason: []", "unknown key `reason`"),
        ("en: may read", "de: darf", "unknown key `de`"),
        (", en: may read", "", "`name` has"),
        ("scenarios:", "tests:", "one list `scenarios`"),
    ],
)
def test_a_typing_mistake_is_a_fault_at_the_scenarios_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TABLE
    (where, message), *_ = faults(tmp_path, TABLE.replace(old, new))

    assert where.startswith("table.yaml:")
    assert said in message


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("like: tanaka,", "like: nobody,", 6, "there is no `nobody`"),
        ("bot: {type: workload, id: bot}", "bot: {like: bot}", 7, "is like itself"),
        ("like: laptop,", "like: none,", 11, "`like` names another entry"),
        ("id: laptop-1,", "ident: laptop-1,", 10, "unknown key `ident`"),
    ],
)
def test_a_fault_of_a_fixture_is_reported_at_its_own_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert old in FIXTURES
    found = faults(tmp_path, fixtures=FIXTURES.replace(old, new, 1))

    assert any(where == f"_fixtures.yaml:{line}" and said in message for where, message in found), found


# -- running


def problem_of(root: Path, answer: Rehearsed, expect: str, language: str = "en") -> str:
    scenarios = read(root, TABLE.replace("{effect: allow, reasons: [], obligations: [no_store]}", expect))
    (row,) = rehearse(scenarios, lambda asked: answer, engine="fake", language=language)
    return str(row.problem or "")


ANSWER = Rehearsed(
    effect="deny", reasons=("B_B", "A_A"), obligations=("no_store", "max_age=60"), score=77, threshold=60
)


@pytest.mark.parametrize(
    "expect",
    [
        "{effect: deny}",
        "{effect: deny, reasons: [A_A, B_B]}",
        "{effect: deny, obligations: [max_age, no_store]}",
        '{effect: deny, obligations: [no_store, "max_age=60"]}',
        "{effect: deny, score: 77, threshold: 60}",
    ],
)
def test_only_what_is_named_is_compared_and_order_means_nothing(tmp_path: Path, expect: str) -> None:
    assert problem_of(tmp_path, ANSWER, expect) == ""


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{effect: allow}", "effect deny ([A_A, B_B]), expected allow"),
        ("{effect: deny, reasons: [A_A]}", "reasons [A_A, B_B], expected [A_A]"),
        ("{effect: deny, reasons: []}", "reasons [A_A, B_B], expected []"),
        ("{effect: deny, obligations: [no_store]}", "obligations [max_age, no_store], expected [no_store]"),
        ('{effect: deny, obligations: [no_store, "max_age=61"]}', "obligations [max_age, no_store], expected"),
        ("{effect: deny, score: 78}", "score 77, expected 78"),
    ],
)
def test_what_differs_is_said_at_the_scenarios_line(tmp_path: Path, expect: str, said: str) -> None:
    problem = problem_of(tmp_path, ANSWER, expect)

    assert problem.startswith(f"{tmp_path}/table.yaml:2: SCENARIO_FAILED: may read: ")
    assert said in problem


def test_a_failure_has_the_readers_language(tmp_path: Path) -> None:
    assert "読める" in problem_of(tmp_path, ANSWER, "{effect: allow}", "ja")


def test_a_question_that_cannot_be_put_is_a_fault_of_the_scenario(tmp_path: Path) -> None:
    def refuse(asked: Question) -> Rehearsed:
        raise InputError("DEVICE_RECORD_VALUE", "no such status")

    (row,) = rehearse(read(tmp_path), refuse, engine="fake")

    assert row.answer is None
    assert row.problem is not None
    assert (row.problem.code, "DEVICE_RECORD_VALUE" in row.problem.message) == ("SCENARIO_MALFORMED", True)


def test_what_goes_wrong_alike_is_told_once_with_both_engines(tmp_path: Path) -> None:
    scenarios = read(tmp_path)
    one, other = (rehearse(scenarios, lambda asked: Rehearsed(effect="deny"), engine=name) for name in ("wasm", "opa"))

    found = failures([one, other])

    assert len(found) == len(scenarios)
    assert all(problem.message.endswith(" (wasm, opa)") for problem in found)


def test_two_engines_that_answer_differently_are_reported_even_if_nothing_else_is_wrong(tmp_path: Path) -> None:
    scenarios = read(tmp_path, TABLE.replace(", reasons: [], obligations: [no_store]", ""))
    one = rehearse(scenarios, lambda asked: Rehearsed(effect="allow", score=1), engine="one")
    other = rehearse(scenarios, lambda asked: Rehearsed(effect="allow", score=2), engine="two")

    assert compare(one, one) == []
    assert [problem.code for problem in compare(one, other)] == ["ENGINES_DISAGREE"]
