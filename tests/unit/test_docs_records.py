"""The records, the catalogue and the rule that the documentation shows are read by the code that reads real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.bootstrap.installation import DEVICE_EXAMPLE, SUBJECT_EXAMPLE

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
