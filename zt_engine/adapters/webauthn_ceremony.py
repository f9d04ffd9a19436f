"""WebAuthn by the library `webauthn`: options for browsers, and the verification of what they answer.

The library does the cryptography and the formats. What is decided here: the one origin and relying party that count,
that the user was verified, that no other site's page was around it, and which makers are believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, parse_attestation_object
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.strict_json import read_object
from zt_engine.core.webauthn import Answered, Passkey, transports_of
from zt_engine.ports.webauthn import NewKey

Found = TypeVar("Found")
MAX_ANSWER: Final = 32 * 1024
MILLISECONDS: Final = 300_000
VOUCHED: Final = (AttestationFormat.PACKED, AttestationFormat.TPM, AttestationFormat.FIDO_U2F)
"""Formats whose chain ends at a maker of hardware."""
_TRANSPORTS: Final = {one.value: one for one in AuthenticatorTransport}


class _Response(msgspec.Struct):
    clientDataJSON: str  # noqa: N815  (the names are the standard's)
    attestationObject: str = ""  # noqa: N815
    authenticatorData: str = ""  # noqa: N815
    userHandle: str | None = None  # noqa: N815
    transports: list[str] = []


class _Answer(msgspec.Struct):
    id: str
    response: _Response


class _ClientData(msgspec.Struct):
    origin: str
    challenge: str
    crossOrigin: bool = False  # noqa: N815
    topOrigin: str | None = None  # noqa: N815


class WebAuthnKeys:
    """Keys for one relying party, used at one origin. `roots`: certificates (PEM) of makers that are believed."""

    def __init__(self, *, rp_id: str, origin: str, name: str, roots: Sequence[bytes] = ()) -> None:
        self._rp_id = rp_id
        self._origin = origin
        self._name = name
        self._roots = {kind: list(roots) for kind in VOUCHED} if roots else {}

    def creation(self, *, challenge: str, handle: str, name: str, display: str, known: Sequence[Passkey]) -> bytes:
        """Return the options for a new key; one that is known already is not made twice."""
        return options_to_json(
            generate_registration_options(
                rp_id=self._rp_id,
                rp_name=self._name,
                user_id=base64url_to_bytes(handle),
                user_name=name,
                user_display_name=display,
                challenge=base64url_to_bytes(challenge),
                timeout=MILLISECONDS,
                # Who believes no maker has no business with who made a key.
                attestation=AttestationConveyancePreference.DIRECT
                if self._roots
                else AttestationConveyancePreference.NONE,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.PREFERRED,
                    user_verification=UserVerificationRequirement.REQUIRED,
                ),
                exclude_credentials=_descriptors(known),
            )
        ).encode()

    def request(self, *, challenge: str, keys: Sequence[Passkey]) -> bytes:
        """Return the options for using one of these keys."""
        return options_to_json(
            generate_authentication_options(
                rp_id=self._rp_id,
                challenge=base64url_to_bytes(challenge),
                timeout=MILLISECONDS,
                allow_credentials=_descriptors(keys),
                user_verification=UserVerificationRequirement.REQUIRED,
            )
        ).encode()

    def created(self, answer: bytes, *, challenge: str) -> NewKey:
        """Verify an answer to options for a new key."""
        read = _read(answer)
        self._examine(read.response, challenge)
        made = _checked(lambda: self._made(answer, challenge, {}))
        if not made.user_verified:
            raise InputError("PASSKEY_VERIFICATION", "nobody unlocked the key")
        return NewKey(
            credential=bytes_to_base64url(made.credential_id),
            public_key=bytes_to_base64url(made.credential_public_key),
            counter=made.sign_count,
            backup_eligible=made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            backed_up=made.credential_backed_up,
            attested=self._vouched(answer, challenge, made),
            aaguid=made.aaguid,
            transports=transports_of(read.response.transports),
        )

    def named(self, answer: bytes) -> str:
        """Return the credential id an answer names, unverified."""
        return _read(answer).id

    def proved(self, answer: bytes, *, challenge: str, key: Passkey) -> Answered:
        """Verify a key's answer."""
        read = _read(answer)
        self._examine(read.response, challenge)
        if read.response.userHandle not in (None, "", key.handle):
            raise InputError("PASSKEY_UNKNOWN", "the key is another person's")
        shown = _checked(
            lambda: verify_authentication_response(
                credential=answer.decode(),
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=base64url_to_bytes(key.public_key),
                # The library looks at the counter before the signature: anybody could say a small one.
                credential_current_sign_count=0,
                require_user_verification=False,
            )
        )
        if not shown.user_verified:
            raise InputError("PASSKEY_VERIFICATION", "nobody unlocked the key")
        return Answered(
            counter=shown.new_sign_count,
            backup_eligible=shown.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            backed_up=shown.credential_backed_up,
        )

    def _made(self, answer: bytes, challenge: str, roots: dict[AttestationFormat, list[bytes]]) -> VerifiedRegistration:
        return verify_registration_response(
            credential=answer.decode(),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=self._rp_id,
            expected_origin=self._origin,
            require_user_verification=False,
            pem_root_certs_bytes_by_fmt=roots,
        )

    def _vouched(self, answer: bytes, challenge: str, made: VerifiedRegistration) -> bool:
        """Whether a maker that is believed vouches for the key; one that vouches for itself does not count."""
        if made.fmt not in self._roots or not parse_attestation_object(made.attestation_object).att_stmt.x5c:
            return False
        try:
            _checked(lambda: self._made(answer, challenge, self._roots))
        except InputError:
            return False
        return True

    def _examine(self, response: _Response, challenge: str) -> None:
        """Say exactly what is wrong, where the library would only say that something is."""
        try:
            told = msgspec.json.decode(base64url_to_bytes(response.clientDataJSON), type=_ClientData)
        except (ValueError, TypeError):
            raise InputError("PASSKEY_INVALID", "what the browser says of the ceremony does not read") from None
        if told.origin != self._origin or told.crossOrigin or told.topOrigin is not None:
            raise InputError("PASSKEY_ORIGIN", "the answer was made at another site, or inside another site's page")
        if told.challenge.rstrip("=") != challenge:
            raise InputError("PASSKEY_CHALLENGE", "the answer was made for another challenge")


