"""A machine's own word against the asset ledger: what agrees, what differs, and what nobody bought."""

from __future__ import annotations

import pytest

from device_inventory.asset_ledger import Asset, compare
from tests.control_support import NOW, a_device

SERIAL = "5" * 64


def line(model: str = "ThinkPad X13", *, serial: str = SERIAL, source: str = "ledger") -> Asset:
    return Asset(serial_hash=serial, source=source, heard_at=NOW, model=model)


@pytest.mark.parametrize(
    ("model", "lines", "verdict"),
    [
        ("ThinkPad X13", [line()], "exact"),
        ("ｔｈｉｎｋｐａｄ　x13", [line()], "exact"),
        ("ThinkPad X13", [line(source="a"), line(source="b")], "exact"),
        ("ThinkPad X13 Gen 4", [line()], "differs"),
        ("ThinkPad X13", [line(), line("Latitude 5440", source="mdm")], "differs"),
        ("", [line()], "serial"),
        ("ThinkPad X13", [line("")], "serial"),
        ("ThinkPad X13", [line(), line("", source="mdm")], "exact"),
        ("ThinkPad X13", [], "absent"),
        ("ThinkPad X13", [line(serial="6" * 64)], "absent"),
    ],
)
def test_a_verdict_is_about_serial_number_and_model(model: str, lines: list[Asset], verdict: str) -> None:
    assert compare(a_device(serial_hash=SERIAL, model=model), lines).verdict == verdict


def test_a_device_without_a_serial_number_matches_nothing_not_even_a_line_without_one() -> None:
    found = compare(a_device(model="X"), [line(serial="")], same_serial=[a_device("other")])

    assert (found.verdict, found.assets, found.twins) == ("unreported", (), ())


def test_another_device_with_the_same_serial_number_is_named_unless_it_has_ended() -> None:
    device = a_device(serial_hash=SERIAL)
    others = [a_device(name, serial_hash=SERIAL, status=status) for name, status in
              [("laptop-1", "active"), ("twin", "active"), ("old", "revoked"), ("gone", "retired")]]  # fmt: skip

    assert compare(device, [line()], same_serial=others).twins == ("twin",)
