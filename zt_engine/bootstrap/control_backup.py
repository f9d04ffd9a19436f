"""Backup and restore of a control plane: database, administrators, device CAs, the keys of the stream.

A backup is one tar file of its owner's alone. Keys in it are encrypted with the passphrase of the device CAs, which is
not in it and has to be kept somewhere else. A restore is made into an installation whose database is empty; whatever it
replaces there is moved aside, and nothing is touched before all of the backup was found whole and its keys opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zt_engine.adapters.admin_keys import read_admins
from zt_engine.adapters.ca_keys import backup_files, load_authorities, read_passphrase
from zt_engine.adapters.key_encryption import encrypt_key
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.control_parts import opened_store
from zt_engine.bootstrap.serving_stream import read_stream_keys
from zt_engine.config import ControlSettings
from zt_engine.control_plane.stream_keys import forget
from zt_engine.core.errors import ConfigError, Problem

FORMAT: Final = "zt-control-backup/1"
MANIFEST, STORE, ADMINS, STREAM, CAS = "manifest.json", "store.jsonl", "admins.json", "stream.pem", "device-ca/"
OTHERS: Final = "stream-others/"
"""The other keys of the stream by their place in `control.other_stream_keys`: sidecars may know only one of them."""
_MAX_SMALL: Final = 4 << 20
_CHUNK: Final = 1 << 20
_PRIVATE: Final = 0o600


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    format: str
    tenant: str
    made_at: int
    rows: int
    sha256: dict[str, str]


def backup(settings: ControlSettings, target: Path, *, now: float) -> Manifest:
    """Write a backup while the control plane runs; ConfigError BACKUP_FILE, and what reading its parts raises."""
    passphrase = read_passphrase(settings.path(settings.control.passphrase_file))
    signing, *others = (_sealed(key, passphrase) for key in read_stream_keys(settings))
    small = {ADMINS: _read(settings.path(settings.control.admins)), STREAM: signing}
    small |= {f"{OTHERS}{place}": sealed for place, sealed in enumerate(others)}
    for path in backup_files(settings.path(settings.control.device_cas)):
        small[f"{CAS}{path.name}"] = _read(path)
    store = opened_store(settings)
    try:
        with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".zt-backup-") as name:
            rows_file = Path(name) / STORE
            rows = store.backup(rows_file)
            manifest = Manifest(
                format=FORMAT,
                tenant=settings.sidecar.tenant,
                made_at=int(now),
                rows=rows,
                sha256={member: hashlib.sha256(raw).hexdigest() for member, raw in small.items()}
                | {STORE: _digest(rows_file)},
            )
            packed = Path(name) / "backup.tar"
            _pack(packed, manifest, small, rows_file)
            os.replace(packed, target)
    except OSError as error:
        raise _refused("BACKUP_FILE", str(error.strerror), target) from None
    finally:
        store.close()
    return manifest


def restore(settings: ControlSettings, source: Path, *, now: float) -> Manifest:
    """Make this installation what the backup was; ConfigError BACKUP_FILE, STORE_NOT_EMPTY, CA_PASSPHRASE_WRONG."""
    passphrase = read_passphrase(settings.path(settings.control.passphrase_file))
    with tempfile.TemporaryDirectory(dir=settings.base, prefix=".zt-restore-") as name:
        folder = Path(name)
        manifest, small = _unpack(source, folder)
        if manifest.tenant != settings.sidecar.tenant:
            raise _refused("BACKUP_FILE", f"it is of the tenant `{manifest.tenant}`", source)
        streams = {
            path: _opened_stream(small[member], passphrase, source)
            for member, path in reversed(tuple(_stream_files(settings)))  # a file that is named twice: what signs
            if member in small
        }
        _check_parts(folder, small, passphrase)
        store = opened_store(settings)
        try:
            _restore_rows(store, folder / STORE, source)
            # The keys come from the files as they were then, and perhaps no signal had taken those up.
            forget(store, settings.sidecar.tenant)
        finally:
            store.close()
        aside = settings.path(settings.control.device_cas).parent / f"replaced-{int(now)}"
        _place(settings, small, streams, aside)
    return manifest


def _pack(target: Path, manifest: Manifest, small: Mapping[str, bytes], rows: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with open(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, raw in {MANIFEST: msgspec.json.encode(manifest), **small}.items():
                archive.addfile(_member(name, len(raw), manifest.made_at), io.BytesIO(raw))
            with rows.open("rb") as content:
                archive.addfile(_member(STORE, rows.stat().st_size, manifest.made_at), content)
        file.flush()
        os.fsync(file.fileno())


def _member(name: str, size: int, at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, at, _PRIVATE
    return member


def _unpack(source: Path, folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Read members by their names; nothing of the archive decides where anything is written."""
    small: dict[str, bytes] = {}
    rows = ""
    try:
        with tarfile.open(source, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise _refused("BACKUP_FILE", "it holds something else than files", source)
                if member.name == STORE:
                    rows = _copy(content, folder / STORE)
                elif member.size > _MAX_SMALL or len(small) > 64:
                    raise _refused("BACKUP_FILE", "it holds more than a backup does", source)
                else:
                    small[member.name] = content.read()
        manifest = msgspec.json.decode(small.pop(MANIFEST, b""), type=Manifest)
    except (OSError, tarfile.TarError, msgspec.DecodeError):
        raise _refused("BACKUP_FILE", "no backup of a control plane, or not all of it", source) from None
    found = {name: hashlib.sha256(raw).hexdigest() for name, raw in small.items()} | {STORE: rows}
    if manifest.format != FORMAT or manifest.sha256 != found or not {ADMINS, STREAM} <= small.keys():
        raise _refused("BACKUP_FILE", "cut off, or changed after it was written", source)
    return manifest, small


def _copy(content: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with open(descriptor, "wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _check_parts(folder: Path, small: Mapping[str, bytes], passphrase: bytes) -> None:
    """Open what is encrypted and read what is to be read, before anything here is replaced."""
    authorities = folder / "device-ca"
    authorities.mkdir(mode=0o700)
    for name, raw in small.items():
        if name.startswith(CAS):
            _write(authorities / Path(name).name, raw)
    load_authorities(authorities, passphrase=passphrase)
    _write(folder / ADMINS, small[ADMINS])
    read_admins(folder / ADMINS)


def _restore_rows(store: SqlStore, rows: Path, source: Path) -> None:
    try:
        store.restore(rows)
    except OSError as error:
        raise _refused("BACKUP_FILE", str(error.strerror), source) from None


def _place(settings: ControlSettings, small: Mapping[str, bytes], streams: Mapping[Path, bytes], aside: Path) -> None:
    control = settings.control
    authorities = settings.path(control.device_cas)
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place, path in enumerate((settings.path(control.admins), *streams, authorities)):
        if path.exists():
            named = aside / path.name
            os.replace(path, aside / f"{place}-{path.name}" if named.exists() else named)
    authorities.mkdir(mode=0o700, parents=True)
    for name, raw in small.items():
        if name.startswith(CAS):
            _write(authorities / Path(name).name, raw)
    _write(settings.path(control.admins), small[ADMINS])
    for path, pem in streams.items():
        _write(path, pem)


def _stream_files(settings: ControlSettings) -> Iterator[tuple[str, Path]]:
    """Yield what each key of the stream is called in a backup, and where it lies here."""
    yield STREAM, settings.path(settings.control.stream_key_file)
    for place, path in enumerate(settings.control.other_stream_keys):
        yield f"{OTHERS}{place}", settings.path(path)


def _sealed(stream: StreamKey, passphrase: bytes) -> bytes:
    key = load_pem_private_key(stream.pem(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return encrypt_key(key, passphrase)


def _opened_stream(sealed: bytes, passphrase: bytes, source: Path) -> bytes:
    try:
        key = load_pem_private_key(sealed, password=passphrase)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "put the passphrase of the installation that was backed up into `control.passphrase_file`"
        raise _refused("CA_PASSPHRASE_WRONG", "it does not open the keys of the backup", source, hint)
    return StreamKey(key).pem()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused("BACKUP_FILE", str(error.strerror), path) from None


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with open(descriptor, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(code: str, message: str, where: Path, hint: str = "") -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=str(where), hint=hint),))
