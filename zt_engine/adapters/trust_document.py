"""The trust document in its file (`trust-root.json`), which the control plane hands on and nobody keeps secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from zt_engine.adapters.approvals import Approver, Approvers, key_id
from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.stream_keys import public_keys
from zt_engine.core.bundle_signature import PublicKey
from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.jose import from_base64url, thumbprint, to_base64url
from zt_engine.core.trust_root import SignedApprover, TrustDocument, open_trust


class TrustHandout(msgspec.Struct, frozen=True):
    """The root's public key as a JWK, and the newest document it signed."""

    root: Mapping[str, str]
    document: str


class TrustFile:
    """Reads the file when it has changed; without a file there is no root."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._handout: TrustHandout | None = None

    def read(self) -> TrustHandout | None:
        """Return what is handed on."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._handout = msgspec.json.decode(self._path.read_bytes(), type=TrustHandout)
                self._seen = seen
        except FileNotFoundError:
            self._seen = self._handout = None
        except (OSError, msgspec.DecodeError):
            pass  # half written: what was read before still stands
        return self._handout


def open_document(root: Mapping[str, str], raw: str, *, tenant: str, known: int = 0) -> TrustDocument:
    """Return what a root (JWK) signed; InputError as `open_trust` raises it, TRUST_DOCUMENT for a key that is none."""
    found: dict[str, PublicKey] = public_keys({thumbprint(root): root})
    for name, key in found.items():
        return open_trust(raw, key, name, tenant=tenant, known=known)
    raise InputError("TRUST_DOCUMENT", "the root is no Ed25519 public key")


def approvers_of(document: TrustDocument) -> Approvers:
    """Return whose signatures the root says approve; InputError TRUST_DOCUMENT."""
    return {name: Approver(one.person, _point(name, one.x)) for name, one in document.approvers.items()}


def bundle_keys_of(document: TrustDocument) -> dict[str, BundlePublicKey]:
    """Return the keys the root says sign policy; InputError TRUST_DOCUMENT."""
    return {name: BundlePublicKey(_bundle_key(jwk)) for name, jwk in document.bundle_keys.items()}


def approver_entry(person: str, pem: bytes, *, where: str) -> tuple[str, SignedApprover]:
    """Return an approver's entry in a document."""
    key = _loaded(pem, where)
    return key_id(key), SignedApprover(person, _x(key))


def bundle_entry(pem: bytes, *, where: str) -> dict[str, str]:
    """Return a bundle key's entry in a document: P-256 or Ed25519, as bundles are signed."""
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        numbers = key.public_numbers()
        x, y = (to_base64url(number.to_bytes(32)) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    return root_jwk(pem, where=where)


def root_jwk(pem: bytes, *, where: str) -> dict[str, str]:
    """Read the root's public key (PEM) as a JWK; ConfigError TRUST_ROOT_KEY."""
    return {"kty": "OKP", "crv": "Ed25519", "x": _x(_loaded(pem, where))}


def _loaded(pem: bytes, where: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        message = "not an Ed25519 public key in PEM"
        raise ConfigError((Problem(code="TRUST_ROOT_KEY", message=message, where=where),))
    return key


def _x(key: Ed25519PublicKey) -> str:
    return to_base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _ed25519(jwk: Mapping[str, str]) -> Ed25519PublicKey:
    try:
        if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
            raise ValueError("another kind of key")
        return Ed25519PublicKey.from_public_bytes(from_base64url(jwk["x"]))
    except (KeyError, ValueError):
        raise InputError("TRUST_DOCUMENT", "a key is no Ed25519 public key") from None


def _bundle_key(jwk: Mapping[str, str]) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if jwk.get("kty") != "EC":
        return _ed25519(jwk)
    try:
        if jwk["crv"] != "P-256":
            raise ValueError("another curve")
        x, y = (int.from_bytes(from_base64url(jwk[name])) for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (KeyError, ValueError):
        raise InputError("TRUST_DOCUMENT", "a bundle key is no P-256 public key") from None


def _point(name: str, x: str) -> Ed25519PublicKey:
    key = _ed25519({"kty": "OKP", "crv": "Ed25519", "x": x})
    if key_id(key) != name:
        raise InputError("TRUST_DOCUMENT", "an approver's key is not what its id says")
    return key
