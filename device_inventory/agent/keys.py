"""The device's key: what it can do wherever it lives, and how one is chosen. There is no silent fall-back.

A kind that was asked for and cannot be had is an error. `auto` tries the better kinds first and says of each why it was
passed over, so that a person can see that the key ended up in a file, and why.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from msgspec import Struct

from device_inventory.agent.errors import AgentError
from device_inventory.agent.keys_file import FileKey
from device_inventory.agent.keys_pkcs11 import TokenKey
from device_inventory.agent.keys_tpm import TpmKey, reached
from device_inventory.agent.state import Home, KeyKind, KeyProtection, KeyRef
from device_inventory.agent.tpm_attest import TpmAttester

Wanted = Literal["auto", "file", "pkcs11", "tpm"]
KEY_PREFIX: Final = "zt-device-"
WANTED: Final[tuple[Wanted, ...]] = ("auto", "tpm", "pkcs11", "file")


class DeviceKey(Protocol):
    """A P-256 key. What `protection` says is true of where the private half is, and is what the device claims."""

    @property
    def public_jwk(self) -> Mapping[str, str]:
        """The public key, without `kid`, `use` and `alg`."""
        ...

    @property
    def protection(self) -> KeyProtection:
        """How well the private half is kept."""
        ...

    def sign(self, content: bytes) -> bytes:
        """Return the ES256 signature: r and s, 32 bytes each."""
        ...

    def csr(self, name: str) -> str:
        """Return a certificate signing request in PEM."""
        ...


Challenge = Callable[[Mapping[str, object]], Mapping[str, str]]
"""Has the control plane answer what a TPM shows of itself, with what only that TPM can read."""


class Attester(Protocol):
    """What can prove to somebody else where the key is, and what was booted: a TPM."""

    def attest(self, *, nonce: str, csr_digest: str) -> Mapping[str, object]:
        """Return the attestation object for `POST /v1/enroll/{id}/key`, bound to the nonce and to the request."""
        ...

    def quote(self, *, nonce: str, device_id: str) -> Mapping[str, object]:
        """Return what goes into a report, bound to its nonce and to the device."""
        ...

    def forget(self) -> None:
        """Begin anew with the next statement: the control plane does not take what was shown before."""
        ...


class KeyWish(Struct, frozen=True, kw_only=True):
    """What a person asked for. `pin_file` holds the PIN of the token; a PIN is never an argument."""

    wanted: Wanted = "auto"
    module: str = ""
    token: str = ""
    pin_file: str = ""
    tcti: str = ""


class PassedOver(Struct, frozen=True, kw_only=True):
    """A better kind of key that `auto` did not choose, and why."""

    kind: KeyKind
    reason: AgentError


class Choice(Struct, frozen=True, kw_only=True):
    """What kind of key will be made."""

    kind: KeyKind
    passed_over: tuple[PassedOver, ...] = ()


def choose(wish: KeyWish) -> Choice:
    """Return the kind of key to make; for `auto` the best that works here. Raises why a named kind does not."""
    if wish.wanted != "auto":
        _probe(wish.wanted, wish)
        return Choice(kind=wish.wanted)
    passed: list[PassedOver] = []
    better: tuple[KeyKind, ...] = ("tpm", "pkcs11")
    for kind in better:
        try:
            _probe(kind, wish)
        except AgentError as reason:
            passed.append(PassedOver(kind=kind, reason=reason))
        else:
            return Choice(kind=kind, passed_over=tuple(passed))
    return Choice(kind="file", passed_over=tuple(passed))


def new_ref(kind: KeyKind, wish: KeyWish) -> KeyRef:
    """Return where a new key will be, under a name no key had before; it is remembered before the key is made."""
    name = f"{KEY_PREFIX}{secrets.token_hex(8)}"
    if kind == "pkcs11":
        return KeyRef(kind=kind, name=name, module=wish.module, token=wish.token, pin_file=wish.pin_file)
    if kind == "tpm":
        return KeyRef(kind=kind, name=f"{name}.tpm", tcti=wish.tcti)
    return KeyRef(kind=kind, name=f"{name}.pem")


def make_key(home: Home, ref: KeyRef) -> DeviceKey:
    """Return the key at `ref`, which is made unless an interrupted enrollment made it before."""
    match ref.kind:
        case "file":
            return FileKey.make(home, ref)
        case "pkcs11":
            return TokenKey.make(home, ref)
        case "tpm":
            return TpmKey.make(home, ref)


def open_key(home: Home, ref: KeyRef) -> DeviceKey:
    """Return the key at `ref`; AGENT_KEY_MISSING when it is gone: it is never made anew under the same certificate."""
    match ref.kind:
        case "file":
            return FileKey.open(home, ref)
        case "pkcs11":
            return TokenKey.open(home, ref)
        case "tpm":
            return TpmKey.open(home, ref)


def attester_of(home: Home, ref: KeyRef, challenge: Challenge) -> Attester | None:
    """Return what can prove where a key is; None for a kind that proves nothing to anybody."""
    if ref.kind != "tpm":
        return None
    return TpmAttester(home, key_file=lambda: ref.name, tcti=reached(ref.tcti), challenge=challenge)


def _probe(kind: KeyKind, wish: KeyWish) -> None:
    if kind == "tpm":
        TpmKey.probe(wish.tcti)
    elif kind == "pkcs11":
        TokenKey.probe(wish.module, wish.token, wish.pin_file)
