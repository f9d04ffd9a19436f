"""A key in this machine's TPM 2.0. What is stored beside it is wrapped by the TPM and is of no use anywhere else.

The key is a child of the owner hierarchy's standard storage key, so nothing is left in the TPM's own memory. Proof to
somebody else that it lives there (`attested_hw`) is the work of an `Attester`; without one the label is `hw`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from device_inventory.agent.csr import make_csr, public_jwk
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home, KeyProtection, KeyRef

DEVICE: Final = Path("/dev/tpmrm0")
_TCTI: Final = f"device:{DEVICE}"
_STORAGE: Final = "ecc"
_SIGNING: Final = "ecc:ecdsa-sha256:null"
_ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    public: str
    private: str


class TpmKey:
    """A P-256 key the TPM made and alone can use. Every signature talks to the TPM anew."""

    def __init__(self, wrapped: _Wrapped, public: ec.EllipticCurvePublicKey, tcti: str) -> None:
        self._wrapped = wrapped
        self._tcti = tcti
        self._public = public
        self.protection: KeyProtection = "hw"
        self.public_jwk: Mapping[str, str] = public_jwk(public)

    @classmethod
    def probe(cls, tcti: str) -> None:
        """Raise what keeps a key from being made: AGENT_TPM_MISSING, AGENT_TPM_LIBRARY, AGENT_TPM_FAILED."""
        with _tpm(tcti) as tpm, _storage(tpm):
            pass

    @classmethod
    def make(cls, home: Home, ref: KeyRef) -> Self:
        """Make the key, unless it is there."""
        if home.read(ref.name) is None:
            with _tpm(ref.tcti) as tpm, _storage(tpm) as parent:
                template = _library().TPM2B_PUBLIC.parse(_SIGNING, objectAttributes=_ATTRIBUTES)
                private, public, *_ = tpm.create(parent, None, template)
                held = _Wrapped(public=_text(public.marshal()), private=_text(private.marshal()))
            home.write(ref.name, msgspec.json.encode(held))
        return cls.open(home, ref)

    @classmethod
    def open(cls, home: Home, ref: KeyRef) -> Self:
        """Read the wrapped key; AGENT_KEY_MISSING, AGENT_KEY_CORRUPT."""
        where = str(home.path / ref.name)
        raw = home.read(ref.name)
        if raw is None:
            raise AgentError("AGENT_KEY_MISSING", "there is no such file", where=where)
        try:
            wrapped = msgspec.json.decode(raw, type=_Wrapped)
            public = _public(base64.b64decode(wrapped.public, validate=True))
        except (msgspec.DecodeError, ValueError, binascii.Error):
            raise AgentError("AGENT_KEY_CORRUPT", "it is no key of a TPM", where=where) from None
        return cls(wrapped, public, ref.tcti)

    def sign(self, content: bytes) -> bytes:
        """Return the ES256 signature; the TPM is given the digest."""
        with _tpm(self._tcti) as tpm, _storage(tpm) as parent:
            tss = _library()
            public, _ = tss.TPM2B_PUBLIC.unmarshal(base64.b64decode(self._wrapped.public))
            private, _ = tss.TPM2B_PRIVATE.unmarshal(base64.b64decode(self._wrapped.private))
            handle = tpm.load(parent, private, public)
            try:
                scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.ECDSA)
                scheme.details.any.hashAlg = tss.TPM2_ALG.SHA256
                ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
                signed = tpm.sign(handle, hashlib.sha256(content).digest(), scheme, ticket)
            finally:
                tpm.flush_context(handle)
            parts = signed.signature.ecdsa
            return bytes(parts.signatureR).rjust(32, b"\0") + bytes(parts.signatureS).rjust(32, b"\0")

    def csr(self, name: str) -> str:
        """Return a certificate signing request in PEM."""
        return make_csr(self, self._public, name)

    def __repr__(self) -> str:
        return "TpmKey(...)"


def reached(tcti: str) -> str:
    """Return how tpm2-tss reaches the TPM: as it was said, or this machine's own through the resource manager."""
    return tcti or _TCTI


def _library() -> Any:
    try:
        return import_module("tpm2_pytss")
    except (ImportError, RuntimeError):
        raise AgentError("AGENT_TPM_LIBRARY", "tpm2-pytss is not installed, or its libraries are not") from None


@contextmanager
def _tpm(tcti: str) -> Iterator[Any]:
    if not tcti and not DEVICE.exists():
        raise AgentError("AGENT_TPM_MISSING", f"there is no `{DEVICE}`")
    tss = _library()
    try:
        with tss.ESAPI(reached(tcti)) as tpm:
            yield tpm
    except (tss.TSS2_Exception, RuntimeError, OSError) as error:
        raise AgentError("AGENT_TPM_FAILED", type(error).__name__, where=str(DEVICE)) from None


@contextmanager
def _storage(tpm: Any) -> Iterator[Any]:
    handle, *_ = tpm.create_primary(None, _STORAGE, _library().ESYS_TR.OWNER)
    try:
        yield handle
    finally:
        tpm.flush_context(handle)


def _public(marshalled: bytes) -> ec.EllipticCurvePublicKey:
    """Read x and y off the end of a TPM2B_PUBLIC of a P-256 key: two 32-byte values, each after its length."""
    if len(marshalled) < 68 or marshalled[-68:-66] != b"\x00\x20" or marshalled[-34:-32] != b"\x00\x20":
        raise ValueError("no P-256 point")
    x, y = int.from_bytes(marshalled[-66:-34]), int.from_bytes(marshalled[-32:])
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
