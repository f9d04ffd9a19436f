"""What proves a browser's device where no client certificate can: the device's own word, earned through that browser.

The sidecar gives the browser a secret and the device, over a loopback redirect, the secret's digest to sign. The proof
cookie is both together. So it counts in the browser the secret was given to, for the session and the host the device
signed for, and from the instant the device signed; whoever has one half has nothing, and no key has to be everywhere.
Time is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedCertificate
from zt_engine.core.jose import is_digest, to_base64url

COOKIE: Final = b"__Host-zt-proof"
TICKET: Final = b"__Host-zt-device"
"""Holds the secret while the browser is on its way to the agent and back."""
TYPE: Final = "zt-browser-proof+jwt"
SECONDS: Final = 900
"""How long a proof counts, from the instant the device signed it."""
WAY_SECONDS: Final = 60
"""How old a proof may be when it earns the cookie."""
AHEAD_SECONDS: Final = 30
"""How far the device's clock may be ahead."""
TICKET_SECONDS: Final = 120
PORT: Final = 29170
"""The first of the loopback ports agents answer browsers at; below those that systems hand out by themselves."""
PORTS: Final = 8
"""One agent a person who is at work on the machine."""
AGENT_PATH: Final = "/zt-proof"
MAX_JWS_BYTES: Final = 3500
"""Browsers keep 4 kB of a cookie (RFC 6265bis, 5.6)."""

_SECRET: Final = re.compile(rb"[A-Za-z0-9_-]{43}")
_VALUE: Final = re.compile(rb"[A-Za-z0-9_-]{43}(?:\.[A-Za-z0-9_-]+){3}")
_PROOFS: Final = re.compile(rb"(?:^|;)[ \t]*" + re.escape(COOKIE) + rb"=([^;]*)")
_TICKETS: Final = re.compile(rb"(?:^|;)[ \t]*" + re.escape(TICKET) + rb"=([^;]*)")


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a device signs for a browser: a session of one host, and the digest of what only that browser has."""

    id: str
    host: str
    sid: str
    nonce: str
    issued_at: float

    @property
    def until(self) -> float:
        """The instant after which it proves nothing, whenever it was shown first."""
        return self.issued_at + SECONDS


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """A statement whose signature holds, and the device certificate whose key made it."""

    statement: Statement
    certificate: VerifiedCertificate


def digest(secret: bytes) -> str:
    """Return what the device signs of a secret."""
    return to_base64url(hashlib.sha256(secret).digest())


def proof_of(cookies: bytes) -> bytes:
    """Return the proof in a Cookie header, empty without one.

    Raises InputError DEVICE_PROOF_MALFORMED for what is none of ours, DEVICE_PROOF_DOUBLED for two.
    """
    if COOKIE not in cookies:
        return b""
    found = _PROOFS.findall(cookies)
    if len(found) > 1:
        raise InputError("DEVICE_PROOF_DOUBLED", "two proof cookies came")
    if not found:
        return b""
    value = bytes(found[0])
    if len(value) > MAX_JWS_BYTES + 44 or _VALUE.fullmatch(value) is None:
        raise InputError("DEVICE_PROOF_MALFORMED", "the proof cookie is none of ours")
    return value


def secret_of(cookies: bytes) -> bytes:
    """Return the secret of a challenge that is under way in this browser, empty without exactly one."""
    found = _TICKETS.findall(cookies)
    return bytes(found[0]) if len(found) == 1 and _SECRET.fullmatch(found[0]) is not None else b""


def cookie_value(secret: bytes, jws: bytes) -> bytes:
    """Return the cookie that a secret and what the device signed of it make."""
    return secret + b"." + jws


def halves(value: bytes) -> tuple[bytes, bytes]:
    """Return the secret and the device's JWS of a cookie that `proof_of` returned."""
    secret, _, jws = value.partition(b".")
    return secret, jws


def read_statement(claims: Mapping[str, object]) -> Statement:
    """Return the statement of a JWS whose signature holds; InputError DEVICE_PROOF_MALFORMED for anything else."""
    issued_at, sid, nonce = claims.get("iat"), claims.get("sid"), claims.get("nonce")
    host, number = claims.get("aud"), claims.get("jti")
    if type(issued_at) is not int or not 0 <= issued_at < 1 << 53:
        raise InputError("DEVICE_PROOF_MALFORMED", "`iat` is no NumericDate")
    if not is_digest(sid) or not is_digest(nonce):
        raise InputError("DEVICE_PROOF_MALFORMED", "`sid` or `nonce` is no digest")
    if not isinstance(host, str) or not 0 < len(host) <= 253:
        raise InputError("DEVICE_PROOF_MALFORMED", "`aud` is no host")
    if not isinstance(number, str) or not 16 <= len(number) <= 64:
        raise InputError("DEVICE_PROOF_MALFORMED", "`jti` is missing or no short text")
    return Statement(id=number, host=host, sid=str(sid), nonce=str(nonce), issued_at=issued_at)


def require_of(statement: Statement, *, secret: bytes, sid: str, host: str, now: float) -> None:
    """Require a statement for this browser, session and host, made now and not earlier than it counts.

    Raises InputError: DEVICE_PROOF_BROWSER (made for another browser's secret, or for none), DEVICE_PROOF_SESSION,
    DEVICE_PROOF_HOST, DEVICE_PROOF_FUTURE, DEVICE_PROOF_STALE.
    """
    if not secret or not hmac.compare_digest(digest(secret).encode(), statement.nonce.encode()):
        raise InputError("DEVICE_PROOF_BROWSER", "the device was asked by another browser")
    if statement.sid != sid:
        raise InputError("DEVICE_PROOF_SESSION", "the device was asked for another session")
    if statement.host != host:
        raise InputError("DEVICE_PROOF_HOST", "the device was asked for another host")
    if statement.issued_at > now + AHEAD_SECONDS:
        raise InputError("DEVICE_PROOF_FUTURE", "the proof is from the future, or one of the clocks is wrong")
    if now >= statement.until:
        raise InputError("DEVICE_PROOF_STALE", f"the proof is older than {SECONDS} s")


def require_fresh(statement: Statement, *, now: float) -> None:
    """Require a statement that was made just now, as one has to be that earns a cookie; DEVICE_PROOF_STALE."""
    if statement.issued_at < now - WAY_SECONDS:
        raise InputError("DEVICE_PROOF_STALE", f"the proof was on its way for more than {WAY_SECONDS} s")


def agent_port(port: int) -> bool:
    """Whether an agent may be asked at this port."""
    return 1024 <= port <= 65_535 - PORTS
