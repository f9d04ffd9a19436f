"""People who signed in: whoever a test says, by a text that stands for an ID token."""

from __future__ import annotations

from typing import Any

from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import Person

ISSUER = "https://idp.example"


class FakePersons:
    """Knows the tokens it was told of."""

    def __init__(self) -> None:
        self._known: dict[bytes, Person] = {}
        self.asked = 0

    def sign_in(self, subject: str, *, issuer: str = ISSUER, **members: Any) -> bytes:
        """Have somebody sign in, and return the token."""
        token = f"token {len(self._known)} of {subject}".encode()
        self._known[token] = Person(issuer=issuer, subject=subject, **members)
        return token

    def verify(self, id_token: bytes, *, now: float) -> Person:
        """Return who signed in, or raise InputError with a TOKEN_ code."""
        self.asked += 1
        found = self._known.get(id_token)
        if found is None:
            raise InputError("TOKEN_SIGNATURE", "nobody signed in with this")
        return found
