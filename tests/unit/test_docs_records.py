"""The records, the catalogue and the rule that the documentation shows are read by the code that reads real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.bootstrap.installation import DEVICE_EXAMPLE, SUBJECT_EXAMPLE
from zt_engine.control_plane.api.signals import Batch
from zt_engine.core.signals import Signal, begin, check, effects, penalty, take

DOCS = Path(__file__).resolve().parents[2] / "docs"


def shown(page: str, kind: str) -> bytes:
    """The one block of a page that is marked with this kind."""
    (found,) = re.findall(rf"```(?:json|yaml) {kind}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return found.encode()


def test_the_device_that_is_shown_is_a_device() -> None:
    device = decode_device(shown("records.md", "device"), where="docs/records.md")

    assert (device.device_id, device.status, device.facts["disk.encrypted"].value) == ("laptop-17", "active", True)


def test_the_person_that_is_shown_is_a_person() -> None:
    subject = decode_subject(shown("records.md", "subject"), where="docs/records.md")

    assert (subject.id, subject.clearance, subject.compartments) == ("tanaka", 200, ("case:123",))


def test_the_situation_that_is_shown_is_in_force() -> None:
    situation = decode_situation(shown("records.md", "situation"), where="docs/records.md")

    assert (situation.threat_level, [item.id for item in situation.overlays]) == (1, ["incident-42"])
    assert situation.is_revoked("device", "laptop-17", now=1_900_000_000)


def test_the_rules_that_are_shown_take_the_signals_that_are_shown() -> None:
    rules = load_signals(shown("situation.md", "signals"), where="docs/situation.md")
    batch = Batch.model_validate_json(shown("situation.md", "signal"))

    assert len(rules) == 3
    taken = {}
    for one in batch.signals:
        signal = Signal(id=one.id, kind=one.kind, at=one.at, principal=one.principal, level=one.level, value=one.value)
        (rule,) = rules.of(signal)
        check(rule, signal, now=one.at)
        taken[rule.id] = effects(rule, take(rule, begin(rule), signal, now=one.at), now=one.at)
    assert taken == {
        "device-risk": ("threshold:+60", "ceiling:0", "obligation:no_download"),
        "login-burst": ("acr:phr", "obligation:notify_owner"),
    }


@pytest.mark.parametrize("level", ["low", "medium"])
def test_the_steps_that_are_shown_are_those_of_the_rules(level: str) -> None:
    (row,) = re.findall(rf"^\| `{level}` \|.*$", (DOCS / "situation.md").read_text(), re.MULTILINE)
    full = {"low": 5, "medium": 20}[level]
    hours, *numbers = (int(number) for number in re.findall(r"\d+", row.rpartition("points for")[2]) if number != "12")
    steps = [penalty(full, 13 * 3600 + 12 * 3600 * step) for step in range(len(numbers) + 1)]

    assert (hours, numbers) == (13, steps[:-1])
    assert steps[-1] == 0
    assert penalty(full, 13 * 3600 - 1) == full


@pytest.mark.parametrize(
    ("method", "path", "label", "compartments"),
    [
        ("GET", "/", "Internal", ()),
        ("GET", "/projects/atlas/notes", "Confidential", ("project:atlas",)),
        ("GET", "/projects/atlas/plan.pdf", "Confidential", ("project:atlas",)),
        ("PUT", "/admin/users", "Confidential", ()),
    ],
)
def test_the_catalogue_that_is_shown_says_what_the_page_says(
    method: str, path: str, label: str, compartments: tuple[str, ...]
) -> None:
    catalogue = load_catalogue(shown("catalogue.md", "catalogue"), where="docs/catalogue.md")

    found = catalogue.match("issues.example", method, path)

    assert (found.label.code, found.label.compartments) == (label, compartments)
    assert ("no_copy" in found.label.caveats) == path.endswith("plan.pdf")


def test_the_examples_that_init_writes_are_records() -> None:
    assert decode_device(DEVICE_EXAMPLE.encode(), where="EXAMPLE").device_id == "laptop-17"
    assert decode_subject(SUBJECT_EXAMPLE.encode(), where="EXAMPLE").id == "tanaka"
