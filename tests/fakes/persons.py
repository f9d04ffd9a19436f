"""People who signed in: whoever a test says, by a text that stands for an ID token."""

from __future__ import annotations

from typing import Any

from device_inventory.sign_in import bound_nonce
from zt_engine.control_plane.signing_in import SignIn
from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import Person

ISSUER = "https://idp.example"
URL = "https://control.example"
SECRET = "a-secret-of-the-agent-for-one-sign-in"


class FakePersons:
    """Knows the tokens it was told of."""

    def __init__(self) -> None:
        self._known: dict[bytes, Person] = {}
        self.asked = 0

    def sign_in(self, subject: str, *, issuer: str = ISSUER, **members: Any) -> SignIn:
        """Have somebody sign in, for the control plane at `URL` unless a `nonce` says otherwise."""
        token = f"token {len(self._known)} of {subject}".encode()
        self._known[token] = Person(issuer=issuer, subject=subject, **{"nonce": bound_nonce(SECRET, URL), **members})
        return SignIn(id_token=token, secret=SECRET)

    def verify(self, id_token: bytes, *, now: float) -> Person:
        """Return who signed in, or raise InputError with a TOKEN_ code."""
        self.asked += 1
        found = self._known.get(id_token)
        if found is None:
            raise InputError("TOKEN_SIGNATURE", "nobody signed in with this")
        return found
