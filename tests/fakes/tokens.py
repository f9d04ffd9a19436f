"""A token verifier with a table instead of cryptography."""

from __future__ import annotations

from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedToken


class FakeTokens:
    """Verifies the tokens it was given; times count as they do in the adapter."""

    def __init__(self, *, skew: int = 30) -> None:
        self._known: dict[bytes, VerifiedToken] = {}
        self._skew = skew

    def add(self, text: bytes, token: VerifiedToken) -> None:
        """Accept `text` from now on."""
        self._known[text] = token

    def remove(self, text: bytes) -> None:
        """Refuse `text` from now on, as if its key were gone."""
        del self._known[text]

    def verify(self, token: bytes, *, now: float) -> VerifiedToken:
        """Return the verified token, or raise InputError with a TOKEN_ code."""
        known = self._known.get(token)
        if known is None:
            raise InputError("TOKEN_KEY_UNKNOWN", "no such token")
        if now >= known.expires_at:
            raise InputError("TOKEN_EXPIRED", "the token has expired")
        if now < known.not_before - self._skew:
            raise InputError("TOKEN_NOT_YET_VALID", "the token is from the future")
        return known
