"""The one registry of codes: what each means in Japanese and English, what to do about it, a command to paste."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

Kind = Literal["auth", "report", "device", "contact", "none"]


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One code: `kind` says what would turn it into an allow."""

    kind: Kind
    ja: str
    en: str
    hint_ja: str = ""
    hint_en: str = ""
    command: str = ""

    def text(self, language: str) -> str:
        """What is wrong, for the person who reads it."""
        return self.ja if language == "ja" else self.en

    def hint(self, language: str) -> str:
        """What to do about it."""
        return self.hint_ja if language == "ja" else self.hint_en


@cache
def registry() -> Mapping[str, Code]:
    """Return every code of the engine. A code in two files is a fault of ours and raises ValueError."""
    found: dict[str, Code] = {}
    folder = resources.files("zt_engine.pages") / "codes"
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        for name, fields in tomllib.loads(entry.read_text(encoding="utf-8")).items():
            if name in found:
                raise ValueError(f"code `{name}` is registered twice, again in {entry.name}")
            found[name] = msgspec.convert(fields, Code)
    return found
