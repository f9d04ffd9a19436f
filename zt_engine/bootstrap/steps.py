"""The steps of something that takes long, told as they begin to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Name = Literal["check", "rego_tests", "scenarios_wasm", "scenarios_opa", "build", "replay", "compare", "submit"]
Step = Callable[[Name], None]


def silent(_step: Name) -> None:
    """Tell nobody."""
