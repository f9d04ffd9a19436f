"""A private key as encrypted PKCS #8, so that a stolen file takes guessing that is expensive (scrypt, RFC 7914).

`cryptography` reads this form, as openssl does, but writes PBKDF2 with 2,048 rounds, which is too few for a CA.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zt_engine.adapters.der import OCTET_STRING, SEQUENCE, integer, pem, tlv

# 16 MiB and about a quarter of a second: the largest memory that openssl opens a key with (its limit is 32 MiB).
COST: Final = 1 << 14
BLOCK: Final = 8
PARALLEL: Final = 5

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES256_CBC = bytes.fromhex("060960864801650304012a")
_KEY_BYTES = 32


def encrypt_key(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey, passphrase: bytes) -> bytes:
    """Return PEM of an EncryptedPrivateKeyInfo (RFC 5958 3) under PBES2 with scrypt and AES-256-CBC."""
    salt, vector = os.urandom(16), os.urandom(16)
    secret = Scrypt(salt=salt, length=_KEY_BYTES, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase)
    padder = PKCS7(128).padder()
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = tlv(
        SEQUENCE, _SCRYPT,
        tlv(SEQUENCE, tlv(OCTET_STRING, salt), integer(COST), integer(BLOCK), integer(PARALLEL), integer(_KEY_BYTES)),
    )  # fmt: skip
    cipher = tlv(SEQUENCE, _AES256_CBC, tlv(OCTET_STRING, vector))
    scheme = tlv(SEQUENCE, _PBES2, tlv(SEQUENCE, derivation, cipher))
    return pem("ENCRYPTED PRIVATE KEY", tlv(SEQUENCE, scheme, tlv(OCTET_STRING, encrypted)))
