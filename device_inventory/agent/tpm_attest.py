"""What this machine's TPM can prove to somebody else: that it holds the device's key, and that it measured the boot.

An attestation key (AK) is made once, beside the device's key. The control plane answers with a credential that only
this TPM opens; what comes out of it is kept, and goes into every later statement. Nothing here is secret from root on
this machine, and nothing of it can be used on another one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

import msgspec

from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home

FORMAT: Final = "tpm2.0"
STATE: Final = "tpm-attestation.json"
REGISTERS: Final = "sha256:0,1,2,3,4,5,6,7"
COUNT: Final = 8

Statement = Mapping[str, object]
Challenge = Callable[[Statement], Mapping[str, str]]
"""Asks the control plane for a credential: `{format, ek, ak}` in, `{credential, secret}` out."""

_STORAGE: Final = "ecc"
_SCHEME: Final = "ecc:ecdsa-sha256:null"
_ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|restricted"
ENDORSEMENTS: Final = ("EK-ECC256", "EK-HIGH-ECC256", "EK-HIGH-ECC384", "EK-HIGH-RSA2048", "EK-RSA2048")
"""Kinds of endorsement keys: the first that has a certificate is taken, or else the last."""

_USER_WITH_AUTH: Final = 1 << 6
_READINGS: Final = 8


class _Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The AK as only this TPM can load it, and what its credential held."""

    public: str
    private: str
    endorsement: str
    token: str


class _Endorsement(NamedTuple):
    """The EK, its certificate (empty where the TPM has none), and what makes the TPM show it again."""

    certificate: bytes
    template: Any
    public: Any


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    public: str
    private: str


