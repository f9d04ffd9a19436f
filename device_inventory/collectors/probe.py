"""One look at the machine: which facts it answers, and in which pass."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from device_inventory.collectors.machine import Found, Machine, Scope


class Probe(Struct, frozen=True, kw_only=True):
    """`look` answers all of `facts`, or raises and then says the same of each of them."""

    facts: tuple[str, ...]
    look: Callable[[Machine], Found]
    scopes: tuple[Scope, ...] = ("user", "root")
    """A look at a session is no business of root's; one that needs rights is none of a user's."""
    slow: bool = False
