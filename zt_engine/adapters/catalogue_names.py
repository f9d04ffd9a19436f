"""Names that nobody may give a field: the individual number (個人番号, マイナンバー) is no identifier.

The Number Act (番号法) limits who may keep the number at all, so a route parameter, attribute or compartment that is
named after it is refused before a single request could carry one into a policy input or a log.
"""

from __future__ import annotations

import re
import unicodedata

_JAPANESE = ("個人番号", "マイナンバー", "個人ナンバー")
_WORDS = (("my", "number"), ("mynumber",), ("individual", "number"), ("kojin", "bango"), ("kojinbango",))
_SPLIT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def individual_number(name: str) -> bool:
    """Say whether a field's name looks like the individual number, in Japanese, English or romanised."""
    text = unicodedata.normalize("NFKC", name)
    if any(word in text for word in _JAPANESE):
        return True
    words = tuple(word.lower().replace("bangou", "bango") for word in _SPLIT.findall(text))
    return any(
        words[start : start + len(wanted)] == wanted for wanted in _WORDS for start in range(len(words))
    )  # fmt: skip
