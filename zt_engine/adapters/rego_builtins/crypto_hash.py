"""Digests and keyed digests. MD5 and SHA-1 are offered because policies compare against foreign fingerprints."""

from __future__ import annotations

import hashlib
import hmac

from zt_engine.adapters.rego_builtins.operands import builtin, octets
from zt_engine.adapters.rego_values import Value


@builtin("crypto.md5")
def md5(text: Value) -> Value:
    """The digest in hexadecimal."""
    return hashlib.md5(octets(text, 1), usedforsecurity=False).hexdigest()


@builtin("crypto.sha1")
def sha1(text: Value) -> Value:
    """The digest in hexadecimal."""
    return hashlib.sha1(octets(text, 1), usedforsecurity=False).hexdigest()


@builtin("crypto.sha256")
def sha256(text: Value) -> Value:
    """The digest in hexadecimal."""
    return hashlib.sha256(octets(text, 1)).hexdigest()


@builtin("crypto.hmac.md5")
def hmac_md5(text: Value, key: Value) -> Value:
    """The keyed digest in hexadecimal."""
    return hmac.new(octets(key, 2), octets(text, 1), "md5").hexdigest()


@builtin("crypto.hmac.sha1")
def hmac_sha1(text: Value, key: Value) -> Value:
    """The keyed digest in hexadecimal."""
    return hmac.new(octets(key, 2), octets(text, 1), "sha1").hexdigest()


@builtin("crypto.hmac.sha256")
def hmac_sha256(text: Value, key: Value) -> Value:
    """The keyed digest in hexadecimal."""
    return hmac.new(octets(key, 2), octets(text, 1), "sha256").hexdigest()


@builtin("crypto.hmac.sha512")
def hmac_sha512(text: Value, key: Value) -> Value:
    """The keyed digest in hexadecimal."""
    return hmac.new(octets(key, 2), octets(text, 1), "sha512").hexdigest()


@builtin("crypto.hmac.equal")
def hmac_equal(first: Value, second: Value) -> Value:
    """Compare without telling by time where they differ."""
    return hmac.compare_digest(octets(first, 1), octets(second, 2))
