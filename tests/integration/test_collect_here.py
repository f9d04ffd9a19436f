"""The collectors on the machine these tests run on, whatever it is."""

from __future__ import annotations

import time

import pytest

from device_inventory.claims import read_helper_claims
from device_inventory.collectors.commands import COMMANDS, run_command
from device_inventory.collectors.linux import FACTS, HELPER_FACTS, SLOW_FACTS, boot_id, collect, slow_stamp
from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import CATALOGUE


@pytest.mark.parametrize("scope", ["user", "root"])
def test_this_very_machine_gives_facts_of_the_right_shape(scope: str) -> None:
    now = int(time.time())
    found = collect(Machine(now=now), scope=scope)
    claims = {
        name: {
            "status": fact.status,
            "value": list(fact.value) if isinstance(fact.value, tuple) else fact.value,
            "collected_at": now,
        }
        for name, fact in found.items()
    }

    assert found.keys() <= FACTS - SLOW_FACTS <= CATALOGUE.keys()
    assert read_helper_claims({"facts": claims}).facts.keys() == found.keys()
    assert not any("failed with" in fact.detail for fact in found.values())


def test_this_machine_runs_a_kernel_and_says_so() -> None:
    machine = Machine(now=int(time.time()))
    found = collect(machine)

    assert found["os.family"].value == "linux"
    assert found["kernel.release"].status == found["kernel.taint"].status == "observed"
    assert len(boot_id(machine)) == 36
    assert slow_stamp(machine) == slow_stamp(machine)
    assert HELPER_FACTS < FACTS


@pytest.mark.parametrize("name", sorted(name for name, command in COMMANDS.items() if not command.slow))
def test_every_command_answers_or_is_missing(name: str) -> None:
    """None of them hangs, asks for a password or fails in a way that was not thought of."""
    try:
        output = run_command(name)
    except NotObserved as reason:
        assert reason.status in ("not_collected", "error")
    else:
        assert isinstance(output.status, int)
