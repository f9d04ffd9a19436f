"""What every message of a device says beside its matter: for whom it is, when it was made, and what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zt_engine.core.errors import InputError
from zt_engine.core.jose import PRIVATE_MEMBERS, from_base64url, thumbprint

WINDOW: Final = 300
"""Seconds that a message may be older or newer than our clock."""
KEY_TYPE: Final = "zt-enroll+jwt"
EVIDENCE_TYPE: Final = "zt-posture+jwt"
HELPER_TYPE: Final = "zt-helper+jwt"
DEVICE_TYPE: Final = "zt-device+jwt"

_COORDINATES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("EC", "P-256"): ("x", "y"),
    ("OKP", "Ed25519"): ("x",),
}


def check_message(claims: Mapping[str, object], *, audience: str, now: float, window: int = WINDOW) -> None:
    """Refuse what was made for somebody else, or not just now: PROOF_AUDIENCE, PROOF_TIME."""
    if claims.get("aud") != audience:
        raise InputError("PROOF_AUDIENCE", f"`aud` is not `{audience}`")
    made_at = claims.get("iat")
    # bool is an int to isinstance.
    if type(made_at) is not int or not now - window <= made_at <= now + window:
        raise InputError(
            "PROOF_TIME", f"`iat` is not within {window} s of the present; is the clock of the device right?"
        )


def check_about(claims: Mapping[str, object], **expected: str) -> None:
    """Refuse a message that is about something else than what it came with: PROOF_MISMATCH names the claim."""
    for name, value in expected.items():
        if claims.get(name) != value:
            raise InputError("PROOF_MISMATCH", f"`{name}` is not that of the request", where=name)


def read_helper_key(jwk: object) -> dict[str, str]:
    """Return the public key of a root helper, P-256 or Ed25519; HELPER_KEY_REFUSED for anything else."""
    try:
        if not isinstance(jwk, Mapping) or not PRIVATE_MEMBERS.isdisjoint(jwk):
            raise ValueError("no public key")
        names = _COORDINATES.get((str(jwk.get("kty")), str(jwk.get("crv"))))
        if names is None or any(len(from_base64url(str(jwk.get(name)))) != 32 for name in names):
            raise ValueError("no key on P-256 or Ed25519")
        key = {name: str(jwk[name]) for name in ("kty", "crv", *names)}
        thumbprint(key)
    except ValueError as error:
        raise InputError("HELPER_KEY_REFUSED", f"the helper's key is {error}") from None
    return key
