"""A TPM that lies: it makes the structures of a real one out of keys in memory, and whatever else it is told to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from zt_engine.adapters.attestation_tpm import qualifying
from zt_engine.adapters.tpm_credential import derive, encrypt_cfb
from zt_engine.adapters.tpm_structures import read_public
from zt_engine.core.jose import from_base64url, to_base64url

BOUND = 1 << 1 | 1 << 4 | 1 << 5
EK_ATTRIBUTES = BOUND | 1 << 7 | 1 << 16 | 1 << 17
AK_ATTRIBUTES = BOUND | 1 << 6 | 1 << 16 | 1 << 18
KEY_ATTRIBUTES = BOUND | 1 << 6 | 1 << 18

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NULL = b"\x00\x10"
AES = b"\x00\x06\x00\x80\x00\x43"
ECDSA = b"\x00\x18\x00\x0b"
RSASSA = b"\x00\x14\x00\x0b"
RSAPSS = b"\x00\x16\x00\x0b"


def sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def public_area(key: Key, attributes: int, *, symmetric: bytes = NULL, scheme: bytes = NULL) -> bytes:
    """Return a TPMT_PUBLIC."""
    head = b"\x00\x0b" + attributes.to_bytes(4, "big") + sized(b"") + symmetric + scheme
    if isinstance(key, rsa.RSAPrivateKey):
        modulus = key.public_key().public_numbers().n
        return b"\x00\x01" + head + b"\x08\x00" + bytes(4) + sized(modulus.to_bytes(256, "big"))
    point = key.public_key().public_numbers()
    return (
        b"\x00\x23"
        + head
        + b"\x00\x03"
        + NULL
        + sized(point.x.to_bytes(32, "big"))
        + sized(point.y.to_bytes(32, "big"))
    )


def attestation(kind: int, extra: bytes, body: bytes, *, magic: int = 0xFF544347) -> bytes:
    """Return a TPMS_ATTEST."""
    return (
        magic.to_bytes(4, "big") + kind.to_bytes(2, "big") + sized(b"\x00\x0b" + bytes(32)) + sized(extra)
        + bytes(8 + 4 + 4) + b"\x01" + bytes(8) + body
    )  # fmt: skip


class FakeTpm:
    """Keys in memory. `open` does what TPM2_ActivateCredential does."""

    def __init__(
        self,
        *,
        ek: Key | None = None,
        ak: Key | None = None,
        ak_scheme: bytes = b"",
        ak_attributes: int = AK_ATTRIBUTES,
        ek_attributes: int = EK_ATTRIBUTES,
        ek_symmetric: bytes = AES,
        key_attributes: int = KEY_ATTRIBUTES,
    ) -> None:
        self.ek = ek or ec.generate_private_key(ec.SECP256R1())
        self.ak = ak or ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ak_scheme = ak_scheme or (RSASSA if isinstance(self.ak, rsa.RSAPrivateKey) else ECDSA)
        self.ek_public = public_area(self.ek, ek_attributes, symmetric=ek_symmetric)
        self.ak_public = public_area(self.ak, ak_attributes, scheme=self.ak_scheme)
        self.key_public = public_area(self.key, key_attributes, scheme=ECDSA)
        self.certificate = b""
        self.token = b""
        self.registers = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(8))

    def pair(self) -> dict[str, Any]:
        ek = {"public": to_base64url(self.ek_public)}
        if self.certificate:
            ek["certificate"] = to_base64url(self.certificate)
        return {"format": "tpm2.0", "ek": ek, "ak": {"public": to_base64url(self.ak_public)}}

    def open(self, answer: Mapping[str, str]) -> None:
        """Take the token out of a credential, as a TPM does that has both keys."""
        blob, sealed = (from_base64url(answer[name]) for name in ("credential", "secret"))
        size = int.from_bytes(blob[2:4], "big")
        outer, identity = blob[4 : 4 + size], blob[4 + size :]
        seed, name = self._seed(sealed[2:]), read_public(self.ak_public).name
        integrity = derive("sha256", seed, b"INTEGRITY\0", b"", b"", 256)
        assert hmac.compare_digest(outer, hmac.digest(integrity, identity + name, "sha256"))
        storage = derive("sha256", seed, b"STORAGE\0", name, b"", 128)
        self.token = _decrypt_cfb(storage, identity)[2:]

    def statement(self, *, nonce: str, about: str, purpose: str = "key") -> dict[str, Any]:
        bound = qualifying(purpose, nonce, about)
        said = attestation(0x8017, bound, sized(read_public(self.key_public).name) + sized(b"\x00\x0b" + bytes(32)))
        made = self.pair()
        made["ak"]["token"] = to_base64url(self.token)
        made["key"] = {
            "public": to_base64url(self.key_public),
            "attest": to_base64url(said),
            "signature": to_base64url(self.sign(said)),
        }
        return made

    def quote(
        self, *, nonce: str, about: str, bank: bytes = b"\x00\x0b", selected: bytes = b"\xff\x00\x00", banks: int = 1
    ) -> dict[str, Any]:
        made = self.statement(nonce=nonce, about=about, purpose="boot")
        digest = hashlib.sha256(self.registers).digest()
        selection = banks.to_bytes(4, "big") + (bank + bytes([len(selected)]) + selected) * banks
        said = attestation(0x8018, qualifying("boot", nonce, about), selection + sized(digest))
        made["quote"] = {
            "attest": to_base64url(said),
            "signature": to_base64url(self.sign(said)),
            "registers": to_base64url(self.registers),
        }
        return made

    def sign(self, message: bytes) -> bytes:
        """Return a TPMT_SIGNATURE by the AK."""
        if isinstance(self.ak, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.ak.sign(message, ec.ECDSA(hashes.SHA256())))
            return self.ak_scheme + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
        scheme: Any = padding.PKCS1v15()
        if self.ak_scheme == RSAPSS:
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return self.ak_scheme + sized(self.ak.sign(message, scheme, hashes.SHA256()))

    def _seed(self, sealed: bytes) -> bytes:
        label = b"IDENTITY\0"
        if isinstance(self.ek, rsa.RSAPrivateKey):
            return self.ek.decrypt(sealed, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))
        x, y = sealed[2:34], sealed[36:68]
        theirs = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        shared = self.ek.exchange(ec.ECDH(), theirs.public_key())
        mine = self.ek.public_key().public_numbers().x.to_bytes(32, "big")
        return hashlib.sha256((1).to_bytes(4, "big") + shared + label + x + mine).digest()


def _decrypt_cfb(key: bytes, encrypted: bytes) -> bytes:
    plain, register = b"", bytes(16)
    for start in range(0, len(encrypted), 16):
        block = encrypted[start : start + 16]
        # The first block of CFB over zeros is the keystream itself.
        stream = encrypt_cfb(key, bytes(16)) if start == 0 else _keystream(key, register)
        plain += bytes(a ^ b for a, b in zip(block, stream, strict=False))
        register = block
    return plain


def _keystream(key: bytes, register: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(register)
