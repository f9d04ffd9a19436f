"""Sign-ins that an agent hands over: by whom, and that they were made for this control plane and for no other.

INVARIANT: an ID token alone opens nothing. Whoever leads people to the right identity provider from a wrong control
plane is sent their ID tokens, and those are bound to the URL the people's agents talked to.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from device_inventory.sign_in import bound_nonce
from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import Person, PersonVerifier

LEAST_SECRET: Final = 32


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """An ID token, and the secret its nonce was made with."""

    id_token: bytes
    secret: str

    def __repr__(self) -> str:
        return "SignIn(...)"


class SignIns:
    """Verifies sign-ins for the control plane at `url`."""

    def __init__(self, people: PersonVerifier, url: str) -> None:
        self._people = people
        self._url = url

    def verify(self, sign_in: SignIn, *, now: float) -> Person:
        """Return who signed in; InputError TOKEN_*, AGENT_OUTDATED, SIGN_IN_UNBOUND, SIGN_IN_FOREIGN."""
        person = self._people.verify(sign_in.id_token, now=now)
        if not sign_in.secret:
            raise InputError("AGENT_OUTDATED", "the agent does not say for which control plane the sign-in was")
        if not person.nonce:
            raise InputError("SIGN_IN_UNBOUND", "the identity provider left the nonce out of the ID token")
        wanted = bound_nonce(sign_in.secret, self._url)
        if len(sign_in.secret) < LEAST_SECRET or not hmac.compare_digest(wanted.encode(), person.nonce.encode()):
            raise InputError("SIGN_IN_FOREIGN", "the sign-in was made for another control plane")
        return person