class TpmAttester:
    """The `Attester` over a key in the TPM; `key_file` returns the name of its file in `home`, and is asked
    each time, as the key may be made later. `tcti` says how the TPM is reached.

    Raises AGENT_TPM_FAILED for whatever the TPM says no to, AGENT_TPM_LIBRARY without tpm2-pytss.
    """

    def __init__(
        self,
        home: Home,
        *,
        key_file: Callable[[], str],
        tcti: str,
        challenge: Challenge,
        endorsements: Sequence[str] = ENDORSEMENTS,
    ) -> None:
        self._home = home
        self._key_file = key_file
        self._tcti = tcti
        self._challenge = challenge
        self._endorsements = tuple(endorsements)

    def attest(self, *, nonce: str, csr_digest: str) -> Statement:
        """Return the statement that the TPM holds the key a certificate is asked for."""
        endorsement, held = self._shown()
        with self._opened() as tpm:
            return self._statement(tpm, endorsement, held, qualifying("key", nonce, csr_digest))

    def quote(self, *, nonce: str, device_id: str) -> Statement:
        """Return the statement of what was booted, by the TPM that holds the device's key."""
        endorsement, held = self._shown()
        with self._opened() as tpm:
            bound = qualifying("boot", nonce, device_id)
            statement = dict(self._statement(tpm, endorsement, held, bound))
            statement["quote"] = self._quote(tpm, held, bound)
            return statement

    def forget(self) -> None:
        """Have the next statement begin with another challenge: the control plane no longer takes what it gave."""
        self._home.remove(STATE)

    def _statement(self, tpm: Any, endorsement: _Endorsement, held: _Held, bound: bytes) -> Statement:
        with _loaded(tpm, self._key()) as (key, public), _loaded(tpm, held) as (signer, signer_public):
            attest, signature = tpm.certify(key, signer, bound, _default_scheme())
        return {
            **_pair(endorsement, signer_public, token=held.token),
            "key": {
                "public": _text(public.publicArea.marshal()),
                "attest": _text(bytes(attest)),
                "signature": _text(signature.marshal()),
            },
        }

    def _quote(self, tpm: Any, held: _Held, bound: bytes) -> Mapping[str, str]:
        for _ in range(_READINGS):
            before = _registers(tpm)
            with _loaded(tpm, held) as (signer, _):
                attest, signature = tpm.quote(signer, REGISTERS, bound)
            # What changed in between would look like a forgery.
            if _registers(tpm) == before:
                return {
                    "attest": _text(bytes(attest)),
                    "signature": _text(signature.marshal()),
                    "registers": _text(before),
                }
        raise AgentError("AGENT_TPM_FAILED", "its registers do not hold still")

    def _shown(self) -> tuple[_Endorsement, _Held]:
        """Return EK and AK of this TPM; an AK is made and shown to the control plane where there is none yet."""
        with self._opened() as tpm:
            endorsement = _endorsement(tpm, self._endorsements)
            name = _text(endorsement.public.get_name().name)
            held = self._state()
            if held is not None and held.endorsement == name:
                return endorsement, held
            template = _library().TPM2B_PUBLIC.parse(_SCHEME, objectAttributes=_ATTRIBUTES)
            with _storage(tpm) as parent:
                private, public, *_ = tpm.create(parent, None, template)
        wrapped = _Wrapped(public=_text(public.marshal()), private=_text(private.marshal()))
        # The TPM is let go meanwhile: who asks may have to sign with a key that is in it.
        answer = self._challenge(_pair(endorsement, public, token=""))
        with self._opened() as tpm:
            token = _text(_activate(tpm, endorsement.template, wrapped, answer))
        held = _Held(public=wrapped.public, private=wrapped.private, endorsement=name, token=token)
        self._home.write(STATE, msgspec.json.encode(held))
        return endorsement, held

    def _state(self) -> _Held | None:
        raw = self._home.read(STATE)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=_Held)
        except msgspec.DecodeError:
            return None  # nothing is lost: another one is made and shown

    def _key(self) -> _Wrapped:
        name = self._key_file()
        raw, where = self._home.read(name), str(self._home.path / name)
        if raw is None:
            raise AgentError("AGENT_KEY_MISSING", "there is no such file", where=where)
        try:
            # The agent keeps its key in plain base64, and what is sent is base64url.
            key = msgspec.json.decode(raw, type=_Wrapped)
            public, private = (base64.b64decode(part, validate=True) for part in (key.public, key.private))
        except (msgspec.DecodeError, binascii.Error):
            raise AgentError("AGENT_KEY_CORRUPT", "it is no key of a TPM", where=where) from None
        return _Wrapped(public=_text(public), private=_text(private))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        tss = _library()
        try:
            with tss.ESAPI(self._tcti) as tpm:
                yield tpm
        except (tss.TSS2_Exception, RuntimeError, ValueError, OSError) as error:
            raise AgentError("AGENT_TPM_FAILED", type(error).__name__, where=self._tcti) from None


def qualifying(purpose: str, nonce: str, about: str) -> bytes:
    """Return what the TPM signs along: for one purpose, bound to a nonce and to what it is about."""
    return hashlib.sha256(f"zt-tpm-{purpose}\n{nonce}\n{about}".encode()).digest()


def _endorsement(tpm: Any, kinds: Sequence[str]) -> _Endorsement:
    """Return the EK: the first that has a certificate, and where none has one, the last."""
    utils = import_module("tpm2_pytss.utils")
    reader = utils.NVReadEK(tpm)
    certificate, template = b"", None
    for kind in kinds:
        try:
            certificate, template = utils.create_ek_template(kind, reader)
        except ValueError:  # no certificate of this kind
            continue
        if certificate:
            break
    if template is None:
        raise AgentError("AGENT_TPM_FAILED", "it has no endorsement key with a certificate")
    with _primary(tpm, template) as (_, public):
        return _Endorsement(_trimmed(certificate or b""), template, public)


@contextmanager
def _primary(tpm: Any, template: Any) -> Iterator[tuple[Any, Any]]:
    tss = _library()
    handle, public, *_ = tpm.create_primary(None, template, tss.ESYS_TR.ENDORSEMENT)
    try:
        yield handle, public
    finally:
        tpm.flush_context(handle)


