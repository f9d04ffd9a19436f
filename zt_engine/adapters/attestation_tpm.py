"""What a TPM 2.0 proves: where a device's key lies, and that a boot was measured. No TPM is needed to verify it.

Three links, none of which may be missing. The maker's certificate, or a list of chips known beforehand, says that the
endorsement key (EK) is in a real TPM. A credential that only this TPM opens says that the attestation key (AK) is in it
too. The AK, which signs nothing but what its TPM saw, says that the device's key is there, and what was booted.

The second link never changes, so it is shown once: what the TPM takes out of the credential is a token over the pair of
keys that we recognise. It is worth nothing without the AK, which signs a nonce of ours each time.

What a TPM does not prove: that the system that runs now is the one that was booted, or is any good. Registers are not
compared with reference values here; what is shown is that every stage of the boot was measured at all.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from device_inventory.facts import FactValue
from device_inventory.inventory import Device, live_keys
from zt_engine.adapters.csr_x509 import spki_of
from zt_engine.adapters.tpm_credential import make_credential
from zt_engine.adapters.tpm_endorsement import check_endorsed
from zt_engine.adapters.tpm_structures import (
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    MADE_INSIDE,
    RESTRICTED,
    SIGN,
    Public,
    read_certified,
    read_public,
    read_quoted,
    read_signature,
)
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url, to_base64url
from zt_engine.ports.attestation import Attested
from zt_engine.ports.credentials import CertificateRequest

FORMAT: Final = "tpm2.0"
BANK: Final = "sha256"
REGISTERS: Final = tuple(range(8))
"""Firmware, its settings, boot loader and Secure Boot's policy: UEFI ends its measurements in each of them."""
MIN_SECRET: Final = 32

_BOUND = FIXED_TPM | FIXED_PARENT | MADE_INSIDE
_MAX_TEXT = 16 * 1024
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_UNPARSABLE = (ValueError, TypeError, KeyError, UnsupportedAlgorithm)


class TpmAttestation:
    """The `AttestationVerifier` and `AttestationChallenger` for TPM 2.0.

    `roots` are the makers' CAs, `registered` the chips known beforehand by the digest of their EK, which need no
    certificate. `secret` is what tokens are made with: every replica of a control plane has the same.
    """

    def __init__(
        self, *, roots: Sequence[x509.Certificate] = (), registered: frozenset[str] = frozenset(), secret: bytes
    ) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret has {MIN_SECRET} bytes or more")
        self._roots = tuple(roots)
        self._registered = registered
        self._secret = secret

    def __repr__(self) -> str:
        return f"TpmAttestation({len(self._roots)} roots, {len(self._registered)} chips)"

    def challenge(self, statement: Mapping[str, object], *, now: float) -> Mapping[str, str]:
        """Return the credential for an EK and an AK: `{credential, secret}`, which only their TPM opens."""
        with _refusing():
            endorsement, attestation = self._pair(statement, now=now)
            token = self._token(endorsement, attestation)
            credential, secret = make_credential(endorsement, attestation.name, token)
        return {"credential": to_base64url(credential), "secret": to_base64url(secret)}

    def key(
        self, attestation: Mapping[str, object], *, nonce: str, request: CertificateRequest, now: float
    ) -> Attested:
        """Return where the key of the request lies; InputError ATTESTATION_REFUSED."""
        with _refusing():
            endorsement, signer = self._shown(attestation, now=now)
            key = _certified(attestation, signer, qualifying("key", nonce, request.der_digest))
            if _digest(key) != request.spki:
                raise ValueError("the certified key is not the one the request is for")
        return Attested(hardware=_digest(endorsement))

    def boot(self, quote: object, *, device: Device, nonce: str, now: float) -> Mapping[str, FactValue]:
        """Return the facts a quote proves of the boot of a device; InputError ATTESTATION_REFUSED."""
        with _refusing():
            if not isinstance(quote, Mapping):
                raise ValueError("no quote")  # noqa: TRY004
            _, signer = self._shown(quote, now=now)
            bound = qualifying("boot", nonce, device.device_id)
            # Without this, any TPM could speak for any device.
            key = _certified(quote, signer, bound)
            if _digest(key) not in {held.spki for held in live_keys(device, now=int(now))}:
                raise ValueError("the TPM does not hold the device's key")
            measured = _measured(quote, signer, bound)
        return {"tpm.present": True, "tpm.version": "2.0", "boot.measured": measured}

    def _pair(self, statement: Mapping[str, object], *, now: float) -> tuple[Public, Public]:
        """Return EK and AK of a statement, both of the kind they have to be, the EK in a chip that is believed."""
        if statement.get("format") != FORMAT:
            raise ValueError("not the form of a TPM 2.0")
        endorsement = read_public(_bytes(statement, "ek", "public"))
        if endorsement.attributes & (_BOUND | RESTRICTED | DECRYPT | SIGN) != _BOUND | RESTRICTED | DECRYPT:
            raise ValueError("the endorsement key has other attributes")
        if not endorsement.symmetric_bits:
            raise ValueError("the endorsement key protects nothing")
        digest = _digest(endorsement)
        if digest not in self._registered:
            check_endorsed(_bytes(statement, "ek", "certificate"), endorsement.key, roots=self._roots, now=now)
        signer = read_public(_bytes(statement, "ak", "public"))
        # Restricted: it signs nothing that somebody outside made to look like the TPM's own words.
        if signer.attributes & (_BOUND | RESTRICTED | DECRYPT | SIGN) != _BOUND | RESTRICTED | SIGN:
            raise ValueError("the attestation key has other attributes")
        if not signer.signs_with:
            raise ValueError("the attestation key has no scheme of its own")
        return endorsement, signer

    def _shown(self, statement: Mapping[str, object], *, now: float) -> tuple[Public, Public]:
        """Return EK and AK once their TPM has opened the credential."""
        endorsement, signer = self._pair(statement, now=now)
        if not hmac.compare_digest(_bytes(statement, "ak", "token"), self._token(endorsement, signer)):
            raise ValueError("the two keys were not shown to be in one TPM")
        return endorsement, signer

    def _token(self, endorsement: Public, signer: Public) -> bytes:
        return hmac.digest(self._secret, b"zt-ak\0" + endorsement.name + signer.name, "sha256")


