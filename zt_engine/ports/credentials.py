"""The seams at which the control plane believes somebody: its CA, and who verifies what it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from device_inventory.inventory import HeldKey, KeyProtection


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate signing request whose self-signature holds and whose key is strong enough."""

    spki: str
    jkt: str
    jwk: Mapping[str, str]
    der_digest: str
    """base64url SHA-256 of the request's DER."""


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as it goes to the device, with what the inventory keeps of it."""

    pem: bytes
    chain: bytes
    key: HeldKey


class CertificateAuthority(Protocol):
    """Issues device certificates (profile: urn:zt:device URI, clientAuth only, CA:FALSE, hours to live)."""

    def read(self, csr: bytes) -> CertificateRequest:
        """Return the request in PEM or DER.

        Raises InputError: CSR_TOO_LARGE, CSR_MALFORMED, CSR_SIGNATURE, CSR_KEY_WEAK, CSR_NAME.
        """
        ...

    def issue(
        self, csr: bytes, *, device_id: str, protection: KeyProtection, seconds: int, now: float
    ) -> IssuedCertificate:
        """Issue a certificate; every extension that was asked for is ignored. UnavailableError CA_DOWN."""
        ...

    def authorities(self) -> bytes:
        """Return every CA that devices may come from, as PEM, the old one beside the new while they overlap."""
        ...


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed in at the identity provider."""

    issuer: str
    subject: str
    acr: str = ""
    amr: tuple[str, ...] = ()
    auth_time: int | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    nonce: str = ""
    """What the sign-in was asked for with, by whoever asked for it."""
    session: str = ""
    """`sid`: the session at the provider, by which it says that one has ended."""
    claims: Mapping[str, object] = {}
    """Those that subject fields come from by the issuer's settings."""


class PersonVerifier(Protocol):
    """ID tokens of the one issuer people enroll with, and of administrators (OpenID Connect Core 3.1.3.7)."""

    def verify(self, id_token: bytes, *, now: float) -> Person:
        """Return who signed in, or raise InputError with a TOKEN_ code."""
        ...


class LoggedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Whose session at the provider has ended; a subject, a session, or both."""

    issuer: str
    id: str
    """`jti`: the token counts once."""
    subject: str = ""
    session: str = ""


class SignInVerifier(PersonVerifier, Protocol):
    """ID tokens and logout tokens of the issuer that browsers sign in at."""

    def logged_out(self, token: bytes, *, now: float) -> LoggedOut:
        """Return who was logged out (Back-Channel Logout 1.0, 2.6); InputError LOGOUT_TOKEN or with a TOKEN_ code."""
        ...


class SignedReport(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a JWS whose signature holds under the key it was checked with."""

    header: Mapping[str, object]
    claims: Mapping[str, object]


class JwsVerifier(Protocol):
    """Compact JWS of devices: typ, algorithm fixed by the key, strict encoding."""

    def claimed_key(self, token: bytes) -> str:
        """Return the `kid` of a JWS, not verified yet; InputError PROOF_MALFORMED."""
        ...

    def verify(self, token: bytes, *, jwk: Mapping[str, str], typ: str) -> SignedReport:
        """Return what was signed; InputError PROOF_MALFORMED, PROOF_TYPE, PROOF_SIGNATURE."""
        ...

    def embedded(self, token: bytes, *, typ: str) -> tuple[Mapping[str, str], SignedReport]:
        """Verify under the public key the header carries (`jwk`), and return both."""
        ...
