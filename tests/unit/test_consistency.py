"""Consistency: one machine has one boot at a time and counts upwards; two machines with one key take turns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.consistency import BOOTS_KEPT, TURNS_WINDOW, follow
from device_inventory.facts import CATALOGUE
from device_inventory.inventory import Device, Stream, publish
from device_inventory.operations import activate, release
from device_inventory.reports import ingest
from tests.unit.inventory_support import NOW, device, helper, report, reported

DISK = {"disk.encrypted": True}


def walk(*steps: tuple[str, int], apart: int = 900) -> list[str]:
    """What becomes of reports of these boots and sequences, one after another."""
    streams: tuple[Stream, ...] = ()
    held, said = 0, []
    for number, (boot_id, seq) in enumerate(steps):
        streams, step = follow(streams, held_seq=held, boot_id=boot_id, seq=seq, now=NOW + number * apart)
        held = seq if step == "next" else held
        said.append(step)
    return said


def test_one_machine_goes_on_over_its_boots() -> None:
    assert walk(("b1", 1), ("b1", 2), ("b2", 3), ("b3", 10)) == ["next"] * 4


def test_a_boot_heard_of_again_is_another_machine() -> None:
    assert walk(("b1", 1), ("b2", 2), ("b1", 3)) == ["next", "next", "cloned"]


def test_a_copy_that_lags_behind_is_found_when_the_original_goes_on() -> None:
    assert walk(("b1", 1), ("b1", 2), ("b2", 2), ("b1", 3)) == ["next", "next", "behind", "cloned"]


def test_a_machine_restored_from_a_backup_is_refused_once_and_goes_on() -> None:
    assert walk(("b1", 9), ("b2", 4), ("b2", 10), ("b2", 11)) == ["next", "behind", "next", "next"]


def test_an_answer_that_was_lost_is_no_clone() -> None:
    assert walk(("b1", 1), ("b1", 1), ("b1", 2), ("b1", 3)) == ["next", "behind", "next", "next"]


def test_an_agent_that_does_not_learn_is_no_clone() -> None:
    assert walk(("b1", 5), *[("b1", 5)] * 10)[1:] == ["behind"] * 10


def test_copies_that_share_a_boot_are_found_by_taking_turns() -> None:
    steps = [(("b1"), 1), ("b1", 1), ("b1", 2), ("b1", 2), ("b1", 3), ("b1", 3)]

    assert walk(*steps) == ["next", "behind", "next", "behind", "next", "cloned"]


def test_lost_answers_that_are_far_apart_are_no_clone() -> None:
    steps = [("b1", 1), ("b1", 1), ("b1", 2), ("b1", 2), ("b1", 3), ("b1", 3)]

    assert "cloned" not in walk(*steps, apart=TURNS_WINDOW)


@given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1]), st.integers(1, 50)), max_size=60))
def test_one_machine_that_counts_upwards_is_never_a_clone(steps: list[tuple[int, int]]) -> None:
    boot, seq, sent = 0, 0, []
    for reboots, more in steps:
        boot, seq = boot + reboots, seq + more
        sent.append((f"b{boot}", seq))

    assert set(walk(*sent)) <= {"next"}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), min_size=1, max_size=40))
def test_of_two_running_machines_one_is_found_when_the_first_is_heard_again(turns: list[tuple[bool, int]]) -> None:
    counters, sent = {False: 0, True: 0}, []
    for which, more in turns:
        counters[which] += more
        sent.append((f"boot-{which}", counters[which]))
    order = [boot for index, (boot, _) in enumerate(sent) if not index or sent[index - 1][0] != boot]

    assert ("cloned" in walk(*sent)) == (len(order) > 2)


def test_what_is_remembered_of_boots_is_bounded() -> None:
    streams: tuple[Stream, ...] = ()
    for number in range(1, 100):
        streams, _ = follow(streams, held_seq=number - 1, boot_id=f"b{number}", seq=number, now=NOW + number)

    assert len(streams) == BOOTS_KEPT


def cloned() -> Any:
    known = activate(reported(device(), DISK, at=NOW).device, now=NOW)
    known = reported(known, DISK, at=NOW + 60, boot_id="b2").device
    return reported(known, {"disk.encrypted": False}, at=NOW + 120, boot_id="b1")


def test_a_clone_puts_both_out_of_service() -> None:
    taken = cloned()

    assert taken.refusal.code == "DEVICE_CLONED"
    assert taken.changed
    assert taken.device.status == "quarantined"
    assert "DEVICE_CLONED" in taken.device.findings
    assert publish(taken.device, names=CATALOGUE, now=NOW + 120).status == "quarantined"
    assert taken.device.sources["agent"].facts["disk.encrypted"].value is True


def test_a_clone_that_goes_on_reporting_changes_nothing_more() -> None:
    first = cloned()

    again = reported(first.device, DISK, at=NOW + 180, boot_id="b1")
    original = reported(again.device, DISK, at=NOW + 240, boot_id="b2")

    assert not again.changed
    assert original.refusal is None
    assert "DEVICE_CLONED" in original.device.findings
    assert original.device.status == "quarantined"


def test_somebody_who_looked_may_release_it() -> None:
    released = release(cloned().device, now=NOW + 300, reason="the copy was destroyed")

    assert released.status == "active"
    assert released.findings == ()
    assert reported(released, DISK, at=NOW + 360, boot_id="b2").refusal is None


def test_after_a_release_whichever_machine_remains_goes_on_and_the_other_is_found_again() -> None:
    released = release(cloned().device, now=NOW + 300, reason="the copy was destroyed")

    original = reported(released, DISK, at=NOW + 360, boot_id="b1")
    copy = reported(original.device, DISK, at=NOW + 420, boot_id="b2")
    again = reported(copy.device, DISK, at=NOW + 480, boot_id="b1")

    assert original.refusal is None
    assert again.refusal is not None
    assert again.refusal.code == "DEVICE_CLONED"


def registered() -> Device:
    known = reported(device(), DISK, at=NOW, signed={"device.serial_hash": "a" * 64, "device.model": "X1"}).device
    return activate(known, now=NOW)


def test_the_hardware_is_registered_by_the_first_who_names_it() -> None:
    known = registered()

    assert (known.serial_hash, known.model) == ("a" * 64, "X1")
    same = reported(known, DISK, at=NOW + 60, signed={"device.serial_hash": "a" * 64, "device.model": "X1"})
    assert same.device.findings == ()


def test_another_serial_number_is_another_machine() -> None:
    taken = reported(registered(), DISK, at=NOW + 60, signed={"device.serial_hash": "b" * 64})

    assert taken.device.status == "quarantined"
    assert taken.changed
    assert "REGISTRATION_DRIFT" in taken.device.findings
    assert taken.device.serial_hash == "a" * 64


def test_sidecars_that_read_no_serial_number_are_told_of_the_quarantine_all_the_same() -> None:
    names = ["disk.encrypted"]
    known = ingest(registered(), report(DISK, seq=2, at=NOW + 30), now=NOW + 30, names=names).device

    taken = ingest(
        known,
        report(DISK, seq=3, at=NOW + 60),
        helper=helper({"device.serial_hash": "b" * 64}, at=NOW + 60),
        now=NOW + 60,
        names=names,
    )

    assert taken.changed
    assert taken.device.version == known.version + 1


def test_another_model_is_told_and_no_more() -> None:
    taken = reported(registered(), DISK, at=NOW + 60, signed={"device.model": "X2"})

    assert taken.device.status == "active"
    assert "REGISTRATION_DRIFT" in taken.device.findings
    assert taken.device.model == "X1"


def test_new_hardware_that_somebody_looked_at_is_registered_anew() -> None:
    moved = reported(registered(), DISK, at=NOW + 60, signed={"device.serial_hash": "b" * 64}).device

    released = release(moved, now=NOW + 120, reason="new mainboard")
    taken = reported(released, DISK, at=NOW + 180, signed={"device.serial_hash": "b" * 64})

    assert taken.device.status == "active"
    assert taken.device.serial_hash == "b" * 64


@pytest.mark.parametrize("name", ["device.serial_hash", "device.model"])
def test_what_cannot_be_read_any_more_is_no_drift(name: str) -> None:
    taken = reported(registered(), DISK, at=NOW + 60, signed={name: None})

    assert "REGISTRATION_DRIFT" not in taken.device.findings
