"""Values as the JSON they are kept as. What a newer program added to a value is skipped by an older one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec

from zt_engine.core.errors import InputError


def encode(value: msgspec.Struct) -> bytes:
    """Return a value's JSON; InputError STORE_VALUE for a text that is no Unicode."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise InputError("STORE_VALUE", "a text has half a character") from None


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)
