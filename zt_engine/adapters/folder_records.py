"""A folder of records, one JSON file each: read what changed, refuse what is wrong, say which records that concerns.

A refused file leaves its last good record in force for `RECORD_GRACE` seconds, in case a writer is not done; then the
device or subject is unknown, because the text that cannot be read may be the one that says `revoked`. A record whose id
two files claim is in force from neither: which of them is true cannot be known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from zt_engine.adapters.owned_files import Flaw, UnownedError, look, opened_folder, read_owned
from zt_engine.core.errors import ConfigError, Problem, ZtError

RECORD_GRACE = 5.0
MAX_FILE = 64 << 20
MAX_RECORDS = 200_000

FLAWS: Mapping[Flaw, str] = {
    "irregular": "FOLDER_NOT_REGULAR",
    "owner": "FOLDER_OWNER",
    "writable": "FOLDER_WRITABLE",
    "large": "FOLDER_TOO_LARGE",
}

Record = TypeVar("Record")
Decoded_co = TypeVar("Decoded_co", covariant=True)
Id = TypeVar("Id", bound=Hashable)
Signature = tuple[int, int, int, int]


class Decode(Protocol[Decoded_co]):
    """Reads a record, or raises ConfigError or InputError."""

    def __call__(self, raw: bytes, *, where: str) -> Decoded_co:
        """Return the record; `where` is said of a fault."""
        ...


class _File(msgspec.Struct, Generic[Record]):
    record: Record | None
    signature: Signature
    refused_at: float | None = None


class RecordFolder(Generic[Id, Record]):
    """One folder, read again and again. `in_force` has every record that counts, by its id."""

    def __init__(self, path: Path, *, decode: Decode[Record], identify: Callable[[Record], Id], noun: str) -> None:
        self._path = path
        self._decode = decode
        self._identify = identify
        self._noun = noun
        self._files: dict[str, _File[Record]] = {}
        self._refused: set[str] = set()
        self._claims: dict[Id, tuple[str, ...]] = {}
        self._doubled: set[Id] = set()
        self._touched: set[Id] = set()
        self.in_force: dict[Id, Record] = {}

    def __len__(self) -> int:
        return len(self._files)

    def read(self, within: int, now: float, named: Collection[str] | None) -> tuple[Problem, ...]:
        """Look at every file, or only at the `named` ones and those that were refused; say what is wrong."""
        problems: list[Problem] = []
        try:
            with opened_folder(self._path.name, within=within) as folder:
                if named is None:
                    entries: Collection[str] = {entry for entry in os.listdir(folder) if entry.endswith(".json")}
                    for gone in self._files.keys() - entries:
                        self._put(gone, None)
                else:
                    entries = self._refused.union(named)
                if len(entries) > MAX_RECORDS:
                    message = f"more than {MAX_RECORDS} records"
                    self.clear()
                    return (Problem(code="FOLDER_TOO_LARGE", message=message, where=str(self._path)),)
                for entry in sorted(entries):
                    problems += self._refresh(folder, entry, now)
        except (OSError, UnownedError) as error:
            problems.append(problem_of(error, self._path))
            self.clear()
        for doubled in self._doubled:
            name = "|".join(doubled) if isinstance(doubled, tuple) else doubled
            files = ", ".join(sorted(self._claims[doubled]))
            problems.append(Problem(code="FOLDER_DUPLICATE", message=f"{self._noun} `{name}` is in {files}"))
        return tuple(problems)

    def changes(self) -> dict[Id, Record | None]:
        """Return what is in force now of every record that something happened to since `taken`."""
        return {one: self.in_force.get(one) for one in self._touched}

    def taken(self) -> None:
        """Forget what happened: it was taken up."""
        self._touched.clear()

    def clear(self) -> None:
        """Forget every record: none of them can be relied on."""
        for entry in list(self._files):
            self._put(entry, None)

    def _refresh(self, folder: int, entry: str, now: float) -> tuple[Problem, ...]:
        """Read one file if it changed; a refused one keeps its last good record only for the time of a write."""
        old = self._files.get(entry)
        signature: Signature = (0, 0, 0, 0)
        path = self._path / entry
        try:
            signature = signature_of(look(entry, within=folder))
            if old is not None and old.signature == signature and old.refused_at is None:
                return ()
            raw, status = read_owned(entry, limit=MAX_FILE, within=folder)
            self._put(entry, _File(self._decode(raw, where=str(path)), signature_of(status)))
            return ()
        except FileNotFoundError:
            self._put(entry, None)
            return ()
        except (OSError, ZtError, UnownedError) as error:
            since = now if old is None or old.refused_at is None else old.refused_at
            record = old.record if old is not None and now - since < RECORD_GRACE else None
            self._put(entry, _File(record, signature, since))
            return error.problems if isinstance(error, ConfigError) else (problem_of(error, path),)

    def _put(self, entry: str, file: _File[Record] | None) -> None:
        """Replace what is known of one file, and with it which records are in force."""
        old = self._files.pop(entry, None)
        self._refused.discard(entry)
        if file is not None:
            self._files[entry] = file
            if file.refused_at is not None:
                self._refused.add(entry)
        before, after = old.record if old is not None else None, file.record if file is not None else None
        if before is after:
            return
        if before is not None:
            one = self._identify(before)
            self._claims[one] = tuple(name for name in self._claims[one] if name != entry)
        if after is not None:
            one = self._identify(after)
            self._claims[one] = (*self._claims.get(one, ()), entry)
        for one in {self._identify(record) for record in (before, after) if record is not None}:
            self._settle(one)

    def _settle(self, one: Id) -> None:
        claiming = self._claims[one]
        self._touched.add(one)
        self.in_force.pop(one, None)
        self._doubled.discard(one)
        if len(claiming) > 1:
            self._doubled.add(one)
        elif not claiming:
            del self._claims[one]
        else:
            record = self._files[claiming[0]].record
            if record is not None:
                self.in_force[one] = record


def signature_of(status: os.stat_result) -> Signature:
    """Return what identifies the present content, owner and mode of a file."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def problem_of(error: OSError | ZtError | UnownedError, path: Path) -> Problem:
    """Say what is wrong with a file or folder."""
    if isinstance(error, UnownedError):
        hint = f"{error.hint} {path}" if error.hint.startswith("ch") else error.hint
        return Problem(code=FLAWS[error.flaw], message=error.message, where=str(path), hint=hint)
    message = error.strerror if isinstance(error, OSError) else error.message
    return Problem(code="FOLDER_UNREADABLE", message=message or "cannot be read", where=str(path))
