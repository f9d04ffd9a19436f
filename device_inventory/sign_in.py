"""What ties a sign-in to one control plane, so that what one learns from it is of no use at another."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_PURPOSE: Final = "zt-sign-in/1"


def bound_nonce(secret: str, url: str) -> str:
    """Return the OpenID nonce of a sign-in for the control plane at `url`; only who knows `secret` can show for which.

    The agent takes the URL it talks to, the control plane its own. A control plane that names somebody else's identity
    provider is handed ID token and secret, and fits them to no URL but its own.
    """
    digest = hashlib.sha256(f"{_PURPOSE}\n{url.rstrip('/')}\n{secret}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