@contextmanager
def _storage(tpm: Any) -> Iterator[Any]:
    handle, *_ = tpm.create_primary(None, _STORAGE, _library().ESYS_TR.OWNER)
    try:
        yield handle
    finally:
        tpm.flush_context(handle)


@contextmanager
def _loaded(tpm: Any, wrapped: _Held | _Wrapped) -> Iterator[tuple[Any, Any]]:
    """Load a key. Its parent is let go at once: a TPM without a resource manager has room for three objects."""
    tss = _library()
    public, _ = tss.TPM2B_PUBLIC.unmarshal(_raw(wrapped.public))
    private, _ = tss.TPM2B_PRIVATE.unmarshal(_raw(wrapped.private))
    with _storage(tpm) as parent:
        handle = tpm.load(parent, private, public)
    try:
        yield handle, public
    finally:
        tpm.flush_context(handle)


def _activate(tpm: Any, template: Any, wrapped: _Wrapped, answer: Mapping[str, str]) -> bytes:
    """Return what is in the credential: the TPM opens it because it holds both keys."""
    tss = _library()
    if not {"credential", "secret"} <= answer.keys():
        raise AgentError("AGENT_TPM_FAILED", "the control plane sent no credential")
    credential, _ = tss.TPM2B_ID_OBJECT.unmarshal(_raw(answer["credential"]))
    secret, _ = tss.TPM2B_ENCRYPTED_SECRET.unmarshal(_raw(answer["secret"]))
    with _primary(tpm, template) as (endorsement, public), _loaded(tpm, wrapped) as (signer, _):
        if int(public.publicArea.objectAttributes) & _USER_WITH_AUTH:
            return bytes(tpm.activate_credential(signer, endorsement, credential, secret))
        none = tss.ESYS_TR.NONE
        symmetric = tss.TPMT_SYM_DEF(algorithm=tss.TPM2_ALG.NULL)
        session = tpm.start_auth_session(none, none, tss.TPM2_SE.POLICY, symmetric, tss.TPM2_ALG.SHA256)
        try:
            tpm.policy_secret(tss.ESYS_TR.ENDORSEMENT, session)
            return bytes(tpm.activate_credential(signer, endorsement, credential, secret, session2=session))
        finally:
            tpm.flush_context(session)


def _registers(tpm: Any) -> bytes:
    """Return the values of the registers, one after the other."""
    values: list[bytes] = []
    while len(values) < COUNT:
        wanted = "sha256:" + ",".join(str(number) for number in range(len(values), COUNT))
        _, _, digests = tpm.pcr_read(wanted)
        read = [bytes(digest) for digest in digests]
        if not read:
            raise AgentError("AGENT_TPM_FAILED", "it keeps no registers with SHA-256")
        values += read
    return b"".join(values)


def _pair(endorsement: _Endorsement, signer: Any, *, token: str) -> dict[str, object]:
    chip = {"public": _text(endorsement.public.publicArea.marshal())}
    if endorsement.certificate:
        chip["certificate"] = _text(endorsement.certificate)
    key = {"public": _text(signer.publicArea.marshal())}
    if token:
        key["token"] = token
    return {"format": FORMAT, "ek": chip, "ak": key}


def _default_scheme() -> Any:
    tss = _library()
    return tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)


def _trimmed(certificate: bytes) -> bytes:
    """Return the certificate without what the TPM's memory is filled up with behind it."""
    if len(certificate) < 4 or certificate[:2] != b"\x30\x82":
        return certificate
    return certificate[: 4 + int.from_bytes(certificate[2:4], "big")]


def _library() -> Any:
    try:
        return import_module("tpm2_pytss")
    except (ImportError, RuntimeError):
        raise AgentError("AGENT_TPM_LIBRARY", "tpm2-pytss is not installed, or its libraries are not") from None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
