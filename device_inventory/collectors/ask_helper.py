"""Asking the root helper: what an agent may rely on is that root answered, within a time and a size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

HELPER_SOCKET: Final = Path("/run/zt-helper.sock")


class HelperError(Exception):
    """The helper could not be asked, or its answer is refused: a stable code, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def ask_helper(socket_path: Path, nonce: str, device: str, *, uid: int = 0) -> str:
    """Return the helper's statement about this machine as a compact JWS (`zt-helper+jwt`); HelperError otherwise.

    The socket must belong to `uid`, and so must whoever listens behind it.
    """
    raise NotImplementedError


def helper_key(socket_path: Path, *, uid: int = 0) -> dict[str, str]:
    """Return the helper's public key as a JWK, to be registered at enrollment; HelperError otherwise."""
    raise NotImplementedError
