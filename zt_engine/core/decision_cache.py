"""What a decision depended on: the key under which the layers' answer may be used again.

A decision is one pure function of the policy input for a whole tick. The key is made of versions for what changes as a
whole (principal, policy, situation) and of the request's own members as far as the policy reads them: the bundle says
which references of the input it uses, and a member that no rule reads cannot change the answer. Such a member is blank
in the input, so that what is stored under a decision is true of every request that shared it. A bundle that does not
say what it reads is not cached.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

import msgspec

from zt_engine.core.generations import Generations

PROJECTED = ("client_ip", "params", "path")
"""Members of `input.request` that differ between requests which otherwise look alike to the policy. All others come
with the proxy or the route, and are always part of the key."""

Answer = TypeVar("Answer")


class Projection(msgspec.Struct, frozen=True):
    """Which of the projected members the policy reads; the others are blank in its input."""

    cacheable: bool
    members: frozenset[str]

    @property
    def client_ip(self) -> bool:
        """Whether the client's address is read; it is no property of a place, so the key has it apart."""
        return "client_ip" in self.members


def projection(reads: Iterable[str] | None) -> Projection:
    """Return what a bundle's `reads` mean for the key and the input.

    `reads` are JSON Pointers into the input (`/request/path`). A prefix counts as everything below it, and the empty
    pointer as the whole input.
    """
    if reads is None:
        return Projection(cacheable=False, members=frozenset(PROJECTED))
    members: set[str] = set()
    for pointer in reads:
        parts = pointer.strip("/").split("/") if pointer.strip("/") else []
        if not parts or parts == ["request"]:
            members.update(PROJECTED)
        elif parts[0] == "request" and parts[1] in PROJECTED:
            members.add(parts[1])
    return Projection(cacheable=True, members=frozenset(members))


class DecisionCache(Generations[Hashable, Answer]):
    """Remembered answers, and how often they were asked for. Nothing that timed out, trapped or raised is put here."""

    __slots__ = ("hits", "misses")

    def __init__(self, entries: int) -> None:
        super().__init__(entries)
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> Answer | None:
        """Return what was kept under a key."""
        found = super().get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found
