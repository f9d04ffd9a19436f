"""A folder as the source of policy and records: read what changed, refuse what is wrong, keep what was good.

    bundle.tar.gz  catalogue.yaml  trust.yaml  situation.json  device-cas.pem  devices/*.json  subjects/*.json

A file that group or world may write is refused: whoever can write here decides who gets in. A refused bundle,
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
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from device_inventory.device import DeviceRecord
from zt_engine.adapters.device_json import decode_device
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
        self.folder = folder
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
            checked(self.folder)
        except FileNotFoundError:
            pass  # each file says that it is not there
        except ConfigError as error:
            return {}, error.problems
        changed: dict[str, Text] = {}
        problems: list[Problem] = []
        for name in SINGLE_FILES:
            path = self.folder / name
            try:
                signature = checked(path)
                if name in self._singles and self._singles[name].signature == signature:
                    continue
                changed[name] = Text(path.read_bytes(), signature)
            except FileNotFoundError:
                self._singles.pop(name, None)
                problems.append(Problem(code="FOLDER_FILE_MISSING", message=f"`{name}` is not there", where=str(path)))
            except OSError as error:
                problems.append(Problem(code="FOLDER_UNREADABLE", message=str(error.strerror), where=str(path)))
            except ConfigError as error:
                problems += error.problems
        self._leave_out_unsettled(changed)
        self._singles |= changed
        return {name: text.raw for name, text in changed.items()}, tuple(problems)

    def _leave_out_unsettled(self, changed: dict[str, Text]) -> None:
        moving = [name for name in changed if name in SETTLING and not changed[name].renamed]
        if not moving:
            return
        self._wait(SETTLE_SECONDS)
        for name in moving:
            try:
                settled = checked(self.folder / name) == changed[name].signature
            except (OSError, ConfigError):
                settled = False  # the next call says what is wrong
            if not settled:
                del changed[name]

    def records(self, now: float) -> tuple[Records, tuple[Problem, ...]]:
        """Return every record in force, and what is wrong with the refused ones."""
        problems: list[Problem] = []
        devices = self._read(self.folder / "devices", self._devices, decode_device, problems, now)
        subjects = self._read(self.folder / "subjects", self._subjects, decode_subject, problems, now)
        kept_devices = _without_doubles(devices, lambda record: record.device_id, "device", problems)
        kept_subjects = _without_doubles(subjects, lambda record: f"{record.issuer}|{record.id}", "subject", problems)
        return Records(kept_devices, kept_subjects), tuple(problems)

    def _read(
        self,
        folder: Path,
        known: dict[str, _Record[T]],
        decode: Callable[..., T],
        problems: list[Problem],
        now: float,
    ) -> dict[str, T]:
        """Bring `known` up to date with a folder of records, and return what is in force by file name."""
        try:
            checked(folder)
            entries = {entry.name: entry.path for entry in os.scandir(folder) if entry.name.endswith(".json")}
        except OSError as error:
            problems.append(Problem(code="FOLDER_UNREADABLE", message=str(error.strerror), where=str(folder)))
            entries = {}
        except ConfigError as error:
            problems += error.problems
            entries = {}
        for gone in known.keys() - entries.keys():
            del known[gone]
        if len(entries) > MAX_RECORDS:
            problems.append(
                Problem(code="FOLDER_TOO_LARGE", message=f"more than {MAX_RECORDS} records", where=str(folder))
            )
            return {}
        for name in sorted(entries):
            _refresh(Path(entries[name]), known, decode, problems, now)
        return {name: record.value for name, record in known.items() if record.value is not None}


def _refresh(
    path: Path, known: dict[str, _Record[T]], decode: Callable[..., T], problems: list[Problem], now: float
) -> None:
    """Read one record if it changed; a refused one keeps its last good value only for the time of a write."""
    old = known.get(path.name)
    signature: Signature = (0, 0, 0, 0)
    try:
        signature = checked(path)
        if old is not None and old.signature == signature and old.refused_at is None:
            return
        known[path.name] = _Record(decode(path.read_bytes(), where=str(path)), signature)
    except (OSError, ZtError) as error:
        if isinstance(error, ConfigError):
            problems += error.problems
        else:
            problems.append(Problem(code="FOLDER_UNREADABLE", message=str(error), where=str(path)))
        since = now if old is None or old.refused_at is None else old.refused_at
        value = old.value if old is not None and now - since < RECORD_GRACE else None
        known[path.name] = _Record(value, signature, since)


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


def checked(path: Path) -> Signature:
    """Return what identifies the present content of a file or folder.

    Raises ConfigError FOLDER_WRITABLE or FOLDER_TOO_LARGE.
    """
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = Problem(
            code="FOLDER_WRITABLE",
            message="group or others may write here",
            where=str(path),
            hint=f"chmod go-w {path}",
        )
        raise ConfigError((problem,))
    if status.st_size > MAX_FILE:
        raise ConfigError((Problem(code="FOLDER_TOO_LARGE", message=f"larger than {MAX_FILE} bytes", where=str(path)),))
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
