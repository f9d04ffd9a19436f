"""The seam of attestation: what proves to somebody else where a key lies, and what a machine has booted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from device_inventory.facts import FactValue
from device_inventory.inventory import Device
from zt_engine.ports.credentials import CertificateRequest


class Attested(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was shown to lie in hardware it cannot leave."""

    hardware: str
    """Names the one chip: base64url SHA-256 of its endorsement key's SubjectPublicKeyInfo."""


class AttestationVerifier(Protocol):
    """Verifies what a TPM, or something like it, says of a key and of a boot."""

    def key(
        self, attestation: Mapping[str, object], *, nonce: str, request: CertificateRequest, now: float
    ) -> Attested:
        """Return where the key of the request lies; the statement is bound to `nonce` and to the request's digest.

        Raises InputError ATTESTATION_REFUSED. The nonce is spent by the caller.
        """
        ...

    def boot(self, quote: object, *, device: Device, nonce: str, now: float) -> Mapping[str, FactValue]:
        """Return the facts a quote proves of the boot of a device; InputError ATTESTATION_REFUSED."""
        ...


class AttestationChallenger(Protocol):
    """Has a TPM show that its attestation key lives beside its endorsement key: once, before anything is attested."""

    def challenge(self, statement: Mapping[str, object], *, now: float) -> Mapping[str, str]:
        """Return `{credential, secret}`, which only the TPM with both keys opens; InputError ATTESTATION_REFUSED.

        What it takes out of them goes into every later statement as the attestation key's `token`.
        """
        ...
