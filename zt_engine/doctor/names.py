"""Headers that matter between client, proxy, sidecar and backend. Rooms do not know each other: a test compares."""

from __future__ import annotations

from collections.abc import Iterable

IDENTITY = (
    "Zt-Decision", "Zt-Subject", "Zt-Device", "Zt-Groups", "Zt-Max-Label", "Zt-Trust", "Zt-Obligations", "Zt-Assertion",
)  # fmt: skip
"""What a backend believes: each has to be set or removed by the proxy on every request."""

CERTIFICATE = ("Zt-Client-Verify", "Zt-Client-Cert")
"""What the hook believes about a client certificate."""

BROWSER_PATH = "/.zt/"
"""Where people sign in: nobody is asked about it, and it leads to nothing that stands behind a question."""

HOOK_PATH = "/v1/hooks"
"""Where the sidecar is asked, whatever its address."""


def missing(present: Iterable[str], wanted: Iterable[str] = IDENTITY) -> list[str]:
    """Return the wanted names that are not present; case does not matter."""
    have = {name.lower() for name in present}
    return [name for name in wanted if name.lower() not in have]


def listed(names: Iterable[str]) -> str:
    """Return names as a message shows them."""
    return ", ".join(f"`{name}`" for name in names)
