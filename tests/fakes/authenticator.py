"""Authenticators for tests: one that speaks WebAuthn as a browser hands it on, and one for a fake that is simpler.

Both take the options that a page was given and return the answer; what is wrong with it is for the test to say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from zt_engine.core.errors import InputError
from zt_engine.core.webauthn import Answered, Passkey
from zt_engine.ports.webauthn import NewKey

RP = "control.example"
ORIGIN = "https://control.example"
PRESENT, VERIFIED, ELIGIBLE, COPIED, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Maker:
    """A maker of keys: a CA, and the attestation certificate that one batch of keys has."""

    def __init__(self, name: str = "Key Works") -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = _certificate(f"{name} Root", self.root_key, f"{name} Root", self.root_key, ca=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _certificate(f"{name} Batch", self.key, f"{name} Root", self.root_key, ca=False)

    @property
    def pem(self) -> bytes:
        """The CA as the settings name it."""
        return self.root.public_bytes(serialization.Encoding.PEM)


class Authenticator:
    """A key in software that behaves like any: `flags` and `counter` are what it says of itself."""

    def __init__(
        self, *, origin: str = ORIGIN, rp: str = RP, verified: bool = True, eligible: bool = False,
        copied: bool = False, counter: int = 1, step: int = 1, maker: Maker | None = None, attests: bool = False,
    ) -> None:  # fmt: skip
        self.origin, self.rp = origin, rp
        self.verified, self.eligible, self.copied = verified, eligible, copied
        self.counter, self.step = counter, step
        self.maker, self.attests = maker, attests or maker is not None
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = os.urandom(32)
        self.handle = ""

    def create(self, options: bytes, **wrong: Any) -> bytes:
        """Answer options for a new key."""
        asked = json.loads(options)
        self.handle = asked["user"]["id"]
        client = self._client("webauthn.create", asked["challenge"], wrong)
        data = self._data(ATTESTED, wrong) + self._attested()
        statement: dict[str, Any] = {}
        if self.attests:
            signer = self.key if self.maker is None else self.maker.key
            signed = signer.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
            statement = {"alg": -7, "sig": signed}
            if self.maker is not None:
                statement["x5c"] = [self.maker.certificate.public_bytes(serialization.Encoding.DER)]
        made = {"fmt": "packed" if self.attests else "none", "attStmt": statement, "authData": data}
        response = {"clientDataJSON": b64(client), "attestationObject": b64(cbor2.dumps(made)), "transports": ["usb"]}
        return self._answer(response, wrong)

    def get(self, options: bytes, **wrong: Any) -> bytes:
        """Answer options for using a key."""
        asked = json.loads(options)
        self.counter += self.step
        client = self._client("webauthn.get", asked["challenge"], wrong)
        data = self._data(0, wrong)
        signer = wrong.get("signer", self.key)
        signature = signer.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature),
            "userHandle": wrong.get("handle", self.handle or None),
        }  # fmt: skip
        return self._answer(response, wrong)

    def _client(self, kind: str, challenge: str, wrong: dict[str, Any]) -> bytes:
        said = {
            "type": wrong.get("kind", kind), "challenge": wrong.get("challenge", challenge),
            "origin": wrong.get("origin", self.origin), "crossOrigin": wrong.get("cross_origin", False),
        }  # fmt: skip
        if "top" in wrong:
            said["topOrigin"] = wrong["top"]
        return json.dumps(said).encode()

    def _data(self, more: int, wrong: dict[str, Any]) -> bytes:
        flags = PRESENT | more
        flags |= VERIFIED if wrong.get("verified", self.verified) else 0
        flags |= ELIGIBLE if wrong.get("eligible", self.eligible) else 0
        flags |= COPIED if wrong.get("copied", self.copied) else 0
        counter = wrong.get("counter", self.counter)
        return hashlib.sha256(wrong.get("rp", self.rp).encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")

    def _attested(self) -> bytes:
        point = self.key.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        return bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose

    def _answer(self, response: dict[str, Any], wrong: dict[str, Any]) -> bytes:
        named = b64(wrong.get("id", self.id))
        said = {
            "id": named, "rawId": named, "type": "public-key", "response": response, "clientExtensionResults": {},
        }  # fmt: skip
        return json.dumps(said).encode()


class FakeVerifier:
    """A verifier without cryptography of its own: a key is a secret, and an answer what it was asked, with a digest."""

    def __init__(self, *, rp_id: str = RP, origin: str = ORIGIN) -> None:
        self._rp_id, self._origin = rp_id, origin

    def creation(self, *, challenge: str, handle: str, name: str, display: str, known: Any) -> bytes:
        excluded = [{"id": key.credential, "type": "public-key"} for key in known]
        user = {"id": handle, "name": name, "displayName": display}
        return json.dumps(
            {"challenge": challenge, "rp": {"id": self._rp_id}, "user": user, "excludeCredentials": excluded}
        ).encode()

    def request(self, *, challenge: str, keys: Any) -> bytes:
        allowed = [{"id": key.credential, "type": "public-key"} for key in keys]
        return json.dumps({"challenge": challenge, "rpId": self._rp_id, "allowCredentials": allowed}).encode()

    def created(self, answer: bytes, *, challenge: str) -> NewKey:
        said = self._said(answer, challenge, "create", None)
        return NewKey(
            credential=said["id"], public_key=b64(said["secret"].encode()), counter=said["counter"],
            backup_eligible=said["eligible"], backed_up=said["copied"], attested=False, aaguid="", transports=("usb",),
        )  # fmt: skip

    def named(self, answer: bytes) -> str:
        try:
            return str(json.loads(answer)["id"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InputError("PASSKEY_INVALID", "no answer") from None

    def proved(self, answer: bytes, *, challenge: str, key: Passkey) -> Answered:
        said = self._said(answer, challenge, "get", key)
        return Answered(counter=said["counter"], backup_eligible=said["eligible"], backed_up=said["copied"])

    def _said(self, answer: bytes, challenge: str, kind: str, key: Passkey | None) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads(answer)
            secret = said["secret"] if key is None else unb64(key.public_key).decode()
            fine = hmac.compare_digest(_sealed(said, secret), said["seal"]) and said["kind"] == kind
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InputError("PASSKEY_INVALID", "no answer") from None
        if (said["origin"], said["rp"], said["top"]) != (self._origin, self._rp_id, ""):
            raise InputError("PASSKEY_ORIGIN", "another site")
        if said["challenge"] != challenge:
            raise InputError("PASSKEY_CHALLENGE", "another challenge")
        if key is not None and said["handle"] not in ("", key.handle):
            raise InputError("PASSKEY_UNKNOWN", "another person")
        if not fine or (said["copied"] and not said["eligible"]):
            raise InputError("PASSKEY_INVALID", "no key of ours")
        if not said["verified"]:
            raise InputError("PASSKEY_VERIFICATION", "not unlocked")
        return said


class FakeAuthenticator:
    """A key for `FakeVerifier`."""

    def __init__(
        self, *, verified: bool = True, eligible: bool = False, copied: bool = False, counter: int = 1
    ) -> None:
        self.verified, self.eligible, self.copied, self.counter = verified, eligible, copied, counter
        self.id, self.secret, self.handle = os.urandom(16), os.urandom(16).hex(), ""

    def create(self, options: bytes, **wrong: Any) -> bytes:
        self.handle = json.loads(options)["user"]["id"]
        return self._answer("create", json.loads(options)["challenge"], wrong, {"secret": self.secret})

    def get(self, options: bytes, **wrong: Any) -> bytes:
        self.counter += 1
        return self._answer("get", json.loads(options)["challenge"], wrong, {})

    def _answer(self, kind: str, challenge: str, wrong: dict[str, Any], more: dict[str, Any]) -> bytes:
        said = {
            "id": b64(wrong.get("id", self.id)), "kind": {"webauthn.get": "get"}.get(wrong.get("kind", ""), kind),
            "challenge": wrong.get("challenge", challenge), "origin": wrong.get("origin", ORIGIN),
            "rp": wrong.get("rp", RP), "top": wrong.get("top", ORIGIN if wrong.get("cross_origin") else ""),
            "verified": wrong.get("verified", self.verified), "eligible": wrong.get("eligible", self.eligible),
            "copied": wrong.get("copied", self.copied), "counter": wrong.get("counter", self.counter),
            "handle": wrong.get("handle", self.handle), **more,
        }  # fmt: skip
        secret = "another" if "signer" in wrong else self.secret
        return json.dumps({**said, "seal": _sealed(said, secret)}).encode()


def _sealed(said: dict[str, Any], secret: str) -> str:
    plain = json.dumps({name: value for name, value in said.items() if name != "seal"}, sort_keys=True)
    return hmac.new(secret.encode(), plain.encode(), hashlib.sha256).hexdigest()


def _certificate(name: str, key: Any, issuer: str, signer: Any, *, ca: bool) -> x509.Certificate:
    def named(common: str, unit: str) -> x509.Name:
        parts = [
            (NameOID.COUNTRY_NAME, "JP"), (NameOID.ORGANIZATION_NAME, "Key Works"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common),
        ]  # fmt: skip
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name, "CA" if ca else "Authenticator Attestation"))
        .issuer_name(named(issuer, "CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(signer, hashes.SHA256())
