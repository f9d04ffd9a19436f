"""Values as the JSON they are kept as. What a newer program added to a value is skipped by an older one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError


encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode
"""Return a value's JSON."""
