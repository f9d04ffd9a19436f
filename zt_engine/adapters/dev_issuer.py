"""An identity provider and a device CA for demos, benchmarks and tests ONLY; nothing trusts them by itself.

Keys live in memory and are made on construction. Whoever holds one of these objects can mint any identity.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from zt_engine.core.jose import thumbprint, to_base64url

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_JWS = jwt.PyJWS()
_EC_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_KEY_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def make_key(algorithm: str) -> PrivateKey:
    """Return a new private key that fits a JOSE algorithm."""
    if algorithm in _EC_CURVES:
        return ec.generate_private_key(_EC_CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: PrivateKey) -> dict[str, object]:
    """Return the public JWK of a private key, without `kid`, `use` and `alg`."""
    match key:
        case rsa.RSAPrivateKey():
            jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def _sign(claims: Mapping[str, object], key: PrivateKey, algorithm: str, header: Mapping[str, object]) -> bytes:
    """Sign whatever is in `claims`: the tests mint wrong types, which `jwt.encode` would refuse."""
    return _JWS.encode(json.dumps(claims).encode(), key, algorithm=algorithm, headers=dict(header)).encode("ascii")


def token_digest(token: bytes) -> str:
    """Return `ath`: the base64url SHA-256 of an access token."""
    return to_base64url(hashlib.sha256(token).digest())


class DevIssuer:
    """Mints RFC 9068 access tokens. `rotate` makes a new key; the old ones stay in the set until `retire`."""

    def __init__(
        self, issuer: str = "https://idp.example", *, audience: str = "https://portal.example", algorithm: str = "ES256"
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self.algorithm = algorithm
        self._keys: dict[str, PrivateKey] = {}
        self.key_id = ""
        self.rotate()

    @property
    def key(self) -> PrivateKey:
        """The key that signs now."""
        return self._keys[self.key_id]

    def rotate(self) -> str:
        """Sign with a new key from now on; return its id."""
        key = make_key(self.algorithm)
        self.key_id = thumbprint(public_jwk(key))[:16]
        self._keys[self.key_id] = key
        return self.key_id

    def retire(self, key_id: str) -> None:
        """Leave a key out of the set from now on."""
        del self._keys[key_id]

    def jwks(self) -> bytes:
        """Return the public key set."""
        keys = [
            {**public_jwk(key), "kid": key_id, "use": "sig", "alg": self.algorithm}
            for key_id, key in self._keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def claims(
        self,
        subject: str,
        *,
        now: float,
        lifetime: int = 300,
        certificate_digest: str = "",
        jkt: str = "",
        actor: str = "",
        **more: object,
    ) -> dict[str, object]:
        """Return the claims of an access token: all that RFC 9068 requires, the bindings asked for, and `more`."""
        issued_at = int(now)
        confirmation = {"x5t#S256": certificate_digest, "jkt": jkt}
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "client_id": "portal-web",
            "iat": issued_at,
            "exp": issued_at + lifetime,
            "jti": uuid.uuid4().hex,
        }
        if any(confirmation.values()):
            claims["cnf"] = {name: value for name, value in confirmation.items() if value}
        if actor:
            claims["act"] = {"sub": actor}
        return claims | more

    def sign(self, claims: Mapping[str, object], *, header: Mapping[str, object] | None = None) -> bytes:
        """Return a compact JWS over `claims`; `header` replaces or adds header members."""
        full = {"typ": "at+jwt", "kid": self.key_id, **(header or {})}
        return _sign(claims, self.key, self.algorithm, full)

    def mint(
        self,
        subject: str,
        *,
        now: float,
        lifetime: int = 300,
        certificate_digest: str = "",
        jkt: str = "",
        actor: str = "",
        **claims: object,
    ) -> bytes:
        """Return an access token for `subject`."""
        return self.sign(
            self.claims(
                subject,
                now=now,
                lifetime=lifetime,
                certificate_digest=certificate_digest,
                jkt=jkt,
                actor=actor,
                **claims,
            )
        )


class DevProver:
    """A client's DPoP key."""

    def __init__(self, *, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.key = make_key(algorithm)
        self.jwk = public_jwk(self.key)
        self.jkt = thumbprint(self.jwk)

    def prove(
        self,
        *,
        token: bytes,
        method: str,
        url: str,
        now: float,
        header: Mapping[str, object] | None = None,
        **claims: object,
    ) -> bytes:
        """Return a proof for one request; `header` and `claims` replace or add members."""
        body = {
            "jti": uuid.uuid4().hex,
            "htm": method,
            "htu": url,
            "iat": int(now),
            "ath": token_digest(token),
            **claims,
        }
        head = {"typ": "dpop+jwt", "jwk": self.jwk, **(header or {})}
        return _sign(body, self.key, self.algorithm, head)


class DevCertificate:
    """A device's certificate and key, in the forms that proxies and clients use."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @property
    def pem(self) -> bytes:
        """PEM, for a client."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The unencrypted private key, for a client of a demo."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def escaped(self) -> bytes:
        """URL-escaped PEM, as nginx forwards it in `$ssl_client_escaped_cert`."""
        return quote(self.pem.decode("ascii"), safe="").encode("ascii")

    @property
    def x5t(self) -> str:
        """`x5t#S256` of RFC 8705."""
        return to_base64url(self.certificate.fingerprint(hashes.SHA256()))


class DevDeviceCa:
    """A CA for device certificates with one self-signed ECDSA root."""

    def __init__(self, *, now: float, name: str = "Demo device CA", days: int = 30) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = self._key.public_key()
        self.certificate = (
            _builder(self._name, self._name, public, now - 300, now + days * 86_400)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def key_pem(self) -> bytes:
        """The private key as PKCS #8, unencrypted: for a file that only its owner may read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pem(self) -> bytes:
        """The bundle for the sidecar and for the proxy."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        device_id: str,
        *,
        now: float,
        lifetime: int = 86_400,
        key: PrivateKey | None = None,
        uris: Sequence[str] | None = None,
        usages: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        authority: bool = False,
    ) -> DevCertificate:
        """Return a certificate for `urn:zt:device:<device_id>`; the other arguments make unfit ones for tests."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
        names = [x509.UniformResourceIdentifier(uri) for uri in uris or ()]
        if uris is None:
            names = [x509.UniformResourceIdentifier(f"urn:zt:device:{device_id}")]
        builder = (
            _builder(subject, self._name, public, now - 300, now + lifetime)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName(names or [x509.DNSName("device.example")]), critical=False)
        )
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        return DevCertificate(builder.sign(self._key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    not_before: float,
    not_after: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(int(not_before), dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(int(not_after), dt.UTC))
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in allowed for name in _KEY_USAGES})
