"""The root helper's own key: made at the first start, readable by root only, and never anywhere else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from device_inventory.collectors.ask_helper import HelperError

TYPE: Final = "zt-helper+jwt"
KEY_FILE: Final = "helper.pem"
_MAX_KEY: Final = 4096


class HelperKey:
    """Signs statements by ES256 (RFC 7518, 3.4); never shown."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._kid = _b64(hashlib.sha256(_canonical(self.jwk())).digest())

    def __repr__(self) -> str:
        return f"HelperKey({self._kid!r})"

    def jwk(self) -> dict[str, str]:
        """The public key as a JWK (RFC 7517), to be registered at enrollment."""
        numbers = self._key.public_key().public_numbers()
        x, y = (_b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return the compact JWS; `kid` is the key's RFC 7638 thumbprint."""
        header = {"alg": "ES256", "kid": self._kid, "typ": TYPE}
        signed = f"{_b64(_canonical(header))}.{_b64(_canonical(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def load_or_make_key(folder: Path) -> HelperKey:
    """Return the key in `folder`, made now if there is none; HelperError HELPER_KEY unless only we can have read it."""
    path = folder / KEY_FILE
    with suppress(FileNotFoundError):
        return HelperKey(_load(path))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    descriptor, name = tempfile.mkstemp(dir=folder)  # for its owner only
    part = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # of two that start at once, one makes the key
    except FileExistsError:
        return HelperKey(_load(path))
    finally:
        part.unlink(missing_ok=True)
    return HelperKey(key)


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HelperError("HELPER_KEY", f"the key cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise HelperError("HELPER_KEY", "the key is not a file that only this user can read")
        content = os.read(descriptor, _MAX_KEY)
    finally:
        os.close(descriptor)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise HelperError("HELPER_KEY", "the key is malformed") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise HelperError("HELPER_KEY", "the key is not one of P-256")
    return key


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