def qualifying(purpose: str, nonce: str, about: str) -> bytes:
    """Return what a TPM is given to sign along: for one purpose, bound to a nonce and to what it is about."""
    return hashlib.sha256(f"zt-tpm-{purpose}\n{nonce}\n{about}".encode()).digest()


def chip_of(endorsement: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """Return the name of a chip: base64url SHA-256 of its EK's SubjectPublicKeyInfo."""
    return to_base64url(hashlib.sha256(spki_of(endorsement)).digest())


def _digest(public: Public) -> str:
    return chip_of(public.key)


def _certified(statement: Mapping[str, object], signer: Public, bound: bytes) -> Public:
    """Return the key that the AK's TPM says it holds and nobody can take out."""
    key = read_public(_bytes(statement, "key", "public"))
    if key.attributes & (_BOUND | SIGN | DECRYPT) != _BOUND | SIGN:
        raise ValueError("the key could be somewhere else as well, or is none for signing")
    raw = _bytes(statement, "key", "attest")
    _check_signature(signer, raw, _bytes(statement, "key", "signature"))
    said = read_certified(raw)
    if not hmac.compare_digest(said.extra, bound):
        raise ValueError("what was certified is bound to something else")
    if said.name != key.name:
        raise ValueError("another key was certified")
    return key


def _measured(statement: Mapping[str, object], signer: Public, bound: bytes) -> bool:
    """Return whether every stage of the boot was measured, once the quote holds."""
    raw = _bytes(statement, "quote", "attest")
    _check_signature(signer, raw, _bytes(statement, "quote", "signature"))
    said = read_quoted(raw)
    if not hmac.compare_digest(said.extra, bound):
        raise ValueError("the quote is bound to something else")
    if said.bank != BANK or said.registers != REGISTERS:
        raise ValueError("the quote is about other registers")
    values = _bytes(statement, "quote", "registers")
    if len(values) != 32 * len(REGISTERS):
        raise ValueError("a value for each register is needed")
    # The digest of the values is made with the hash of the signing scheme (part 3, 18.4).
    if hashlib.new(signer.signs_with.partition("-")[2], values).digest() != said.digest:
        raise ValueError("the registers have other values")
    return all(_extended(values[start : start + 32]) for start in range(0, len(values), 32))


def _extended(value: bytes) -> bool:
    # Before anything is measured a register is zero, except for the locality that started the TPM.
    return any(value[:-1]) and value != b"\xff" * 32


def _check_signature(signer: Public, message: bytes, raw: bytes) -> None:
    signature = read_signature(raw)
    if signature.scheme != signer.signs_with:
        raise ValueError("signed by another scheme")
    scheme, _, name = signature.scheme.partition("-")
    digest = _HASHES[name]
    try:
        match signer.key:
            case ec.EllipticCurvePublicKey() as key if scheme == "ecdsa":
                r, s = (int.from_bytes(value, "big") for value in signature.values)
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
            case rsa.RSAPublicKey() as key if scheme == "rsassa":
                key.verify(signature.values[0], message, padding.PKCS1v15(), digest)
            case rsa.RSAPublicKey() as key if scheme == "rsapss":
                pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
                key.verify(signature.values[0], message, pss, digest)
            case _:
                raise ValueError("a key of another kind")
    except InvalidSignature:
        raise ValueError("the signature does not hold") from None


def _bytes(statement: Mapping[str, object], part: str, name: str) -> bytes:
    members = statement.get(part)
    text = members.get(name) if isinstance(members, Mapping) else None
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT:
        raise ValueError(f"`{part}.{name}` is missing")
    return from_base64url(text)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever is wrong with a statement is one refusal; which link broke is for the operator's log."""
    try:
        yield
    except _UNPARSABLE as error:
        message = str(error) if type(error) is ValueError else "it cannot be read"
        raise InputError("ATTESTATION_REFUSED", message) from None
