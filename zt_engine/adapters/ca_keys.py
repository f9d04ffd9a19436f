"""The device CAs as files: a certificate and, for one that signs here, its key, encrypted with a passphrase.

A CA is `<id>.pem` with `<id>.key` beside it in a folder of its own. The certificate alone still vouches for what it
signed: a key that signs no more can be deleted. What begins when is in the certificates, so there is no other state:
a CA whose time has not come is published already, and signs nothing yet. That is how one follows another (`rotate`).
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from zt_engine.adapters.certificates_x509 import read_authorities
from zt_engine.adapters.key_encryption import encrypt_key
from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.core.errors import ConfigError, Problem

Curve = Literal["P-256", "P-384"]

BACKDATED: Final = 300
"""Certificates begin this much earlier than they are made: devices' clocks differ."""
AUTHORITY_LIFETIME: Final = 2 * 365 * 86_400
MIN_PASSPHRASE: Final = 20
MAX_AUTHORITIES: Final = 16

_LIMIT = 64 * 1024
_CURVES: dict[Curve, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """One device CA. Without a key it vouches for what it signed and signs nothing more."""

    id: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None = None

    def __repr__(self) -> str:
        return f"Authority({self.id})"

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def not_before(self) -> int:
        """When it begins, in epoch seconds."""
        return int(self.certificate.not_valid_before_utc.timestamp())

    @property
    def not_after(self) -> int:
        """When it ends, in epoch seconds."""
        return int(self.certificate.not_valid_after_utc.timestamp())

    @property
    def signs_from(self) -> int:
        """When it may sign: what it signs then begins no earlier than itself."""
        return self.not_before + BACKDATED


def create_passphrase(path: Path) -> bytes:
    """Write a new random passphrase to a file that only its owner can read, and return it; raises FileExistsError."""
    passphrase = secrets.token_urlsafe(32).encode()
    _write_new(path, passphrase + b"\n")
    return passphrase


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in a file; ConfigError CA_FILE_EXPOSED, CA_FILE_UNREADABLE, CA_PASSPHRASE_WEAK."""
    passphrase = _read_secret(path).rstrip(b"\r\n")
    if len(passphrase) < MIN_PASSPHRASE:
        raise _problem("CA_PASSPHRASE_WEAK", f"shorter than {MIN_PASSPHRASE} bytes", path)
    return passphrase


def create_authority(
    folder: Path,
    *,
    name: str,
    passphrase: bytes,
    now: float,
    signs_from: float | None = None,
    seconds: int = AUTHORITY_LIFETIME,
    curve: Curve = "P-256",
) -> Authority:
    """Make a CA in `folder` (made if missing) that signs from `signs_from` on, at once when that is not given."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise _problem("CA_PASSPHRASE_WEAK", f"shorter than {MIN_PASSPHRASE} bytes", folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    starts = int(now if signs_from is None else signs_from)
    key = ec.generate_private_key(_CURVES[curve])
    certificate = self_signed(key, name=name, starts=starts, seconds=seconds)
    id_ = certificate.fingerprint(hashes.SHA256()).hex()[:16]
    # The key first: a certificate that appears is one that can sign, whatever comes in between.
    _write_new(folder / f"{id_}.key", encrypt_key(key, passphrase))
    _write_new(folder / f"{id_}.pem", certificate.public_bytes(Encoding.PEM))
    return Authority(id=id_, certificate=certificate, key=key)


def rotate_authority(
    folder: Path, *, name: str, passphrase: bytes, now: float, overlap: int, curve: Curve = "P-256"
) -> Authority:
    """Make the next CA beside the present one. It is published at once, and signs when `overlap` seconds are over.

    By then every sidecar has to have it. What the old one signed stays good until it ends.
    """
    return create_authority(folder, name=name, passphrase=passphrase, now=now, signs_from=now + overlap, curve=curve)


def load_authorities(folder: Path, *, passphrase: bytes) -> tuple[Authority, ...]:
    """Return every CA of the folder, the one that begins last at the end.

    Raises ConfigError: CA_MISSING, CA_FILE_EXPOSED, CA_FILE_UNREADABLE, CA_PASSPHRASE_WRONG, CA_KEY_UNFIT, and
    DEVICE_CA_* for a certificate that is no CA's.
    """
    certificates = _certificates(folder)
    if not certificates:
        raise _problem("CA_MISSING", "there is no CA here", folder)
    if len(certificates) > MAX_AUTHORITIES:
        raise _problem("CA_FILE_UNREADABLE", f"more than {MAX_AUTHORITIES} CAs", folder)
    loaded = [_load(path, passphrase) for path in certificates]
    return tuple(sorted(loaded, key=lambda authority: (authority.not_before, authority.id)))


def forget_ended(folder: Path, authorities: Sequence[Authority], *, now: float) -> tuple[str, ...]:
    """Delete the CAs that have ended, and with them the last copy of their keys; return their ids."""
    ended = tuple(authority.id for authority in authorities if authority.not_after <= now)
    for id_ in ended:
        for suffix in (".key", ".pem"):
            (folder / f"{id_}{suffix}").unlink(missing_ok=True)
    return ended


def backup_files(folder: Path) -> tuple[Path, ...]:
    """Return the files a backup of the CAs consists of: certificates, and keys as they are, encrypted.

    The passphrase is not among them, and has to be kept somewhere else: together the two are the CA.
    """
    certificates = _certificates(folder)
    keys = [key for path in certificates if (key := path.with_suffix(".key")).exists()]
    return tuple(sorted([*certificates, *keys]))


def self_signed(key: ec.EllipticCurvePrivateKey, *, name: str, starts: int, seconds: int) -> x509.Certificate:
    """Return a CA's own certificate, for a CA that signs from `starts` on."""
    public = key.public_key()
    # Two CAs never share a name: a path is found by it.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {secrets.token_hex(4)}"[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(starts - BACKDATED, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(starts + seconds, dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, digest_of(key))
    )


