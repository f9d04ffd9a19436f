"""What was recorded on a machine by commands of its system, to be read elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from device_inventory.collectors.machine import Collected, Found
from device_inventory.collectors.probe import Probe, ask
from device_inventory.collectors.unseen import absent, broken

MAX_OUTPUT: Final = 4 * 1024 * 1024


class Recording(Struct, frozen=True, kw_only=True):
    """Outputs by the name of the command, as a module's `COMMANDS` lists them, and when they were recorded."""

    now: int
    outputs: Mapping[str, str]

    def text(self, name: str) -> str:
        """What a command printed; raises when it was not recorded or printed nothing."""
        text = self.outputs.get(name, "").lstrip("\N{BYTE ORDER MARK}").replace("\r\n", "\n").strip()
        if not text:
            raise absent(f"`{name}` was not recorded")
        if len(text) > MAX_OUTPUT:
            raise broken(f"the recording of `{name}` is too large")
        return text

    def rows(self, name: str) -> list[Mapping[str, Any]]:
        """The objects a command printed as JSON. PowerShell makes no list of a single one."""
        try:
            value = json.loads(self.text(name))
        except (ValueError, RecursionError):
            raise broken(f"the recording of `{name}` is no JSON") from None
        rows = value if isinstance(value, list) else [value]
        if not all(isinstance(row, dict) for row in rows):
            raise broken(f"the recording of `{name}` holds no objects")
        if not rows:
            raise absent(f"`{name}` found nothing")
        return rows

    def row(self, name: str) -> Mapping[str, Any]:
        """The only object a command printed."""
        rows = self.rows(name)
        if len(rows) != 1:
            raise broken(f"the recording of `{name}` holds more than one object")
        return rows[0]


def read_all(probes: Iterable[Probe], recording: Recording) -> Found:
    """Every fact the probes answer, observed or not."""
    found: dict[str, Collected] = {}
    for probe in probes:
        found.update(ask(probe, recording))
    return found
