"""Who is at the other end of a loopback connection, and who listens where: by the kernel's own tables (proc(5)).

A loopback port is open to everybody on the machine. Only the kernel can say which person a connection belongs to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED: Final = "01"
_LISTENS: Final = "0A"
_LOOPBACK: Final = frozenset({"0100007F", "0000000000000000FFFF00000100007F"})
"""127.0.0.1 as the tables write it: little-endian words, and the same address in an IPv6 socket."""
_EVERYWHERE: Final = frozenset({"00000000", "0" * 32})

Tables = Callable[[], Sequence[str]]
"""The lines of the tables."""


def read_tables() -> Sequence[str]:
    """Return the lines of the kernel's tables of TCP sockets; none where there are none."""
    lines: list[str] = []
    for name in TABLES:
        with contextlib.suppress(OSError):
            lines += Path(name).read_text("ascii", "replace").splitlines()[1:]
    return lines


def owner_of(port: int, *, to: int, tables: Tables = read_tables) -> int | None:
    """Return the uid whose connection leads from a loopback port to another; None when there is not exactly one."""
    found = {
        uid
        for (near, near_port), (far, far_port), state, uid in _rows(tables())
        if (near_port, far_port, state) == (port, to, _ESTABLISHED) and near in _LOOPBACK and far in _LOOPBACK
    }
    return found.pop() if len(found) == 1 else None


def port_of(uid: int, ports: range, *, tables: Tables = read_tables) -> int | None:
    """Return the first of some ports at which a program of this person listens on loopback; None: there is none."""
    found = {
        near_port
        for (near, near_port), _, state, owner in _rows(tables())
        if state == _LISTENS and owner == uid and near_port in ports and near in _LOOPBACK | _EVERYWHERE
    }
    return min(found) if found else None


def _rows(lines: Sequence[str]) -> Iterator[tuple[tuple[str, int], tuple[str, int], str, int]]:
    for line in lines:
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError):
            # A socket without an inode is nobody's any more, and its uid says nothing.
            if int(fields[9]):
                yield _place(fields[1]), _place(fields[2]), fields[3], int(fields[7])


def _place(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    return address, int(port, 16)
