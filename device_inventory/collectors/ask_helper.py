"""Asking the root helper: what an agent may rely on is that root answered, within a time and a size.

One connection, one question: a line of JSON there (`{"verb": "facts", "nonce": ..., "device": ...}`), a line of JSON
back (`{"ok": ...}` or `{"error": code}`).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

HELPER_SOCKET: Final = Path("/run/zt-helper.sock")
PATIENCE: Final = 10
"""Seconds for everything."""
MAX_ANSWER: Final = 256 * 1024
_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group


class HelperError(Exception):
    """The helper cannot be asked, cannot start, or its answer is refused: a stable code, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def ask_helper(socket_path: Path, nonce: str, device: str, *, uid: int = 0) -> str:
    """Return the helper's statement about this machine as a compact JWS (`zt-helper+jwt`).

    The socket must belong to `uid`, and so must whoever listens behind it. HelperError HELPER_ABSENT where there is
    none, HELPER_FOREIGN, HELPER_SILENT, HELPER_BUSY, HELPER_REQUEST, HELPER_ANSWER otherwise. The signature is for
    the control plane to check: it holds the key.
    """
    answer = _ask(socket_path, {"verb": "facts", "nonce": nonce, "device": device}, uid)
    if not isinstance(answer, str):
        raise HelperError("HELPER_ANSWER", "the answer is no statement")
    try:
        _, payload, _ = answer.split(".")
        claims = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars="-_", validate=True))
        about = (claims["nonce"], claims["device"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HelperError("HELPER_ANSWER", "the answer is no statement") from None
    if about != (nonce, device):
        raise HelperError("HELPER_ANSWER", "the statement answers another question")
    return answer


def helper_key(socket_path: Path, *, uid: int = 0) -> dict[str, str]:
    """Return the helper's public key as a JWK, to be registered at enrollment; HelperError as `ask_helper`."""
    answer = _ask(socket_path, {"verb": "public-key"}, uid)
    if not isinstance(answer, dict) or not all(isinstance(value, str) for value in answer.values()):
        raise HelperError("HELPER_ANSWER", "the answer is no key")
    return answer


def helper_serial(socket_path: Path, *, uid: int = 0) -> str:
    """Return the hash of the machine's serial number, empty where it has none; HelperError as `ask_helper`."""
    answer = _ask(socket_path, {"verb": "serial"}, uid)
    if not isinstance(answer, str):
        raise HelperError("HELPER_ANSWER", "the answer is no hash")
    return answer


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _ask(path: Path, request: dict[str, str], uid: int) -> object:
    deadline = time.monotonic() + PATIENCE
    try:
        status = os.lstat(path)
    except OSError:
        raise HelperError("HELPER_ABSENT", "no root helper is installed") from None
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != uid:
        raise HelperError("HELPER_FOREIGN", "the socket of the helper belongs to somebody else")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
            if peer_uid(connection) != uid:
                raise HelperError("HELPER_FOREIGN", "somebody else answers for the helper")
            with suppress(BrokenPipeError, ConnectionResetError):
                # Who is refused is answered before the question is read, and that answer can still be had.
                connection.sendall(json.dumps(request).encode() + b"\n")
            line = _line(connection, deadline)
    except (BlockingIOError, ConnectionResetError):
        raise HelperError("HELPER_BUSY", "the helper takes no more questions now") from None
    except TimeoutError:
        raise HelperError("HELPER_SILENT", f"the helper did not answer within {PATIENCE} s") from None
    except OSError:
        raise HelperError("HELPER_ABSENT", "the root helper does not run") from None
    return _opened(line)


def _line(connection: socket.socket, deadline: float) -> bytes:
    held = b""
    while not held.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(65_536)
        if not part:
            break
        held += part
        if len(held) > MAX_ANSWER:
            raise HelperError("HELPER_ANSWER", "the answer is too large")
    return held


def _opened(line: bytes) -> object:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise HelperError("HELPER_ANSWER", "the answer is malformed") from None
    match answer:
        case {"ok": ok} if ok is not None:
            return ok
        case {"error": ("HELPER_BUSY" | "HELPER_REQUEST" | "HELPER_REFUSED") as code}:
            raise HelperError(code, "the helper did not take the question")
    raise HelperError("HELPER_ANSWER", "the answer is malformed")
