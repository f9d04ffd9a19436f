"""TPM2_MakeCredential without a TPM (TPM 2.0 Library, part 1, 24): a secret for one key in one chip.

Only the TPM with the endorsement key opens it, and only while an object of the given Name is loaded in it. So whoever
brings the secret back has shown that the two live together.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from zt_engine.adapters.tpm_structures import Public

_LABEL = b"IDENTITY\0"
_BLOCK = 16
_OAEP_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def make_credential(endorsement: Public, name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """Return TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET for `secret`, which is no longer than the key's hash."""
    seed, sealed = _seed(endorsement)
    digest, bits = endorsement.name_hash, hashlib.new(endorsement.name_hash).digest_size * 8
    storage = derive(digest, seed, b"STORAGE\0", name, b"", endorsement.symmetric_bits)
    identity = encrypt_cfb(storage, _sized(secret))
    integrity = derive(digest, seed, b"INTEGRITY\0", b"", b"", bits)
    outer = hmac.digest(integrity, identity + name, digest)
    return _sized(_sized(outer) + identity), _sized(sealed)


def derive(digest: str, key: bytes, label: bytes, first: bytes, second: bytes, bits: int) -> bytes:
    """Return KDFa of part 1, 11.4.10.2: an HMAC in counter mode (SP 800-108)."""
    size = bits.to_bytes(4, "big")
    made, counter = b"", 0
    while len(made) * 8 < bits:
        counter += 1
        made += hmac.digest(key, counter.to_bytes(4, "big") + label + first + second + size, digest)
    return made[: bits // 8]


def encrypt_cfb(key: bytes, plain: bytes) -> bytes:
    """Return AES in CFB mode from a vector of zeros, as TPMs protect what they seal.

    The key is used once, and what is encrypted is authenticated; `cryptography` offers the mode as decrepit only.
    """
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    encrypted, register = b"", bytes(_BLOCK)
    for start in range(0, len(plain), _BLOCK):
        block = plain[start : start + _BLOCK]
        register = bytes(a ^ b for a, b in zip(block, encryptor.update(register), strict=False))
        encrypted += register
    return encrypted


def _seed(endorsement: Public) -> tuple[bytes, bytes]:
    """Return a seed, and the seed as only the endorsement key's TPM can have it (part 1, B.10.4 and C.6.4)."""
    digest = endorsement.name_hash
    size = hashlib.new(digest).digest_size
    match endorsement.key:
        case rsa.RSAPublicKey() as key:
            seed, algorithm = os.urandom(size), _OAEP_HASHES[digest]
            oaep = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=_LABEL)
            return seed, key.encrypt(seed, oaep)
        case ec.EllipticCurvePublicKey() as key:
            width = (key.key_size + 7) // 8
            ephemeral = ec.generate_private_key(key.curve)
            point, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
            x, y, their_x = (number.to_bytes(width, "big") for number in (point.x, point.y, theirs.x))
            shared = ephemeral.exchange(ec.ECDH(), key)
            # KDFe of part 1, 11.4.10.3; one round fills the seed, as it is as long as the hash.
            seed = hashlib.new(digest, (1).to_bytes(4, "big") + shared + _LABEL + x + their_x).digest()
            return seed, _sized(x) + _sized(y)


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw
