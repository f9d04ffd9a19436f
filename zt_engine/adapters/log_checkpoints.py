"""Checkpoints of the decision log: signed with Ed25519, and taken out of the log's own folder at once.

A hash chain alone proves nothing against somebody who can rewrite the whole file. What proves is that a signed
statement about its length and head stands somewhere that person cannot reach: a second directory (another volume,
another owner, append-only), the syslog socket, later the control plane.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from zt_engine.adapters.log_files import PRIVATE_FILE
from zt_engine.core.decision_event import timestamp
from zt_engine.core.decision_log import (
    Checkpoint,
    Head,
    SignedCheckpoint,
    checkpoint_line,
    checkpoint_payload,
)
from zt_engine.core.errors import ConfigError, Problem

# Facility 10 (authpriv), severity 6 (informational): RFC 5424 section 6.2.1.
_SYSLOG_PRIORITY = 10 * 8 + 6


def key_id(key: Ed25519PublicKey) -> str:
    """Sixteen hex digits that name a key inside a checkpoint."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


class CheckpointSink(Protocol):
    """A place outside the log's folder; `put` raises OSError when the line did not arrive."""

    def put(self, chain: str, line: bytes) -> None: ...

    def close(self) -> None: ...


class DirectorySink:
    """A second directory: one file a chain, synced after each line, cut into pieces of which the newest few are kept.

    A newer checkpoint covers everything that an older one of its chain covers, so old pieces may go. The directory
    must exist: creating it would hide that the volume meant to hold it is not mounted. After a failed write the next
    line starts a new piece, so that a half line is never continued.
    """

    def __init__(self, folder: Path, *, log_folder: Path, piece_bytes: int = 8 << 20, keep: int = 2) -> None:
        if not folder.is_dir():
            raise _config("LOG_CHECKPOINT_FOLDER_MISSING", "this directory does not exist", folder)
        if folder.resolve().is_relative_to(log_folder.resolve()):
            raise _config("LOG_CHECKPOINT_FOLDER_INSIDE", "checkpoints must leave the folder of the log", folder)
        self._folder = folder
        self._piece_bytes = piece_bytes
        self._keep = keep
        self._fd = -1
        self._size = 0
        self._chain = ""
        self._number = 0

    def put(self, chain: str, line: bytes) -> None:
        if self._fd < 0 or self._size >= self._piece_bytes or chain != self._chain:
            self._next(chain)
        data = line + b"\n"
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError("short write of a checkpoint")
            os.fdatasync(self._fd)
        except OSError:
            self.close()
            raise
        self._size += len(data)

    def _next(self, chain: str) -> None:
        self.close()
        self._number = self._number + 1 if chain == self._chain else 0
        self._chain, self._size = chain, 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._folder / f"checkpoints-{chain}-{self._number:06d}.jsonl", flags, PRIVATE_FILE)
        if self._number >= self._keep:
            try:
                (self._folder / f"checkpoints-{chain}-{self._number - self._keep:06d}.jsonl").unlink(missing_ok=True)
            except OSError:
                pass  # an append-only directory keeps them all, which is better still

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SyslogSink:
    """The local syslog daemon over its datagram socket; it carries the line on to wherever logs are collected."""

    def __init__(self, path: Path = Path("/dev/log")) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def put(self, chain: str, line: bytes) -> None:
        self._socket.sendto(b"<%d>zt-engine: zt.checkpoint %b" % (_SYSLOG_PRIORITY, line), str(self._path))

    def close(self) -> None:
        self._socket.close()


class CheckpointPublisher:
    """Signs what is durable and hands it to every sink."""

    def __init__(self, key: Ed25519PrivateKey, sinks: Sequence[CheckpointSink], *, sidecar: str) -> None:
        self._key = key
        self._key_id = key_id(key.public_key())
        self._sinks = tuple(sinks)
        self._sidecar = sidecar
        self.failures = 0
        self.last_error = ""

    def publish(self, chain: str, head: Head, *, now: float) -> bool:
        """True when at least one sink took it; every sink that did not is counted in `failures`."""
        checkpoint = Checkpoint(
            key=self._key_id,
            sidecar=self._sidecar,
            chain=chain,
            count=head.count,
            head=head.hash.decode(),
            time=timestamp(now),
        )
        line = checkpoint_line(checkpoint, self._key.sign(checkpoint_payload(checkpoint)))
        arrived = 0
        for sink in self._sinks:
            try:
                sink.put(chain, line)
                arrived += 1
            except OSError as error:
                self.failures += 1
                self.last_error = f"{type(sink).__name__}: {error}"
        return arrived > 0

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


class CheckpointKeys:
    """The public keys an auditor trusts; several, since keys are replaced."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    def verify(self, checkpoint: SignedCheckpoint) -> bool:
        """Whether one of the keys signed exactly these bytes."""
        key = self._keys.get(checkpoint.value.key)
        if key is None:
            return False
        try:
            key.verify(checkpoint.signature, checkpoint.signed)
        except InvalidSignature:
            return False
        return True


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key (PEM, PKCS#8) that nobody else may use."""
    try:
        if path.stat().st_mode & 0o077:
            raise _config("LOG_KEY_INVALID", f"group or others may use this key: chmod 600 {path}", path)
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _config("LOG_KEY_INVALID", f"no readable private key ({type(error).__name__})", path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _config("LOG_KEY_INVALID", "checkpoints are signed with Ed25519, this key is of another kind", path)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key (PEM, SubjectPublicKeyInfo)."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise _config("LOG_KEY_INVALID", f"no readable public key ({type(error).__name__})", path) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _config("LOG_KEY_INVALID", "checkpoints are signed with Ed25519, this key is of another kind", path)
    return key


def _config(code: str, message: str, path: Path) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=str(path)),))
