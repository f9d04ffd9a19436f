"""What makes a stolen key dear to guess makes every installation of a test dear to make, so here it is cheap."""

from __future__ import annotations

from zt_engine.adapters import key_encryption

SHIPPED = key_encryption.COST
"""For tests of the encryption itself."""


def lower() -> None:
    """Encrypt keys at the least cost there is, in this process."""
    key_encryption.COST = 2  # type: ignore[misc]
