"""Public keys whose private half anybody can have: too short, made by a broken generator, or printed in a standard.

This is no proof that a key is good. It refuses what is cheap to find: each check takes well under a millisecond, and
none takes more for a key that was made to be slow.
"""

from __future__ import annotations

from functools import cache
from math import gcd, isqrt, prod
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
"""A longer modulus is good for nothing but keeping verifiers busy."""
MAX_EXPONENT_BITS: Final = 32
FERMAT_ROUNDS: Final = 100
SMALL_SCALARS: Final = 64

_SMALL_PRIMES = tuple(n for n in range(3, 1000, 2) if all(n % d for d in range(3, isqrt(n) + 1, 2)))
_SMALL_PRODUCT = prod(_SMALL_PRIMES)

# Moduli of the Infineon library (CVE-2017-15361) are powers of 65537 modulo every one of these primes.
_ROCA_PRIMES = tuple(n for n in _SMALL_PRIMES if 11 <= n <= 167)
_ROCA_RESIDUES = tuple((p, frozenset(pow(65537, k, p) for k in range(p))) for p in _ROCA_PRIMES)

PUBLISHED: Final = frozenset(
    {
        "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8",  # RFC 7515 A.2
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",  # RFC 7515 A.3
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",  # RFC 7517 A.1
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",  # RFC 7517 A.1, RFC 7638 3.1
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",  # RFC 8037 A
    }
)
"""Thumbprints (RFC 7638) of keys that are printed in standards together with their private half."""

_ED25519_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    )
)
"""Points under which a signature can be made without any key."""


def weakness(key: PublicKey) -> str:
    """Return in words why nothing should be certified under this key; empty when nothing is known against it."""
    match key:
        case rsa.RSAPublicKey():
            return _rsa_weakness(key)
        case ec.EllipticCurvePublicKey():
            if key.public_numbers().x in _small_multiples(key.curve.name):
                return "the private key is a small number"
        case ed25519.Ed25519PublicKey():
            if key.public_bytes_raw() in _ED25519_SMALL_ORDER:
                return "the public key is a point of small order"
    return ""


def _rsa_weakness(key: rsa.RSAPublicKey) -> str:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, and not {key.key_size}"
    numbers = key.public_numbers()
    if numbers.e < 65537 or numbers.e.bit_length() > MAX_EXPONENT_BITS or numbers.e % 2 == 0:
        return "the RSA exponent is an odd number from 65537 to 32 bits"
    if numbers.n % 2 == 0 or gcd(numbers.n, _SMALL_PRODUCT) != 1:
        return "the RSA modulus has a small factor"
    if all(numbers.n % prime in residues for prime, residues in _ROCA_RESIDUES):
        return "the RSA key was made by a chip with a broken generator (CVE-2017-15361)"
    if _close_factors(numbers.n):
        return "the factors of the RSA modulus are close to each other"
    return ""


def _close_factors(modulus: int) -> bool:
    """Fermat's method finds two primes that were taken from one neighbourhood (CVE-2022-26320) within a few steps."""
    middle = isqrt(modulus - 1) + 1
    for _ in range(FERMAT_ROUNDS):
        square = middle * middle - modulus
        root = isqrt(square)
        if root * root == square:
            return True
        middle += 1
    return False


@cache
def _small_multiples(curve: str) -> frozenset[int]:
    """The x of the first multiples of the generator; the same x stands for the largest scalars as well."""
    made = ec.SECP256R1() if curve == "secp256r1" else ec.SECP384R1()
    scalars = range(1, SMALL_SCALARS + 1)
    return frozenset(ec.derive_private_key(k, made).public_key().public_numbers().x for k in scalars)
