"""Names in overlays: what no released policy knows is refused where somebody writes it, since nobody could meet it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog.testing

from tests.control_support import NOW
from tests.publishing_support import Publishing
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.bootstrap.control_parts import read_signals
from zt_engine.config import ControlSettings
from zt_engine.control_plane.released_names import NAMES, ReleasedNames
from zt_engine.core.effect_names import EffectNames
from zt_engine.core.errors import ConfigError

OVERLAY = {"id": "o1", "scope": "tenant", "not_before": NOW, "not_after": NOW + 3600}
WRITTEN = """\
risks:
  - id: user-risk
    signal: user_risk
    scope: subject
    gate: [%s]
"""


@pytest.fixture
def control() -> Iterator[Publishing]:
    with Publishing() as one:
        yield one


@pytest.mark.parametrize(
    ("effect", "meant"),
    [("acr:phx", "did you mean `phr`?"), ("obligation:no_dowload", "did you mean `no_download`?")],
)
def test_a_name_that_no_released_policy_knows_is_refused_with_what_was_meant(
    control: Publishing, effect: str, meant: str
) -> None:
    path, record = "/v1/situation/overlays/o1", OVERLAY | {"effect": effect}
    before = control.call("PUT", path, record)
    control.call("DELETE", path)
    control.publish("1", who="security")
    control.announced()
    after = control.call("PUT", path, record)

    assert before.status_code == 200  # nothing is released, so no name is known to be wrong
    assert (after.status_code, after.json()["code"]) == (422, "OVERLAY_NAME")
    assert meant in after.json()["detail"]
    assert control.announced() == []


def test_a_name_that_nobody_knows_is_not_rolled_out_either(control: Publishing) -> None:
    control.publish("1", who="security")
    begun = {"kind": "overlay", "record": OVERLAY | {"effect": "acr:phx"}, "reason": "why", "plan": {}}
    plan = {"rings": [{"name": "all", "percent": 100}], "mode": "enforce"}
    answer = control.call("POST", "/v1/rollouts", begun | {"plan": plan})

    assert (answer.status_code, answer.json()["code"]) == (422, "OVERLAY_NAME"), answer.text


@pytest.mark.parametrize("effect", ["deny", "ceiling:100", "acr:phr", "obligation:no_download", "obligation:read_only"])
def test_a_name_that_is_known_is_declared(control: Publishing, effect: str) -> None:
    control.publish("1", who="security")

    assert control.call("PUT", "/v1/situation/overlays/o1", OVERLAY | {"effect": effect}).status_code == 200


def test_a_rule_about_signals_with_a_name_nobody_knows_has_its_file_refused(control: Publishing) -> None:
    control.publish("1", who="security")
    names = control.plane.extras[NAMES]
    assert isinstance(names, ReleasedNames)
    with control.store.reading("default") as tx:
        known = names.known(tx)

    assert len(load_signals(WRITTEN % '"acr:phr", "obligation:no_download"', where="", names=known)) == 1
    with pytest.raises(ConfigError) as refused:
        load_signals(WRITTEN % '"acr:phx", "obligation:no_dowload"', where="signals.yaml", names=known)
    assert [(one.code, one.where, one.hint) for one in refused.value.problems] == [
        ("SIGNALS_NAME", "signals.yaml:5", "did you mean `phr`?"),
        ("SIGNALS_NAME", "signals.yaml:5", "did you mean `no_download`?"),
    ]


def test_a_start_takes_names_that_a_release_took_away_and_says_so_and_sighup_refuses_them(
    control: Publishing, tmp_path: Path
) -> None:
    control.publish("1", who="security")
    (tmp_path / "signals.yaml").write_text(WRITTEN % '"acr:phx", "obligation:no_dowload"')
    settings = cast(
        "ControlSettings", SimpleNamespace(control=SimpleNamespace(signals="signals.yaml"), path=tmp_path.joinpath)
    )

    with pytest.raises(ConfigError):
        read_signals(settings, control.plane)
    with structlog.testing.capture_logs() as logged:
        assert len(read_signals(settings, control.plane, starts=True)) == 1
    assert [one["event"] for one in logged] == ["signals.unknown_name"] * 2


def test_a_duty_that_a_pack_names_itself_is_known() -> None:
    names = EffectNames(acrs=frozenset(), words=frozenset({"stamp_pages"}))

    rule = WRITTEN % '"obligation:stamp_pages"'

    assert len(load_signals(rule, where="", names=names)) == 1


def test_two_rules_of_one_id_are_reported_at_the_second() -> None:
    twice = (WRITTEN % "deny") + (WRITTEN % "deny").removeprefix("risks:\n")

    with pytest.raises(ConfigError) as refused:
        load_signals(twice, where="signals.yaml")
    assert [(one.code, one.where) for one in refused.value.problems] == [("SIGNALS_DUPLICATE", "signals.yaml:6")]
