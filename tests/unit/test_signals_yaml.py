"""`signals.yaml`: what is written is what the rules are, and every fault has its line and a way out."""

from __future__ import annotations

import pytest

from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.core.errors import ConfigError
from zt_engine.core.signals import Risk, Switch

SWITCH = """\
switches:
  - id: burst
    signal: login_failures
    scope: subject
    enter: 10
    exit: 2
    samples: 3
    effects: [acr:phr, "obligation:no_download"]
    dwell: 20m
    hold: 1h
    ttl: 2h
    severity: warning
"""
RISK = """\
risks:
  - id: user-risk
    signal: user_risk
    scope: subject
    gate: [deny]
"""


def test_rules_are_read_as_they_are_written() -> None:
    rules = load_signals(SWITCH + RISK, where="signals.yaml")

    assert rules.get("burst") == Switch(
        id="burst", signal="login_failures", scope="subject", enter=10, exit=2, samples=3,
        effects=("acr:phr", "obligation:no_download"), dwell=1200, hold=3600, ttl=7200, severity="warning",
    )  # fmt: skip
    assert rules.get("user-risk") == Risk(id="user-risk", signal="user_risk", scope="subject", gate=("deny",))


def test_a_switch_may_watch_levels() -> None:
    rule = load_signals(SWITCH.replace("enter: 10", "enter: high").replace("exit: 2", "exit: low"), where="").get(
        "burst"
    )

    assert isinstance(rule, Switch)
    assert (rule.levels, rule.enter, rule.exit) == (True, 3, 1)


@pytest.mark.parametrize("effect", ["acr:phr", "threshold:+20", "report_age:3600", "obligation:no_download"])
def test_everybody_may_be_asked_for_more_by_a_switch(effect: str) -> None:
    written = SWITCH.replace('acr:phr, "obligation:no_download"', f'"{effect}"').replace("subject", "tenant")

    assert len(load_signals(written, where="signals.yaml")) == 1


@pytest.mark.parametrize(
    ("text", "code", "line", "hint"),
    [
        (SWITCH.replace("samples", "sampels"), "SIGNALS_UNKNOWN_KEY", 7, "did you mean `samples`?"),
        (SWITCH + "rules: []\n", "SIGNALS_UNKNOWN_KEY", 13, "risks"),
        (SWITCH.replace("    exit: 2\n", ""), "SIGNALS_MISSING", 2, "again and again"),
        (SWITCH.replace("exit: 2", "exit: 10"), "SIGNALS_VALUE", 6, ""),
        (SWITCH.replace("exit: 2", "exit: low"), "SIGNALS_VALUE", 6, ""),
        (SWITCH.replace("enter: 10", "enter: severe").replace("exit: 2", "exit: low"), "SIGNALS_VALUE", 5, ""),
        (SWITCH.replace("scope: subject", "scope: group"), "SIGNALS_VALUE", 4, ""),
        (SWITCH.replace("acr:phr", "allow"), "SIGNALS_VALUE", 8, "deny, ceiling:R"),
        (SWITCH.replace("dwell: 20m", "dwell: 5m"), "SIGNALS_VALUE", 9, ""),
        (SWITCH.replace("hold: 1h", "hold: 29m"), "SIGNALS_VALUE", 10, ""),
        (SWITCH.replace("ttl: 2h", "ttl: 73h"), "SIGNALS_VALUE", 11, ""),
        (SWITCH.replace("ttl: 2h", "ttl: 120"), "SIGNALS_VALUE", 11, ""),
        (RISK.replace("    gate: [deny]\n", ""), "SIGNALS_MISSING", 2, ""),
        (SWITCH.replace("acr:phr", "deny").replace("subject", "tenant"), "SIGNALS_WIDE", 8, "by hand"),
        (SWITCH.replace("acr:phr", "ceiling:0").replace("subject", "service"), "SIGNALS_WIDE", 8, "by hand"),
        (SWITCH.replace("acr:phr", "threshold:+21").replace("subject", "tenant"), "SIGNALS_WIDE", 8, "by hand"),
        (SWITCH.replace("acr:phr", "report_age:3599").replace("subject", "service"), "SIGNALS_WIDE", 8, "by hand"),
        (RISK.replace("deny", "acr:phr").replace("subject", "tenant"), "SIGNALS_WIDE", 4, "by hand"),
        (RISK.replace("deny", "acr:phr").replace("subject", "service"), "SIGNALS_WIDE", 4, "by hand"),
        (RISK + SWITCH.replace("id: burst", "id: user-risk"), "SIGNALS_DUPLICATE", 7, ""),
        (RISK.replace("[deny]", '["acr:a", "acr:b", "acr:c", "acr:d", "acr:e"]'), "SIGNALS_VALUE", 5, ""),
        (
            "risks:\n" + "".join(f"  - {{id: r{n}, signal: s, scope: subject, gate: [deny]}}\n" for n in range(101)),
            "SIGNALS_VALUE",
            1,
            "at most 100",
        ),
        ("switches: [a]\n", "SIGNALS_VALUE", 1, ""),
        ("risks: &a []\n", "YAML_SYNTAX", 1, ""),
    ],
)
def test_a_fault_has_its_line_and_a_way_out(text: str, code: str, line: int, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_signals(text, where="signals.yaml")

    problem = raised.value.problems[0]
    assert problem.hint or not code.startswith("SIGNALS")
    assert (problem.code, problem.where) == (code, f"signals.yaml:{line}")
    assert hint in problem.hint + problem.message
