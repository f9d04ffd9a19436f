"""What a TPM 2.0 sends, read byte by byte (TPM 2.0 Library, part 2): public areas, attestations, signatures.

Only what is verified here can be read. Every length is checked before it is believed, and nothing may be left over:
ValueError for any other bytes. What was read says nothing yet; the rules are in `attestation_tpm`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

MAX_BYTES: Final = 4096

_RSA, _ECC = 0x0001, 0x0023
_NULL, _AES, _CFB = 0x0010, 0x0006, 0x0043
_RSASSA, _RSAES, _RSAPSS, _OAEP, _ECDSA, _ECDAA = 0x0014, 0x0015, 0x0016, 0x0017, 0x0018, 0x001A
_HASHES: Final[Mapping[int, str]] = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_CURVES: Final[Mapping[int, ec.EllipticCurve]] = {0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1()}
_DEFAULT_EXPONENT = 65537

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE: a restricted key signs it only where the TPM itself put it."""
_CERTIFY, _QUOTE = 0x8017, 0x8018

FIXED_TPM: Final = 1 << 1
FIXED_PARENT: Final = 1 << 4
MADE_INSIDE: Final = 1 << 5
"""sensitiveDataOrigin: the TPM drew the key, nobody loaded it."""
RESTRICTED: Final = 1 << 16
DECRYPT: Final = 1 << 17
SIGN: Final = 1 << 18

HashName = Literal["sha256", "sha384", "sha512"]


class Public(msgspec.Struct, frozen=True, kw_only=True):
    """A public area (TPMT_PUBLIC)."""

    name_hash: str
    attributes: int
    symmetric_bits: int
    """Of AES in CFB mode; 0 where the key protects nothing."""
    signs_with: str
    """The scheme a key is fixed to, with its hash: `ecdsa-sha256`; empty for none."""
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    raw: bytes

    @property
    def name(self) -> bytes:
        """The object's Name (part 1, 16): what a TPM calls it, the same for no other public area."""
        algorithm = next(number for number, name in _HASHES.items() if name == self.name_hash)
        return algorithm.to_bytes(2, "big") + hashlib.new(self.name_hash, self.raw).digest()


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """What TPM2_Certify says: an object of this Name is loaded in the TPM of the key that signs."""

    extra: bytes
    name: bytes


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """What TPM2_Quote says: these registers of one bank had values with this digest."""

    extra: bytes
    bank: str
    registers: tuple[int, ...]
    digest: bytes


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature (TPMT_SIGNATURE): r and s of ECDSA, or the one value of RSA."""

    scheme: str
    values: tuple[bytes, ...]


class _Reader:
    """Takes values off the front; ValueError where there are too few bytes."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        self._raw = raw
        self._at = 0

    def take(self, size: int) -> bytes:
        piece = self._raw[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("it ends too early")
        self._at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, most: int) -> bytes:
        size = self.number(2)
        if size > most:
            raise ValueError("a part is longer than it may be")
        return self.take(size)

    def word(self, words: Mapping[int, str]) -> str:
        number = self.number(2)
        if number not in words:
            raise ValueError(f"algorithm {number:#06x} is not taken")
        return words[number]

    def end(self) -> None:
        if self._at != len(self._raw):
            raise ValueError("bytes are left over")


def read_public(raw: bytes) -> Public:
    """Return a TPMT_PUBLIC of an RSA or ECC key."""
    reader = _Reader(raw)
    kind = reader.number(2)
    name_hash = reader.word(_HASHES)
    attributes = reader.number(4)
    reader.sized(64)  # authPolicy: who may use the key is the TPM's business
    symmetric = _symmetric(reader)
    scheme = _scheme(reader)
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if kind == _RSA:
        key = _rsa_key(reader)
    elif kind == _ECC:
        key = _ecc_key(reader)
    else:
        raise ValueError("neither an RSA nor an ECC key")
    reader.end()
    return Public(
        name_hash=name_hash, attributes=attributes, symmetric_bits=symmetric, signs_with=scheme, key=key, raw=raw
    )