def _read(answer: bytes) -> _Answer:
    if len(answer) > MAX_ANSWER:
        raise InputError("PASSKEY_INVALID", "the answer is longer than any key's")
    try:
        read_object(answer)  # one reading only
        return msgspec.json.decode(answer, type=_Answer)
    except (InputError, ValueError):
        raise InputError("PASSKEY_INVALID", "the answer is none of a key") from None


def _checked(verify: Callable[[], Found]) -> Found:
    """Run the library on what a stranger sent: whatever it raises, the answer is refused."""
    try:
        return verify()
    except WebAuthnException as error:
        code = "PASSKEY_ORIGIN" if "RP ID" in str(error) else "PASSKEY_INVALID"
        raise InputError(code, str(error)[:200]) from None
    except Exception as error:  # noqa: BLE001  (CBOR, DER and keys of anybody's making)
        raise InputError("PASSKEY_INVALID", f"the answer does not read: {type(error).__name__}") from None


def _descriptors(keys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(key.credential),
            transports=[_TRANSPORTS[name] for name in key.transports if name in _TRANSPORTS] or None,
        )
        for key in keys
    ]


def read_roots(path: Path) -> tuple[bytes, ...]:
    """Return the certificates of a file, each as PEM; ConfigError when it holds none."""
    try:
        found = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        problem = Problem(code="CONFIG_VALUE", message=str(error)[:200], where="sign_in.key_roots")
        raise ConfigError((problem,)) from None
    return tuple(one.public_bytes(Encoding.PEM) for one in found)