def digest_of(key: ec.EllipticCurvePrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the digest that a CA's signatures are made with: as strong as its curve."""
    return hashes.SHA384() if key.key_size == 384 else hashes.SHA256()


def key_usage(*allowed: str) -> x509.KeyUsage:
    """Return a key usage with these members and no others."""
    return x509.KeyUsage(**{name: name in allowed for name in _USAGES})


def _certificates(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".pem")
    except OSError as error:
        raise _problem("CA_FILE_UNREADABLE", error.strerror or "unreadable", folder) from None


def _load(path: Path, passphrase: bytes) -> Authority:
    found = read_authorities(_read(path), where=str(path))
    key_path = path.with_suffix(".key")
    if len(found) != 1 or not isinstance(found[0].public_key(), ec.EllipticCurvePublicKey):
        raise _problem("CA_KEY_UNFIT", "not exactly one CA with an ECDSA key", path)
    if not key_path.exists():
        return Authority(id=path.stem, certificate=found[0])
    key = _load_key(key_path, passphrase)
    if key.public_key() != found[0].public_key():
        raise _problem("CA_KEY_UNFIT", "the key is not the certificate's", key_path)
    return Authority(id=path.stem, certificate=found[0], key=key)


def _load_key(path: Path, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read_secret(path), passphrase)
    except TypeError:  # it is not encrypted
        raise _problem("CA_KEY_UNFIT", "the key is not encrypted", path) from None
    except ValueError:
        raise _problem("CA_PASSPHRASE_WRONG", "the passphrase does not open this key", path) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in ("secp256r1", "secp384r1"):
        raise _problem("CA_KEY_UNFIT", "a CA signs with ECDSA over P-256 or P-384", path)
    return key


def _read_secret(path: Path) -> bytes:
    content, mode = _open(path)
    if mode & 0o077:
        raise _problem("CA_FILE_EXPOSED", "others may read this", path, hint=f"chmod 600 {path}")
    return content


def _read(path: Path) -> bytes:
    return _open(path)[0]


def _open(path: Path) -> tuple[bytes, int]:
    try:
        content, status = read_owned(path, limit=_LIMIT)
    except UnownedError as error:
        raise _problem("CA_FILE_EXPOSED", error.message, path, hint=error.hint) from None
    except OSError as error:
        raise _problem("CA_FILE_UNREADABLE", error.strerror or "unreadable", path) from None
    return content, status.st_mode


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that did not exist, all of it or nothing, readable by its owner alone."""
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(half, path)  # unlike a rename it replaces nothing
    finally:
        half.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _problem(code: str, message: str, path: Path, *, hint: str = "") -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=str(path), hint=hint),))
