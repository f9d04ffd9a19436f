"""Administrators: keys in a file the server holds as digests only, and tokens of an issuer with roles in a claim.

A key is `zt-admin_` and 256 random bits. The server's file (`admins.json`) names each administrator, the role and the
SHA-256 of the key. It is read again when it changes: a key that was taken out opens nothing from the next request on.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, get_args

import msgspec

from zt_engine.adapters.owned_files import UnownedError, look, read_owned, replace_owned
from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.issuer import subject_name
from zt_engine.ports import TokenVerifier
from zt_engine.ports.administration import AdministratorVerifier, Claimant, Role

PREFIX: Final = b"zt-admin_"
ROLES: Final[tuple[Role, ...]] = get_args(Role)
_KEY: Final = re.compile(rb"zt-admin_[A-Za-z0-9_-]{43}")
_LIMIT: Final = 1 << 20

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")]


class AdminKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One administrator as the server knows them; `person` is the subject they are when they sign in."""

    name: Name
    role: Role
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    person: str = ""
    service: Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_]{0,62})?\Z")] = ""
    """Whoever answers for one service alone; the role counts for nothing then."""


class AdminKeys:
    """The administrators with a key. For use by many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._known: Mapping[str, AdminKey] = {}
        self._read()

    def verify(self, token: bytes, *, now: float) -> Claimant:
        """Return whose key this is, or raise InputError AUTH_REFUSED."""
        if _KEY.fullmatch(token) is None:
            raise InputError("AUTH_REFUSED", "no admin key")
        with self._lock:
            self._read()
            # What is looked up is a digest of 256 random bits: how long it takes tells nothing of the key.
            found = self._known.get(digest_of(token))
        if found is None:
            raise InputError("AUTH_REFUSED", "no administrator has this key")
        return Claimant(
            name=found.name,
            actor=f"admin:{found.name}",
            role=found.role,
            service=found.service,
            aliases=frozenset({found.person} - {""}),
        )

    def _read(self) -> None:
        try:
            status = look(self._path)
            seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if seen != self._seen:
                self._known = {key.sha256: key for key in read_admins(self._path)}
                self._seen = seen
        except OSError:
            # Nobody is an administrator by what the file once said.
            self._known, self._seen = {}, ()
            raise _problem(self._path, "there is no file of administrators") from None


class ClaimedRoles:
    """The role that a claim of one issuer gives: the highest whose values it holds."""

    def __init__(self, issuer: str, *, claim: str, roles: Mapping[Role, tuple[str, ...]]) -> None:
        self._issuer = issuer
        self._claim = claim
        self._roles = roles

    def role(self, issuer: str, claims: Mapping[str, object]) -> Role | None:
        """Return the role, or None: the claims of another issuer give nobody any."""
        held = claims.get(self._claim) if issuer == self._issuer else None
        values = {held} if isinstance(held, str) else {one for one in _items(held) if isinstance(one, str)}
        return next((role for role in reversed(ROLES) if values.intersection(self._roles.get(role, ()))), None)


class OidcAdministrators:
    """Administrators with an access token of one issuer, in the role its claims give them."""

    def __init__(self, tokens: TokenVerifier, *, roles: ClaimedRoles, home_issuer: str) -> None:
        self._tokens = tokens
        self._lock = threading.Lock()
        self._roles = roles
        self._home = home_issuer

    def verify(self, token: bytes, *, now: float) -> Claimant:
        """Return who this is, or raise InputError: a TOKEN_ code, AUTH_REFUSED for a bound token or without a role."""
        with self._lock:
            verified = self._tokens.verify(token, now=now)
        if verified.x5t or verified.jkt or verified.actor is not None:
            raise InputError("AUTH_REFUSED", "a token of an administrator is neither bound nor delegated")
        role = self._roles.role(verified.issuer, verified.claims)
        if role is None:
            raise InputError("AUTH_REFUSED", "the token gives its holder no role here")
        name = subject_name(verified.issuer, verified.subject, home=self._home)
        actor = f"person:{verified.issuer}|{verified.subject}"
        return Claimant(name=name, actor=actor, role=role, aliases=frozenset({verified.subject}))


class Administrators:
    """Keys and tokens, told apart by their looks."""

    def __init__(self, keys: AdminKeys, tokens: AdministratorVerifier | None) -> None:
        self._keys = keys
        self._tokens = tokens

    def verify(self, token: bytes, *, now: float) -> Claimant:
        """Return whose credential this is."""
        if token.startswith(PREFIX) or self._tokens is None:
            return self._keys.verify(token, now=now)
        return self._tokens.verify(token, now=now)


def make_key() -> bytes:
    """Return a new admin key."""
    return PREFIX + secrets.token_urlsafe(32).encode()


def digest_of(key: bytes) -> str:
    """Return what the server keeps of a key."""
    return hashlib.sha256(key).hexdigest()


def read_admins(path: Path) -> tuple[AdminKey, ...]:
    """Return the administrators of a file; ConfigError ADMINS_FILE."""
    try:
        raw, _ = read_owned(path, limit=_LIMIT)
        found = msgspec.json.decode(raw, type=tuple[AdminKey, ...])
    except UnownedError as error:
        raise _problem(path, error.message, error.hint) from None
    except msgspec.DecodeError as error:
        raise _problem(path, str(error)) from None
    if len({key.name for key in found}) != len(found) or len({key.sha256 for key in found}) != len(found):
        raise _problem(path, "a name or a key occurs twice")
    return found


def written(admins: tuple[AdminKey, ...]) -> bytes:
    """Return the content of the file."""
    return msgspec.json.format(msgspec.json.encode(admins), indent=2) + b"\n"


def write_admins(path: Path, admins: tuple[AdminKey, ...]) -> None:
    """Replace the file in one step."""
    replace_owned(path, written(admins))


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _problem(path: Path, message: str, hint: str = "") -> ConfigError:
    hint = hint or "make a key with `zt control admin-key add NAME --role owner`"
    return ConfigError((Problem(code="ADMINS_FILE", message=message, where=str(path), hint=hint),))
