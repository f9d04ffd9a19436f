"""OPA clients: tokens in a file the server holds as digests only (`opa-clients.json`, beside the administrators).

A token is `zt-opa_` and 256 random bits. The file is read again when it changes: a token that was taken out opens
nothing from the next request on. Without a file there is no client.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from zt_engine.adapters.owned_files import UnownedError, look, read_owned, replace_owned
from zt_engine.core.errors import ConfigError, InputError, Problem

PREFIX: Final = b"zt-opa_"
FILE: Final = "opa-clients.json"
_TOKEN: Final = re.compile(rb"zt-opa_[A-Za-z0-9_-]{43}")
_LIMIT: Final = 1 << 20

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z")]


class OpaClientToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One client as the server knows it."""

    name: Name
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class OpaClients:
    """The OPA clients there are. For use by many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._known: Mapping[str, str] = {}

    def verify(self, token: bytes) -> str:
        """Return whose token this is, or raise InputError AUTH_REFUSED."""
        if _TOKEN.fullmatch(token) is None:
            raise InputError("AUTH_REFUSED", "no token of an OPA client")
        with self._lock:
            self._read()
            # What is looked up is a digest of 256 random bits: how long it takes tells nothing of the token.
            found = self._known.get(digest_of(token))
        if found is None:
            raise InputError("AUTH_REFUSED", "no OPA client has this token")
        return found

    def _read(self) -> None:
        try:
            status = look(self._path)
        except OSError:
            self._known, self._seen = {}, ()
            return
        seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if seen != self._seen:
            self._known = {one.sha256: one.name for one in read_clients(self._path)}
            self._seen = seen


def make_token() -> bytes:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(32).encode()


def digest_of(token: bytes) -> str:
    """Return what the server keeps of a token."""
    return hashlib.sha256(token).hexdigest()


def read_clients(path: Path) -> tuple[OpaClientToken, ...]:
    """Return the clients of a file, none where there is no file; ConfigError OPA_CLIENTS_FILE."""
    try:
        raw, _ = read_owned(path, limit=_LIMIT)
        found = msgspec.json.decode(raw, type=tuple[OpaClientToken, ...])
    except FileNotFoundError:
        return ()
    except UnownedError as error:
        raise clients_fault(path, error.message, error.hint) from None
    except OSError as error:
        raise clients_fault(path, str(error.strerror)) from None
    except msgspec.DecodeError as error:
        raise clients_fault(path, str(error)) from None
    if len({one.name for one in found}) != len(found) or len({one.sha256 for one in found}) != len(found):
        raise clients_fault(path, "a name or a token occurs twice")
    return found


def write_clients(path: Path, clients: tuple[OpaClientToken, ...]) -> None:
    """Replace the file in one step."""
    replace_owned(path, msgspec.json.format(msgspec.json.encode(clients), indent=2) + b"\n")


def clients_fault(path: Path, message: str, hint: str = "") -> ConfigError:
    """Return what is wrong with the file, as an error."""
    return ConfigError((Problem(code="OPA_CLIENTS_FILE", message=message, where=str(path), hint=hint),))
