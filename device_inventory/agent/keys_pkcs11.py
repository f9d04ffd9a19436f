"""A key in a PKCS #11 token (smart card, security key, tpm2-pkcs11) that never leaves it.

Its label is what the token says of itself: `hw` for a slot that is hardware, `os_keystore` for a token made of software
(SoftHSM), whose keys its programs do not give away but whose files can be copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec

from device_inventory.agent.csr import make_csr, public_jwk
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home, KeyProtection, KeyRef

_P256: Final = bytes.fromhex("06082a8648ce3d030107")
"""The curve's object identifier in DER."""
_LOGIN: Final = frozenset(
    {"PinIncorrect", "PinLocked", "PinExpired", "PinInvalid", "PinLenRange", "UserPinNotInitialized"}
)


class TokenKey:
    """A P-256 key with a label in a token. Every signature opens a session of its own: a card may be pulled out."""

    def __init__(self, ref: KeyRef, public: ec.EllipticCurvePublicKey, protection: KeyProtection) -> None:
        self._ref = ref
        self._public = public
        self.protection: KeyProtection = protection
        self.public_jwk: Mapping[str, str] = public_jwk(public)

    @classmethod
    def probe(cls, module: str, token: str, pin_file: str) -> None:
        """Raise what keeps a key from being made: AGENT_PKCS11_MODULE, _LIBRARY, _TOKEN, _PIN."""
        with _session(KeyRef(kind="pkcs11", name="", module=module, token=token, pin_file=pin_file)):
            pass

    @classmethod
    def make(cls, home: Home, ref: KeyRef) -> Self:
        """Make the key in the token, unless it is there."""
        pkcs11 = _library()
        attribute = pkcs11.Attribute
        with _session(ref) as session:
            private = {attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, attribute.LABEL: ref.name}
            if not list(session.get_objects(private)):
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC, {attribute.EC_PARAMS: _P256}, local=True
                )
                parameters.generate_keypair(
                    label=ref.name,
                    store=True,
                    private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
                )
        return cls.open(home, ref)

    @classmethod
    def open(cls, _home: Home, ref: KeyRef) -> Self:
        """Find the key; AGENT_KEY_MISSING, or AGENT_PKCS11_EXTRACTABLE when the token would give it away."""
        pkcs11 = _library()
        attribute = pkcs11.Attribute
        with _session(ref) as session:
            private = _the_key(session, ref)
            if private[attribute.EXTRACTABLE] or not private[attribute.SENSITIVE]:
                raise AgentError("AGENT_PKCS11_EXTRACTABLE", "the token would give the key away", where=ref.token)
            public = session.get_key(
                object_class=pkcs11.ObjectClass.PUBLIC_KEY, key_type=pkcs11.KeyType.EC, label=ref.name
            )
            point = bytes(public[attribute.EC_POINT])
            return cls(ref, _point(point), _protection(session.token.slot))

    def sign(self, content: bytes) -> bytes:
        """Return the ES256 signature; the token is given the digest."""
        digest = hashlib.sha256(content).digest()
        with _session(self._ref) as session:
            signature = _the_key(session, self._ref).sign(digest, mechanism=_library().Mechanism.ECDSA)
        return bytes(signature)

    def csr(self, name: str) -> str:
        """Return a certificate signing request in PEM."""
        return make_csr(self, self._public, name)

    def __repr__(self) -> str:
        return "TokenKey(...)"


def _library() -> Any:
    try:
        return import_module("pkcs11")
    except ImportError:
        raise AgentError("AGENT_PKCS11_LIBRARY", "python-pkcs11 is not installed") from None


@contextmanager
def _session(ref: KeyRef) -> Iterator[Any]:
    if not ref.module:
        raise AgentError("AGENT_PKCS11_MODULE", "no module was named")
    pkcs11 = _library()
    pin = _pin(ref.pin_file)
    try:
        library = pkcs11.lib(ref.module)
    except (pkcs11.exceptions.PKCS11Error, RuntimeError, OSError):
        raise AgentError("AGENT_PKCS11_MODULE", "the module cannot be loaded", where=ref.module) from None
    try:
        # The module sees only the cards that were there when it was loaded.
        library.reinitialize()
        token = library.get_token(token_label=ref.token) if ref.token else library.get_token()
        with token.open(rw=True, user_pin=pin) as session:
            yield session
    except pkcs11.exceptions.PKCS11Error as error:
        name = type(error).__name__
        code = "AGENT_PKCS11_PIN" if name in _LOGIN else "AGENT_PKCS11_TOKEN"
        raise AgentError(code, name, where=ref.token or ref.module) from None


def _the_key(session: Any, ref: KeyRef) -> Any:
    pkcs11 = _library()
    try:
        return session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, key_type=pkcs11.KeyType.EC, label=ref.name)
    except pkcs11.exceptions.NoSuchKey:
        raise AgentError("AGENT_KEY_MISSING", "the token holds no such key", where=ref.name) from None


def _protection(slot: Any) -> KeyProtection:
    return "hw" if slot.flags & _library().SlotFlag.HW_SLOT else "os_keystore"


def _point(der: bytes) -> ec.EllipticCurvePublicKey:
    # CKA_EC_POINT is an OCTET STRING around the uncompressed point; some tokens leave the string out.
    point = der[2:] if der[:2] == b"\x04\x41" else der
    if len(point) != 65 or point[0] != 4:
        raise AgentError("AGENT_KEY_CORRUPT", "the token's public key is no P-256 point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _pin(pin_file: str) -> str | None:
    if not pin_file:
        return None
    path = Path(pin_file)
    try:
        if path.stat().st_mode & 0o077:
            raise AgentError("AGENT_KEY_OPEN", "others than you may read the PIN", where=pin_file)
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise AgentError("AGENT_PKCS11_PIN", "the file with the PIN cannot be read", where=pin_file) from None
