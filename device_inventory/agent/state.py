"""What the agent remembers, in one folder that only its person may enter: every step is on disk before the next.

INVARIANT: a file is the old one or the new one, never half of one, and what cannot be read is never made anew: a key
or a sequence number that started over would look like a second machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from device_inventory.agent.errors import AgentError

VERSION: Final = 1
STATE: Final = "state.json"
CERTIFICATE: Final = "certificate.pem"
SPOOL: Final = "spool.json"
MOST_BYTES: Final = 1 << 20
LOCK_TRIES: Final = 300
LOCK_PAUSE: Final = 0.1

KeyKind = Literal["file", "pkcs11", "tpm"]
KeyProtection = Literal["file", "os_keystore", "hw", "attested_hw"]


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An enrollment under way, and the secret its steps are taken with."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Session(id={self.id!r}, secret=...)"


class Agreed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The notice the person agreed to: nothing that it does not list is ever sent."""

    version: str
    facts: tuple[str, ...]


class KeyRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the key is. `name` is a file of the folder, or the label in the token."""

    kind: KeyKind
    name: str
    module: str = ""
    token: str = ""
    pin_file: str = ""
    tcti: str = ""
    """How the TPM is reached, where it is not this machine's own."""


class Held(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate the device proves itself with."""

    device_id: str
    certificate: str
    chain: str
    x5t: str
    not_before: int
    not_after: int
    protection: KeyProtection


class Told(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fact as the server last took it in."""

    status: str
    value: bool | int | float | str | list[str] | None
    collected_at: int


class Item(Struct, frozen=True, kw_only=True):
    """Something that keeps the device from a label, in the words of the server."""

    fact: str = ""
    label: str = ""
    code: str = ""
    text: str = ""
    remedy: str = ""
    command: str = ""


class Reporting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was reported. `seq` is on disk before it is used, so no two reports ever carry the same."""

    seq: int = 0
    boot_id: str = ""
    told: dict[str, Told] = {}
    uncertain: bool = False
    """Whether a report is under way of which nobody knows if it arrived."""
    full_at: int = 0
    quoted_at: int = 0
    at: int = 0
    status: str = ""
    items: tuple[Item, ...] = ()
    next_in: int = 0


class State(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything but the private key."""

    version: int = VERSION
    url: str
    proxy: str = ""
    issuer: str = ""
    client_id: str = ""
    portal: str = ""
    ownership: str = ""
    session: Session | None = None
    agreed: Agreed | None = None
    key: KeyRef | None = None
    held: Held | None = None
    reporting: Reporting = Reporting()


class Home:
    """The folder. `after_save` is told of every file that was written; tests interrupt the agent there."""

    def __init__(self, path: Path, *, after_save: Callable[[str], None] = lambda _name: None) -> None:
        self.path = path
        self._after_save = after_save

    def prepare(self) -> None:
        """Make the folder; AGENT_HOME_OPEN when others may look into it, AGENT_HOME_UNUSABLE when it cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = self.path.stat()
        except OSError as error:
            raise self._unusable(error) from None
        if not stat.S_ISDIR(held.st_mode) or held.st_uid != os.getuid() or held.st_mode & 0o077:
            raise AgentError("AGENT_HOME_OPEN", "the folder must be yours, with mode 0700", where=str(self.path))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other agents of this folder waiting; AGENT_BUSY when one does not come to an end."""
        self.prepare()
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            _lock(descriptor, self.path)
            yield
        finally:
            os.close(descriptor)

    def load(self) -> State | None:
        """Return what is remembered; None where nothing is.

        AGENT_STATE_CORRUPT for what is no state of ours, AGENT_STATE_VERSION for one of a newer agent.
        """
        raw = self.read(STATE)
        if raw is None:
            return None
        try:
            version = msgspec.json.decode(raw, type=_Versioned).version
            if version > VERSION:
                raise AgentError("AGENT_STATE_VERSION", f"version {version}, this agent knows {VERSION}", where=STATE)
            return msgspec.json.decode(raw, type=State)
        except msgspec.DecodeError:
            # What is wrong with it stays unsaid: the file holds a secret.
            raise AgentError("AGENT_STATE_CORRUPT", "the file cannot be read", where=str(self.path / STATE)) from None

    def save(self, state: State) -> None:
        """Remember a state, and put the certificate beside it for whoever else wants to use it."""
        self.write(STATE, msgspec.json.encode(state))
        if state.held is not None:
            pem = (state.held.certificate + state.held.chain).encode()
            if self.read(CERTIFICATE) != pem:
                self.write(CERTIFICATE, pem)

    def read(self, name: str) -> bytes | None:
        """Return a file of the folder, None when there is none; AGENT_STATE_CORRUPT when it is far too large."""
        path = self.path / name
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        if len(content) > MOST_BYTES:
            raise AgentError("AGENT_STATE_CORRUPT", f"more than {MOST_BYTES} bytes", where=str(path))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file in one step, readable by its owner only and on the disk when this returns."""
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(self.path / name)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unusable(error) from None
        self._after_save(name)

    def remove(self, name: str) -> None:
        """Remove a file of the folder, if it is there."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def _unusable(self, error: OSError) -> AgentError:
        return AgentError("AGENT_HOME_UNUSABLE", error.strerror or type(error).__name__, where=str(self.path))


def ca_name(url: str) -> str:
    """Return the file with the CAs of one control plane: what is pinned for one says nothing about another."""
    return f"ca-{hashlib.sha256(url.encode()).hexdigest()[:16]}.pem"


def default_home(environment: Mapping[str, str], home: Path) -> Path:
    """Return where the state of a person's programs belongs (XDG Base Directory specification)."""
    configured = environment.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else home / ".local" / "state"
    return base / "zt-agent"


class _Versioned(Struct):
    version: int


def _lock(descriptor: int, path: Path) -> None:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
    raise AgentError("AGENT_BUSY", "another agent is at work in this folder", where=str(path))
