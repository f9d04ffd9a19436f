"""What a decision depended on: the key under which the layers' answer may be used again.

A decision is one pure function of the policy input for a whole tick. The key is made of versions for what changes as a
whole (principal, policy, situation) and of the request's own members as far as the policy reads them: the bundle says
which references of the input it uses, and a member that no rule reads cannot change the answer. Such a member is blank
in the input, so that what is stored under a decision is true of every request that shared it. A bundle that does not
say what it reads is not cached.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import msgspec

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


class DecisionCache(Generic[Answer]):
    """A bounded cache in two generations: what is used lives on, what is not is dropped half the cache at a time.

    One dictionary lookup for a hit; no list to reorder. Holds between half and all of `entries`.
    """

    __slots__ = ("_half", "_old", "_young", "hits", "misses")

    def __init__(self, entries: int) -> None:
        self._half = max(1, entries // 2)
        self._young: dict[Hashable, Answer] = {}
        self._old: dict[Hashable, Answer] = {}
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> Answer | None:
        """Return what was kept under a key."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                self.misses += 1
                return None
            self._keep(key, found)
        self.hits += 1
        return found

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer. Nothing that timed out, trapped or raised may be put here."""
        self._keep(key, answer)

    def clear(self) -> None:
        """Forget everything: the policy, the catalogue, the trust model or the situation changed."""
        self._young = {}
        self._old = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _keep(self, key: Hashable, answer: Answer) -> None:
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = answer
