"""Decide a recorded event again, from the archived files that decided it and the input that was stored.

Everything is read back from the log's own folder: the bundle, catalogue and trust file by the digests the event names.
The same `judge` decides, over the same layers, on the Wasm engine; so what comes out is what was answered, or somebody
will have to explain why not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from zt_engine.bootstrap import activation
from zt_engine.bootstrap.deciding import Decider
from zt_engine.config import Policy as PolicySettings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import InputError
from zt_engine.core.policy_input import PolicyInput

MAX_POLICIES = 4
"""Engines that are kept at a time: a log runs through policies one after the other."""


class ArchiveReader(Protocol):
    """What decided at the time, by kind and SHA-256."""

    def read(self, kind: str, digest: str) -> bytes:
        """Return the content; raises ZtError when it is not there or not what its name says."""
        ...


class Replayer:
    """Decides recorded events again; keeps the engines of the last few policies. Close it when done."""

    def __init__(self) -> None:
        self._deciders: dict[tuple[str, str, str], Decider] = {}

    def __call__(self, archive: ArchiveReader, event: Mapping[str, object], document: bytes, /) -> Mapping[str, object]:
        """Return effect, reasons, obligations and threshold; raises ZtError when what decided is not there."""
        try:
            input_ = msgspec.json.decode(document, type=PolicyInput)
        except msgspec.DecodeError as error:
            raise InputError("LOG_INPUT_CHANGED", str(error)) from None
        decision = self._decider(archive, event).decide_input(input_).decision
        return {
            "effect": decision.effect,
            "reasons": decision.reasons,
            "obligations": decision.obligations,
            "threshold": decision.threshold,
        }

    def close(self) -> None:
        """Free the engines."""
        for decider in self._deciders.values():
            decider.close()
        self._deciders.clear()

    def _decider(self, archive: ArchiveReader, event: Mapping[str, object]) -> Decider:
        versions = event.get("versions")
        named = versions if isinstance(versions, Mapping) else {}
        key = (str(named.get("bundle", "")), str(named.get("catalogue", "")), str(named.get("trust", "")))
        decider = self._deciders.get(key)
        if decider is None:
            if len(self._deciders) >= MAX_POLICIES:
                self._deciders.pop(next(iter(self._deciders))).close()
            decider = self._deciders[key] = _decider(archive, *key)
        return decider


def _decider(archive: ArchiveReader, bundle: str, catalogue: str, trust: str) -> Decider:
    parts = activation.Parts(
        bundle=open_archived(archive.read("bundle", bundle)),
        catalogue=activation.read_catalogue(archive.read("catalogue", catalogue), where=f"catalogue {catalogue}"),
        catalogue_digest=catalogue,
        trust=activation.read_trust(archive.read("trust", trust), where=f"trust {trust}"),
        trust_digest=trust,
    )
    return Decider(parts, activation.make_engine(parts.bundle, PolicySettings()))


def open_archived(raw: bytes) -> Bundle:
    """Open an archived bundle without its signature.

    Its signature was checked when it was activated; here the log names it by digest, and the log proves itself. A key
    that has been rotated away since must not make old decisions impossible to repeat.
    """
    files = {name: content for name, content in bundle_archive.read(raw).items() if name != SIGNATURES}
    return open_bundle(bundle_archive.write(files), keys={}, require_signature=False)
