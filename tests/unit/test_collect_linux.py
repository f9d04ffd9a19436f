"""Every machine there is gives facts of the catalogue, and what is not seen is never a good value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from device_inventory.claims import read_helper_claims
from device_inventory.collectors import linux
from device_inventory.collectors.linux import FACTS, HELPER_FACTS, SLOW_FACTS, boot_id, collect, slow_stamp
from device_inventory.collectors.machine import Collected
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import CATALOGUE, STATUSES, badness
from device_inventory.notice import allowed
from tests.device_trees import NOW, TREES, Tree, micro_vm, plain_debian, ubuntu_luks

SCOPES = ("user", "root")


def claims(found: dict[str, Collected]) -> dict[str, object]:
    facts = {
        name: {
            "status": fact.status,
            "value": list(fact.value) if isinstance(fact.value, tuple) else fact.value,
            "collected_at": NOW,
        }
        for name, fact in found.items()
    }
    return {"facts": facts}


def test_the_collector_sends_what_the_notice_says_and_nothing_else() -> None:
    assert allowed("corp") == FACTS


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", TREES)
def test_every_tree_gives_facts_of_the_catalogue_with_the_right_types(name: str, scope: str, tmp_path: Path) -> None:
    found = collect(TREES[name](tmp_path).machine(), scope=scope, slow=True)

    assert found.keys() <= CATALOGUE.keys()
    assert all(
        fact.status in STATUSES and (fact.value is None) is (fact.status != "observed") for fact in found.values()
    )
    # What takes a report in reads it as strictly.
    assert read_helper_claims(claims(found)).unknown == ()


@pytest.mark.parametrize("name", TREES)
def test_no_look_fails_in_a_way_nobody_thought_of(name: str, tmp_path: Path) -> None:
    found = collect(TREES[name](tmp_path).machine(), slow=True)

    assert {fact: answer.detail for fact, answer in found.items() if "failed with" in answer.detail} == {}


def test_a_user_answers_every_fact_and_root_those_of_the_machine(tmp_path: Path) -> None:
    machine = plain_debian(tmp_path).machine()

    assert collect(machine, slow=True).keys() == FACTS
    assert collect(machine).keys() == FACTS - SLOW_FACTS
    assert collect(machine, scope="root", slow=True).keys() == HELPER_FACTS | {
        "agent.version",
        "agent.hash",
        "collector_scope",
    }


def test_a_machine_with_nothing_shows_nothing_good(tmp_path: Path) -> None:
    tree = TREES["nothing"](tmp_path)
    good = {
        name: fact.value
        for name, fact in collect(tree.machine(), slow=True).items()
        if badness(name, fact.value) == 0 and name not in ("clock.synchronised", "clock.skew_s")  # the tree's own clock
    }

    assert good == {}


def test_a_micro_vm_is_no_error(tmp_path: Path) -> None:
    found = collect(micro_vm(tmp_path).machine())

    assert found["vm"] == Collected("observed", True)
    assert found["boot.secure_boot"].status == "not_supported"
    assert {name for name, fact in found.items() if fact.status == "error"} == set()


def test_a_look_that_raises_fails_for_its_own_facts_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(machine: object) -> dict[str, Collected]:
        raise ZeroDivisionError

    probes = tuple(replace(probe, look=fail) if "vm" in probe.facts else probe for probe in linux.PROBES)
    monkeypatch.setattr(linux, "PROBES", probes)
    found = collect(ubuntu_luks(tmp_path).machine())

    assert found["vm"] == Collected("error", None, "the collector failed with ZeroDivisionError")
    assert found["disk.encrypted"].value is True


@pytest.mark.parametrize("value", [1, "yes", 0.5, None, ("x",)])
def test_a_value_of_the_wrong_type_is_an_error(value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe(facts=("vm",), look=lambda machine: {"vm": Collected("observed", value)})
    monkeypatch.setattr(linux, "PROBES", (probe,))

    assert collect(Tree(tmp_path).machine())["vm"].status == "error"


def test_a_fact_the_look_did_not_answer_is_an_error_and_another_one_does_not_get_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(facts=("vm",), look=lambda machine: {"os.id": Collected("observed", "x")})
    monkeypatch.setattr(linux, "PROBES", (probe,))
    found = collect(Tree(tmp_path).machine())

    assert (found.keys(), found["vm"].status) == ({"vm"}, "error")


def test_one_command_is_asked_once_a_pass(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    collect(tree.machine())

    assert tree.asked.count("units") == 1


def test_a_boot_has_a_name(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)

    assert boot_id(tree.machine()) == "6f0f5f0e-0000-4000-8000-000000000001"
    tree.file("/proc/sys/kernel/random/boot_id", "../../etc/passwd\n")
    with pytest.raises(NotObserved):
        boot_id(tree.machine())


def test_the_slow_lane_is_due_when_packages_or_lists_change(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    before = slow_stamp(tree.machine())
    os.utime(tree.place("/var/lib/dpkg/status"), (NOW, NOW))

    assert slow_stamp(tree.machine()) != before


def test_the_program_tells_itself_the_same_every_time(tmp_path: Path) -> None:
    first, second = (collect(Tree(tmp_path).machine())["agent.hash"].value for _ in range(2))

    assert first == second
    assert len(first) == 64


def test_the_documentation_names_every_fact_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "collectors.md").read_text(encoding="utf-8")
    section = page.split("\n## Facts\n", 1)[1].split("\n## ", 1)[0]

    assert {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")} == FACTS
