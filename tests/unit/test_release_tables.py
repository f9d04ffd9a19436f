"""What `zt policy history` and `zt policy status` print: the release in force, and who lags since when and why."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from zt_engine.cli.release_tables import show_history, show_status, state_of

NOW = 1_800_000_000


def release(seq: int, state: str = "released", **members: Any) -> dict[str, Any]:
    base = {
        "seq": seq, "state": state, "revision": f"corp-{seq}", "author": "tanaka", "released_at": NOW - 100,
        "not_after": NOW + 86_400, "settled": True, "why": "",
    }  # fmt: skip
    return base | members


def states(*found: dict[str, Any], active: int) -> list[str]:
    standing = next((one["seq"] for one in found if one["state"] == "released" and one["settled"]), 0)
    return [state_of(one, active=active, standing=standing, now=NOW) for one in found]


def test_the_newest_release_is_in_force_and_those_before_it_are_replaced() -> None:
    found = states(release(4, "waiting"), release(3), release(2, "rolled_back"), release(1), active=3)

    assert found == ["waiting", "in_force", "rolled_back", "replaced"]


def test_what_goes_out_by_rings_leaves_the_one_before_it_in_force() -> None:
    assert states(release(3, settled=False), release(2), release(1), active=3) == ["going_out", "in_force", "replaced"]


def test_the_first_one_that_goes_out_has_nothing_before_it() -> None:
    assert states(release(1, settled=False), active=1) == ["going_out"]


def test_a_release_whose_end_has_passed_is_in_force_no_more() -> None:
    assert states(release(1, not_after=NOW - 1), active=1) == ["ended"]


def test_the_history_marks_one_release_and_says_why_others_ended() -> None:
    printed = Console(file=io.StringIO(), width=200)
    refused = release(3, "refused", why="RELEASE_SUPERSEDED", released_at=None)
    show_history(printed, [refused, release(2), release(1)], "en", active=2, now=NOW)
    text = printed.file.getvalue()  # type: ignore[attr-defined]

    assert [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")] == ["3", "* 2", "1"]
    assert "RELEASE_SUPERSEDED" in text


@pytest.mark.parametrize(("language", "words"), [("en", ("lag behind: 3", "disconnected 2", "refused 1")),
                                                 ("ja", ("未適用: 3", "切断 2", "不採用 1"))])  # fmt: skip
def test_who_lags_is_counted_by_reason_and_told_one_a_row(
    capsys: pytest.CaptureFixture[str], language: Any, words: tuple[str, ...]
) -> None:
    def missing(name: str, why: str, **members: Any) -> dict[str, Any]:
        base = {"name": name, "kind": "sidecar", "since": NOW - 60, "why": why, "refusals": [], "has": "1"}
        return base | {"seen_at": NOW - 600} | members

    told = {
        "seq": 2, "state": "released", "revision": "corp-2", "has": [{"name": "edge-1"}], "later": [], "rollout": None,
        "missing": [
            missing("edge-2", "disconnected"), missing("edge-3", "disconnected", seen_at=0),
            missing("edge-4", "refused", refusals=["BUNDLE_SIGNATURE"]),
        ],
    }  # fmt: skip
    printed = Console(file=io.StringIO(), width=200)
    count = show_status(printed, told, language, active=2)
    table = printed.file.getvalue()  # type: ignore[attr-defined]
    rows = {line.split("│")[1].strip(): line for line in table.splitlines() if line.startswith("│")}

    assert count == 3
    said = capsys.readouterr().out
    assert [word for word in words if word not in said] == []
    assert set(rows) == {"edge-2", "edge-3", "edge-4"}
    assert "2027-01-15 07:59Z" in rows["edge-2"]
    assert "2027-01-15 07:50Z" in rows["edge-2"]
    assert "BUNDLE_SIGNATURE" in rows["edge-4"]
