"""A folder as the source of policy and records: read what changed, refuse what is wrong, keep what was good.

    bundle.tar.gz  catalogue.yaml  trust.yaml  situation.json  device-cas.pem  devices/*.json  subjects/*.json

A file or folder that somebody else owns or may write is refused, and so is a symbolic link: whoever can write here
decides who gets in. Only the folder itself may be reached through a link, which is followed once. A refused bundle,
catalogue, trust file, CA set or situation leaves the last good one in force; records are `folder_records`' own matter.

Half of a JSON document or of a signed archive is neither, but half of a catalogue may be a catalogue. Such a text is
taken up when it was renamed into place (its metadata changed after its content did), or when it has not changed for
`SETTLE_SECONDS`. A writer that pauses longer in the middle cannot be told from one that is done: write another file
and rename it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from device_inventory.device import DeviceRecord
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.folder_records import MAX_FILE, RecordFolder, Signature, problem_of, signature_of
from zt_engine.adapters.owned_files import UnownedError, examine, look, opened_folder, read_owned
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.core.errors import Problem
from zt_engine.core.identity import SubjectRecord

SETTLE_SECONDS = 0.1
SETTLING = frozenset({"catalogue.yaml", "trust.yaml", "device-cas.pem"})
"""Texts whose first half may be well formed."""
SINGLE_FILES = ("bundle.tar.gz", "catalogue.yaml", "trust.yaml", "situation.json", "device-cas.pem")


class Text(msgspec.Struct, frozen=True):
    """One of the single files as it was last read whole."""

    raw: bytes
    signature: Signature

    @property
    def renamed(self) -> bool:
        """Whether the name or mode changed after the content: writing sets both times to the same instant."""
        modified, _, _, changed = self.signature
        return changed > modified


class Records(msgspec.Struct, frozen=True):
    """All records that are in force."""

    devices: tuple[DeviceRecord, ...]
    subjects: tuple[SubjectRecord, ...]


class RecordChanges(msgspec.Struct, frozen=True):
    """What is in force now of every record that something happened to; None: it is not known any more."""

    devices: Mapping[str, DeviceRecord | None]
    subjects: Mapping[tuple[str, str], SubjectRecord | None]


class FolderSource:
    """Reads one folder again and again; a file is parsed only when it changed. Not for use by two threads at once."""

    def __init__(
        self, folder: Path, *, names: Collection[str] = SINGLE_FILES, wait: Callable[[float], None] = time.sleep
    ) -> None:
        """Of the single files only `names` are looked at."""
        self.folder = folder.resolve()
        self._names = tuple(names)
        self._wait = wait
        self._devices: RecordFolder[str, DeviceRecord] = RecordFolder(
            self.folder / "devices", decode=decode_device, identify=lambda record: record.device_id, noun="device"
        )
        self._subjects: RecordFolder[tuple[str, str], SubjectRecord] = RecordFolder(
            self.folder / "subjects",
            decode=decode_subject,
            identify=lambda record: (record.issuer, record.id),
            noun="subject",
        )
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
            return {}, tuple(_missing(self.folder / name) for name in self._names)
        except (OSError, UnownedError) as error:
            return {}, (problem_of(error, self.folder),)

    def _singles_of(self, folder: int) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
        changed: dict[str, Text] = {}
        problems: list[Problem] = []
        for name in self._names:
            try:
                status = look(name, within=folder)
                examine(status)
                if name in self._singles and self._singles[name].signature == signature_of(status):
                    continue
                raw, status = read_owned(name, limit=MAX_FILE, within=folder)
                changed[name] = Text(raw, signature_of(status))
            except FileNotFoundError:
                self._singles.pop(name, None)
                problems.append(_missing(self.folder / name))
            except (OSError, UnownedError) as error:
                problems.append(problem_of(error, self.folder / name))
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
                settled = signature_of(look(name, within=folder)) == changed[name].signature
            except OSError:
                settled = False  # the next call says what is wrong
            if not settled:
                del changed[name]

    @property
    def known(self) -> int:
        """How many record files are known."""
        return len(self._devices) + len(self._subjects)

    def records(self, now: float) -> tuple[Records, tuple[Problem, ...]]:
        """Look at every file; return every record in force, and what is wrong with the refused ones."""
        _, problems = self.changes(now)
        return Records(tuple(self._devices.in_force.values()), tuple(self._subjects.in_force.values())), problems

    def changes(self, now: float, named: Collection[str] | None = None) -> tuple[RecordChanges, tuple[Problem, ...]]:
        """Return what became of records since `taken`, and what is wrong with the refused ones.

        Looks at every file, or only at the `named` ones (`devices/laptop-1.json`) and those that were refused: for a
        site of ten thousand people that is the difference between a fifth of a second and nothing.
        """
        problems: tuple[Problem, ...] = ()
        try:
            with opened_folder(self.folder) as folder:
                problems += self._devices.read(folder, now, _within("devices", named))
                problems += self._subjects.read(folder, now, _within("subjects", named))
        except (OSError, UnownedError) as error:
            problems += (problem_of(error, self.folder),)
            self._devices.clear()
            self._subjects.clear()
        return RecordChanges(self._devices.changes(), self._subjects.changes()), problems

    def taken(self) -> None:
        """Remember that all changes were taken up; until then they are told again."""
        self._devices.taken()
        self._subjects.taken()


def _within(name: str, named: Collection[str] | None) -> set[str] | None:
    return None if named is None else {entry.partition("/")[2] for entry in named if entry.startswith(f"{name}/")}


def _missing(path: Path) -> Problem:
    return Problem(code="FOLDER_FILE_MISSING", message=f"`{path.name}` is not there", where=str(path))
