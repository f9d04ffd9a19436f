"""Keys that people prove themselves with in a browser (WebAuthn Level 3), and what one of them proves.

Pure: what a browser answered was verified elsewhere. INVARIANT: a sign-in with a key says no more than the key showed:
`phrh` and `hwk` only for a key whose maker was believed to keep it in hardware when it was registered, and which cannot
be copied; every other one is `phr` and `swk`, whatever it says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Final, Literal

import msgspec

from zt_engine.core.errors import InputError

PHR: Final = "phr"
PHRH: Final = "phrh"
"""Phishing-resistant, and that from hardware (OpenID Connect EAP ACR Values 1.0)."""
MAX_KEYS: Final = 20
"""As many keys as a person may have."""
MAX_NAME: Final = 64
MAX_TRANSPORTS: Final = 8

Trouble = Literal["", "counter"]

_TRANSPORT = re.compile(r"[a-z][a-z0-9-]{0,31}")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A key somebody registered. `id` is the digest of the credential's id, which may be longer than a name."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]
    issuer: _Text
    subject: _Text
    credential: str
    """base64url; at most 1023 bytes."""
    public_key: str
    """COSE_Key, base64url."""
    handle: str
    """The person's user handle, base64url: random, the same for all keys of the person."""
    name: str
    counter: int
    backup_eligible: bool
    """Whether it can be copied to other machines, as it said when it was registered: that never changes."""
    backed_up: bool
    """Whether it was, as it last said."""
    attested: bool = False
    """Whether its maker, one of those the settings believe, vouches for where it is kept."""
    aaguid: str = ""
    transports: tuple[str, ...] = ()
    created_at: int
    used_at: int | None = None
    trouble: Trouble = ""
    """Why it proves nothing any more; empty while it does."""

    def __repr__(self) -> str:
        return f"Passkey({self.id[:8]!r}, {self.subject!r})"

    @property
    def hardware(self) -> bool:
        """Whether it was shown to be kept in hardware, and nowhere else."""
        return self.attested and not self.backup_eligible and not self.backed_up

    @property
    def acr(self) -> str:
        """What a sign-in with it is."""
        return PHRH if self.hardware else PHR

    @property
    def amr(self) -> tuple[str, ...]:
        """The methods of a sign-in with it (RFC 8176).

        What its holder did to unlock it (PIN, finger) it does not say: only that somebody did.
        """
        return ("hwk" if self.hardware else "swk", "user", "mfa")


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a key showed when it was used; its signature held."""

    counter: int
    backup_eligible: bool
    backed_up: bool


def went_back(before: int, now: int) -> bool:
    """Whether a key's counter did not grow (WebAuthn 7.2, step 22): there may be a second one like it.

    A key that counts nothing says 0 for ever.
    """
    return (before > 0 or now > 0) and now <= before


def used(key: Passkey, shown: Answered, *, now: int) -> Passkey:
    """Return a key after it was used.

    Raises InputError PASSKEY_LOCKED for one that proves nothing any more, PASSKEY_INVALID when it became another kind
    of key. When its counter went back, the key that is returned is in trouble: keep it, and refuse.
    """
    if key.trouble:
        raise InputError("PASSKEY_LOCKED", "the key was locked: there may be a copy of it")
    if shown.backup_eligible != key.backup_eligible or (shown.backed_up and not shown.backup_eligible):
        raise InputError("PASSKEY_INVALID", "the key says something else of its copies than when it was registered")
    if went_back(key.counter, shown.counter):
        return msgspec.structs.replace(key, trouble="counter")
    return msgspec.structs.replace(key, counter=shown.counter, backed_up=shown.backed_up, used_at=now)


def good_for(keys: Sequence[Passkey], wanted: Collection[str]) -> tuple[Passkey, ...]:
    """Return those keys a sign-in with which is one of `wanted`; of a key that is locked nothing is."""
    return tuple(key for key in keys if not key.trouble and key.acr in wanted)


def key_name(text: str, *, taken: Collection[str] = ()) -> str:
    """Return a key's name as it is kept; InputError PASSKEY_NAME for one that nobody could tell apart or read."""
    name = " ".join(text.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError("PASSKEY_NAME", f"a name has 1 to {MAX_NAME} characters that can be read")
    if name in taken:
        raise InputError("PASSKEY_NAME", "another of these keys has this name")
    return name


def transports_of(told: Sequence[str]) -> tuple[str, ...]:
    """Return how a key can be reached, as far as what a browser said of it can be repeated to one."""
    return tuple(dict.fromkeys(name for name in told if _TRANSPORT.fullmatch(name)))[:MAX_TRANSPORTS]
