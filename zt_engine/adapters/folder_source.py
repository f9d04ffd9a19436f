"""A folder as the source of policy and records: read what changed, refuse what is wrong, keep what was good.

    bundle.tar.gz  catalogue.yaml  trust.yaml  situation.json  device-cas.pem  devices/*.json  subjects/*.json

A file or folder that somebody else owns or may write is refused, and so is a symbolic link: whoever can write here
decides who gets in. Only the folder itself may be reached through a link, which is followed once. A refused bundle,
catalogue, trust file, CA set or situation leaves the last good one in force. A refused record leaves the last good one
in force for `RECORD_GRACE` seconds, in case a writer is not done; then the device or subject is unknown, because the
text that cannot be read may be the one that says `revoked`.

Half of a JSON document or of a signed archive is neither, but half of a catalogue may be a catalogue. Such a text is
taken up when it was renamed into place (its metadata changed after its content did), or when it has not changed for
`SETTLE_SECONDS`. A writer that pauses longer in the middle cannot be told from one that is done: write another file
and rename it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from device_inventory.device import DeviceRecord
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.owned_files import Flaw, UnownedError, examine, look, opened_folder, read_owned
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.core.errors import ConfigError, Problem, ZtError
from zt_engine.core.identity import SubjectRecord

RECORD_GRACE = 5.0
MAX_FILE = 64 << 20
MAX_RECORDS = 200_000

SETTLE_SECONDS = 0.1
SETTLING = frozenset({"catalogue.yaml", "trust.yaml", "device-cas.pem"})
"""Texts whose first half may be well formed."""
SINGLE_FILES = ("bundle.tar.gz", "catalogue.yaml", "trust.yaml", "situation.json", "device-cas.pem")

FLAWS: Mapping[Flaw, str] = {
    "irregular": "FOLDER_NOT_REGULAR",
    "owner": "FOLDER_OWNER",
    "writable": "FOLDER_WRITABLE",
    "large": "FOLDER_TOO_LARGE",
}

T = TypeVar("T")
Signature = tuple[int, int, int, int]


class Text(msgspec.Struct, frozen=True):
    """One of the single files as it was last read whole."""

    raw: bytes
    signature: Signature

    @property
    def renamed(self) -> bool:
        """Whether the name or mode changed after the content: writing sets both times to the same instant."""
        modified, _, _, changed = self.signature
        return changed > modified


class _Record(msgspec.Struct, Generic[T]):
    value: T | None
    signature: Signature
    refused_at: float | None = None


class Records(msgspec.Struct, frozen=True):
    """All records that are in force."""

    devices: tuple[DeviceRecord, ...]
    subjects: tuple[SubjectRecord, ...]


class FolderSource:
    """Reads one folder again and again; a file is parsed only when it changed. Not for use by two threads at once."""

    def __init__(self, folder: Path, *, wait: Callable[[float], None] = time.sleep) -> None:
        self.folder = folder.resolve()
        self._wait = wait
        self._devices: dict[str, _Record[DeviceRecord]] = {}
        self._subjects: dict[str, _Record[SubjectRecord]] = {}
        self._singles: dict[str, Text] = {}

    def forget(self, *names: str) -> None:
        """Read these single files again at the next call although they have not changed; all if none is named."""
        for name in names or SINGLE_FILES:
            self._singles.pop(name, None)

    def singles(self) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
        """Return the single files that changed since the last call, and what is wrong with the others.

        May wait for `SETTLE_SECONDS`. What is still being written then counts as unchanged, until the next call.
        """
        try:
            with opened_folder(self.folder) as folder:
                return self._singles_of(folder)
        except FileNotFoundError:
            self._singles.clear()
            return {}, tuple(_missing(self.folder / name) for name in SINGLE_FILES)
        except (OSError, UnownedError) as error:
            return {}, (_problem(error, self.folder),)

    def _singles_of(self, folder: int) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
        changed: dict[str, Text] = {}
        problems: list[Problem] = []
        for name in SINGLE_FILES:
            try:
                status = look(name, within=folder)
                examine(status)
                if name in self._singles and self._singles[name].signature == _signature(status):
                    continue
                raw, status = read_owned(name, limit=MAX_FILE, within=folder)
                changed[name] = Text(raw, _signature(status))
            except FileNotFoundError:
                self._singles.pop(name, None)
                problems.append(_missing(self.folder / name))
            except (OSError, UnownedError) as error:
                problems.append(_problem(error, self.folder / name))
        self._leave_out_unsettled(changed, folder)
        self._singles |= changed
        return {name: text.raw for name, text in changed.items()}, tuple(problems)

    def _leave_out_unsettled(self, changed: dict[str, Text], folder: int) -> None:
        moving = [name for name in changed if name in SETTLING and not changed[name].renamed]
        if not moving:
            return
        self._wait(SETTLE_SECONDS)
        for name in moving:
            try:
                settled = _signature(look(name, within=folder)) == changed[name].signature
            except OSError:
                settled = False  # the next call says what is wrong
            if not settled:
                del changed[name]

    @property
    def known(self) -> int:
        """How many record files are known."""
        return len(self._devices) + len(self._subjects)

    def records(self, now: float, named: Collection[str] | None = None) -> tuple[Records, tuple[Problem, ...]]:
        """Return every record in force, and what is wrong with the refused ones.

        Looks at every file, or only at the `named` ones (`devices/laptop-1.json`) and those that were refused: for a
        site of ten thousand people that is the difference between a fifth of a second and nothing.
        """
        problems: list[Problem] = []
        try:
            with opened_folder(self.folder) as folder:
                devices = self._read(folder, "devices", self._devices, decode_device, problems, now, named)
                subjects = self._read(folder, "subjects", self._subjects, decode_subject, problems, now, named)
        except (OSError, UnownedError) as error:
            problems.append(_problem(error, self.folder))
            self._devices.clear()
            self._subjects.clear()
            devices, subjects = {}, {}
        kept_devices = _without_doubles(devices, lambda record: record.device_id, "device", problems)
        kept_subjects = _without_doubles(subjects, lambda record: f"{record.issuer}|{record.id}", "subject", problems)
        return Records(kept_devices, kept_subjects), tuple(problems)

    def _read(  # noqa: PLR0917  (one folder of two, with all that both share)
        self,
        within: int,
        name: str,
        known: dict[str, _Record[T]],
        decode: Callable[..., T],
        problems: list[Problem],
        now: float,
        named: Collection[str] | None,
    ) -> dict[str, T]:
        """Bring `known` up to date with a folder of records, and return what is in force by file name."""
        path = self.folder / name
        try:
            with opened_folder(name, within=within) as folder:
                if named is None:
                    entries: set[str] = {entry for entry in os.listdir(folder) if entry.endswith(".json")}
                    for gone in known.keys() - entries:
                        del known[gone]
                else:
                    entries = {entry.partition("/")[2] for entry in named if entry.startswith(f"{name}/")}
                    entries |= {entry for entry, record in known.items() if record.refused_at is not None}
                if len(entries) > MAX_RECORDS:
                    problems.append(
                        Problem(code="FOLDER_TOO_LARGE", message=f"more than {MAX_RECORDS} records", where=str(path))
                    )
                    return {}
                for entry in sorted(entries):
                    problems += _refresh(folder, entry, path / entry, known, decode, now)
        except (OSError, UnownedError) as error:
            problems.append(_problem(error, path))
            known.clear()
        return {name: record.value for name, record in known.items() if record.value is not None}


def _refresh(
    folder: int,
    entry: str,
    path: Path,
    known: dict[str, _Record[T]],
    decode: Callable[..., T],
    now: float,
) -> tuple[Problem, ...]:
    """Read one record if it changed; a refused one keeps its last good value only for the time of a write."""
    old = known.get(entry)
    signature: Signature = (0, 0, 0, 0)
    try:
        status = look(entry, within=folder)
        signature = _signature(status)
        if old is not None and old.signature == signature and old.refused_at is None:
            return ()
        raw, status = read_owned(entry, limit=MAX_FILE, within=folder)
        known[entry] = _Record(decode(raw, where=str(path)), _signature(status))
        return ()
    except FileNotFoundError:
        known.pop(entry, None)
        return ()
    except (OSError, ZtError, UnownedError) as error:
        since = now if old is None or old.refused_at is None else old.refused_at
        value = old.value if old is not None and now - since < RECORD_GRACE else None
        known[entry] = _Record(value, signature, since)
        return error.problems if isinstance(error, ConfigError) else (_problem(error, path),)


def _without_doubles(
    found: Mapping[str, T], identify: Callable[[T], str], noun: str, problems: list[Problem]
) -> tuple[T, ...]:
    """Leave out every record whose id two files claim: which of them is true cannot be known."""
    by_id: dict[str, list[str]] = {}
    for name, record in found.items():
        by_id.setdefault(identify(record), []).append(name)
    for doubled, names in by_id.items():
        if len(names) > 1:
            problems.append(
                Problem(code="FOLDER_DUPLICATE", message=f"{noun} `{doubled}` is in {', '.join(sorted(names))}")
            )
    return tuple(record for record in found.values() if len(by_id[identify(record)]) == 1)


def _signature(status: os.stat_result) -> Signature:
    """Return what identifies the present content, owner and mode of a file."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def _missing(path: Path) -> Problem:
    return Problem(code="FOLDER_FILE_MISSING", message=f"`{path.name}` is not there", where=str(path))


def _problem(error: OSError | ZtError | UnownedError, path: Path) -> Problem:
    if isinstance(error, UnownedError):
        hint = f"{error.hint} {path}" if error.hint.startswith("ch") else error.hint
        return Problem(code=FLAWS[error.flaw], message=error.message, where=str(path), hint=hint)
    message = error.strerror if isinstance(error, OSError) else error.message
    return Problem(code="FOLDER_UNREADABLE", message=message or "cannot be read", where=str(path))
