"""What is wrong with a member of a request, in words for whoever sent it, not those of a library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zt_engine.core.instants import LATEST

_KEY: Final = "Idempotency-Key"
_KEY_WORDS: Final = "send this header: 16 to 128 visible characters that name this request, such as a UUID"
_SIGNALS: Final[Mapping[str, str]] = {
    "principal": "write `subject:ID`, `device:ID`, `service:ID` or `tenant`, without spaces",
    "kind": "write small letters, digits and `_`, such as `user_risk`",
    "id": "write 1 to 128 visible characters of ASCII",
}
_VALUE_ERROR: Final = "Value error, "


def in_words(fault: Mapping[str, Any]) -> str:
    """Return what to say of one fault of a request. It never repeats what was sent."""
    place, text = [str(part) for part in fault["loc"]], str(fault["msg"])
    if place[-1:] == [_KEY] or place[-1:] == [_KEY.lower()]:
        return _KEY_WORDS
    if fault["type"] == "string_pattern_mismatch" and place[:2] == ["body", "signals"]:
        return _SIGNALS.get(place[-1], text)
    if fault["type"] == "less_than_equal" and fault.get("ctx", {}).get("le") == LATEST:
        return "write seconds since the epoch; this is so large that it may be milliseconds"
    return text.removeprefix(_VALUE_ERROR)
