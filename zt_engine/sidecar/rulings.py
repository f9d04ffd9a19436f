"""What the bytes of an engine's answer mean. A policy gives the same few answers again and again; each is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from zt_engine.core.decision import Decision, Effect, Verdict, meet, read_layers
from zt_engine.core.generations import Generations
from zt_engine.sidecar.hooks.answers import obligations_list
from zt_engine.sidecar.recorder import decided_members

MAX_BYTES = 4 << 20
ENTRY_BYTES = 2_048


class Ruling(msgspec.Struct, frozen=True):
    """The meet of the layers, and the decision it comes to when nothing else objects, in the forms that leave."""

    verdict: Verdict
    duties: frozenset[str]
    """The ids of the obligations."""
    allowed: Decision
    members: bytes
    """That decision's members of the log line."""
    obligations: str
    """Its value of `Zt-Obligations`."""


class Rulings:
    """Reads answers of one policy; what is remembered is a function of the bytes alone."""

    __slots__ = ("_kinds", "_known", "_layers")

    def __init__(self, layers: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> None:
        self._layers = layers
        self._kinds = kinds
        self._known: Generations[tuple[str, bytes], Ruling] = Generations(
            MAX_BYTES, lambda key, _: 2 * len(key[1]) + ENTRY_BYTES
        )

    def of(self, service: str, raw: bytes) -> Ruling:
        """Return what a service's layers said; UnavailableError ENGINE_MALFORMED or LAYER_MALFORMED otherwise."""
        ruling = self._known.get((service, raw))
        if ruling is None:
            verdict = meet(read_layers(raw), required=self._layers[service], known=self._kinds)
            allowed = Decision(effect=Effect.ALLOW, obligations=verdict.obligations, threshold=verdict.threshold)
            ruling = Ruling(
                verdict,
                frozenset(duty.id for duty in verdict.obligations),
                allowed,
                decided_members(allowed),
                obligations_list(verdict.obligations),
            )
            self._known.put((service, raw), ruling)
        return ruling
