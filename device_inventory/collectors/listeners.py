"""Which kinds of remote control the machine accepts from elsewhere."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import broken

PORTS: Final = {22: "ssh", 3389: "rdp", 5900: "vnc"}
_LISTENING: Final = "0A"
_MAX: Final = 1 << 20
_ROW: Final = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F:]+ ([0-9A-F]{2}) ")


def _remote_admin(machine: Machine) -> Found:
    found: set[str] = set()
    text = machine.text("/proc/net/tcp", limit=_MAX, head=True)
    for table in (text, machine.optional("/proc/net/tcp6", limit=_MAX, head=True) or ""):
        rows = table.splitlines()[1:]
        # The kernel lists what listens before what is connected, and a busy server has very many connections.
        for row in rows[:-1] if len(table) == _MAX else rows:
            match = _ROW.match(row)
            if match is None:
                raise broken("the kernel's table of connections is malformed")
            address, port, state = match.groups()
            if state == _LISTENING and not _loopback(address) and int(port, 16) in PORTS:
                found.add(PORTS[int(port, 16)])
    return {"listening.remote_admin": seen(tuple(sorted(found)))}


def _loopback(address: str) -> bool:
    """Addresses are words of four bytes in the machine's order, which is the little one on all that run this."""
    words = [bytes.fromhex(address[place : place + 8])[::-1] for place in range(0, len(address), 8)]
    plain = b"".join(words)
    if len(plain) == 16 and plain[:12] == bytes(10) + b"\xff\xff":
        plain = plain[12:]
    return plain[0] == 127 if len(plain) == 4 else plain == bytes(15) + b"\x01"


PROBES: Final = (Probe(facts=("listening.remote_admin",), look=_remote_admin),)
