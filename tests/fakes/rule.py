"""A policy engine that holds one rule."""

from __future__ import annotations

import json
from typing import Any


class FakeRule:
    """An engine that says what it is told to say, and counts how often it was asked."""

    revision = "rules-1"

    def __init__(self, said: Any = True) -> None:
        self.said, self.asked = said, 0

    def evaluate(self, entrypoint: str, document: bytes) -> bytes:
        self.asked += 1
        if isinstance(self.said, Exception):
            raise self.said
        return json.dumps(self.said).encode()

    def close(self) -> None:
        """Nothing to free."""
