"""What codes mean to people: the engine's own registry, and above it what the active pack says of its codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from zt_engine.core.bundle import Reason
from zt_engine.pages.registry import Code, registry


class CodeTexts(Mapping[str, Code]):
    """Every code with its text. `replace` takes up another pack between two requests."""

    def __init__(self, reasons: Mapping[str, Reason] | None = None) -> None:
        self._codes: dict[str, Code] = {}
        self.replace(reasons or {})

    def replace(self, reasons: Mapping[str, Reason]) -> None:
        """Take up the reasons of a bundle. Where both have a code the pack's text wins, as its kind does."""
        own = {code: msgspec.convert(msgspec.to_builtins(reason), Code) for code, reason in reasons.items()}
        self._codes = {**registry(), **own}

    def __getitem__(self, code: str) -> Code:
        return self._codes[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)
