"""What is said when a sidecar joins a control plane: the token it is given, and what it is told in return."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.jose import MAX_TOKEN_BYTES, from_base64url, to_base64url


class JoinToken(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever installs a sidecar is given: where to go, whom to believe there, and the secret that admits once."""

    url: str
    ca_sha256: str
    """Hex SHA-256 of the CA certificate (DER) of the control plane; empty when it is one everybody believes."""
    tenant: str
    exp: int
    sidecar: str
    id: str
    """The secret."""
    site: str = ""
    labels: Mapping[str, str] = {}
    """Where the sidecar will stand and what it is like, as whoever made the token says."""

    @property
    def proof(self) -> str:
        """What a token is known by: the secret and all it gives, so that a token that was changed is no token."""
        return msgspec.json.encode((self.id, self.site, self.labels), order="sorted").decode()

    def __repr__(self) -> str:
        return f"JoinToken(sidecar={self.sidecar!r}, url={self.url!r})"


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar is told when it joins."""

    id: str
    tenant: str
    audience: str
    """What its statements are addressed to, whichever address it reaches the control plane at."""
    stream_keys: Mapping[str, Mapping[str, str]]
    device_cas: str
    keyset: Mapping[str, str] = {}
    site: str = ""
    labels: Mapping[str, str] = {}
    root: Mapping[str, str] | None = None
    trust: str = ""
    offered: str = ""


def write_token(token: JoinToken) -> str:
    """Return a token as it is handed over."""
    return to_base64url(msgspec.json.encode(token))


def read_token(token: str) -> JoinToken:
    """Read a join token, which proves nothing by itself; InputError SIDECAR_TOKEN."""
    try:
        if len(token) > MAX_TOKEN_BYTES:
            raise ValueError("too long")
        return msgspec.json.decode(from_base64url(token.strip()), type=JoinToken)
    except (ValueError, msgspec.DecodeError):
        raise InputError("SIDECAR_TOKEN", "it is no join token, or not all of it") from None