def read_certified(raw: bytes) -> Certified:
    """Return a TPMS_ATTEST of TPM2_Certify."""
    reader = _Reader(raw)
    extra = _attestation(reader, _CERTIFY)
    name = reader.sized(66)
    reader.sized(66)  # the qualified name
    reader.end()
    return Certified(extra=extra, name=name)


def read_quoted(raw: bytes) -> Quoted:
    """Return a TPMS_ATTEST of TPM2_Quote over one bank."""
    reader = _Reader(raw)
    extra = _attestation(reader, _QUOTE)
    if reader.number(4) != 1:
        raise ValueError("not exactly one bank")
    bank = reader.word(_HASHES)
    bits = reader.take(reader.number(1))
    if len(bits) > 4:
        raise ValueError("there are no so many registers")
    digest = reader.sized(64)
    reader.end()
    registers = tuple(number for number in range(len(bits) * 8) if bits[number // 8] >> number % 8 & 1)
    return Quoted(extra=extra, bank=bank, registers=registers, digest=digest)


def read_signature(raw: bytes) -> Signature:
    """Return a TPMT_SIGNATURE of ECDSA, RSASSA or RSAPSS."""
    reader = _Reader(raw)
    scheme = reader.word({_ECDSA: "ecdsa", _RSASSA: "rsassa", _RSAPSS: "rsapss"})
    hashed = reader.word(_HASHES)
    values = tuple(reader.sized(512) for _ in range(2 if scheme == "ecdsa" else 1))
    reader.end()
    return Signature(scheme=f"{scheme}-{hashed}", values=values)


def _attestation(reader: _Reader, kind: int) -> bytes:
    """Read the head of a TPMS_ATTEST and return what was passed to be signed with it."""
    if reader.number(4) != GENERATED:
        raise ValueError("no TPM made this")
    if reader.number(2) != kind:
        raise ValueError("another kind of attestation")
    reader.sized(66)  # qualifiedSigner
    extra = reader.sized(66)
    reader.take(8 + 4 + 4)  # clock, resetCount, restartCount
    if reader.number(1) > 1:
        raise ValueError("a yes or no that is neither")
    reader.take(8)  # firmwareVersion
    return extra


def _symmetric(reader: _Reader) -> int:
    algorithm = reader.number(2)
    if algorithm == _NULL:
        return 0
    bits, mode = reader.number(2), reader.number(2)
    if algorithm != _AES or mode != _CFB or bits not in (128, 256):
        raise ValueError("a key protects with AES in CFB mode, or not at all")
    return bits


def _scheme(reader: _Reader) -> str:
    algorithm = reader.number(2)
    if algorithm in (_NULL, _RSAES):
        return ""
    words = {_RSASSA: "rsassa", _RSAPSS: "rsapss", _OAEP: "", _ECDSA: "ecdsa"}
    if algorithm not in words:
        raise ValueError(f"scheme {algorithm:#06x} is not taken")
    hashed = reader.word(_HASHES)
    return f"{words[algorithm]}-{hashed}" if words[algorithm] else ""


def _rsa_key(reader: _Reader) -> rsa.RSAPublicKey:
    bits = reader.number(2)
    exponent = reader.number(4) or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized(512), "big")
    if modulus.bit_length() != bits or not 2048 <= bits <= 4096 or exponent != _DEFAULT_EXPONENT:
        raise ValueError("an RSA key has 2048 to 4096 bits, and 65537")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _ecc_key(reader: _Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(reader.number(2))
    if reader.number(2) != _NULL:
        raise ValueError("a key derivation that is not taken")
    x, y = reader.sized(48), reader.sized(48)
    if curve is None:
        raise ValueError("keys are on P-256 or P-384")
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()
