"""Exports of management servers, taken in row by row: a wrong row is one problem, and the rest loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from device_inventory.asset_ledger import Asset
from device_inventory.importers.fleet import fleet_json
from device_inventory.importers.intune import intune_csv, intune_json
from device_inventory.importers.jamf import jamf_json
from device_inventory.importers.mapped import TableMapping, mapped_csv, mapped_json
from device_inventory.importers.rows import ImportedDevice, ImportFault
from device_inventory.imports import match, take_import
from device_inventory.inventory import Device
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import Ledger, write_down
from zt_engine.core.errors import InputError, ZtError
from zt_engine.ports.inventory import Transaction

Source = Literal["intune", "jamf", "fleet", "csv", "json"]
Form = Literal["csv", "json"]
Rows = Iterator[ImportedDevice | ImportFault]

MAX_PROBLEMS: Final = 1_000
"""More are counted, not told."""
BATCH: Final = 100
"""Rows a transaction takes: others write in between."""
STALE: Final = 3_600
"""Sidecars are told that nothing changed when what they hold of this source is older than this."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an import."""

    rows: int
    loaded: int
    changed: int
    problems: tuple[ImportFault, ...]
    problem_count: int


def rows_of(source: Source, form: Form, chunks: Iterable[bytes], *, mapping: TableMapping | None, now: int) -> Rows:
    """Return the devices in an export and its faults; IMPORT_FORM when such a source has no such form."""
    readers: dict[tuple[Source, Form], Callable[..., Rows]] = {
        ("intune", "csv"): intune_csv,
        ("intune", "json"): intune_json,
        ("jamf", "json"): jamf_json,
        ("fleet", "json"): fleet_json,
    }
    if source in ("csv", "json"):
        if mapping is None:
            raise InputError("IMPORT_FORM", "a table needs a mapping that says what its columns are")
        return mapped_csv(chunks, mapping, now=now) if source == "csv" else mapped_json(chunks, mapping, now=now)
    reader = readers.get((source, form))
    if reader is None:
        raise InputError("IMPORT_FORM", f"`{source}` exports are not read as `{form}`")
    return reader(chunks, now=now)


class Imports:
    """The imports of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._record = Ledger(plane.settings.facts)

    def load(self, source: Source, rows: Rows, *, actor: str) -> Loaded:
        """Take in every row that can be; the audit has one event for all of it and one for each device that changed.

        INVARIANT: an import that breaks off has its event as well, with what was committed until then.
        """
        done = Loaded(rows=0, loaded=0, changed=0, problems=(), problem_count=0)
        try:
            while batch := list(islice(rows, BATCH)):
                with self._plane.store.writing(self._plane.settings.tenant) as tx:
                    told = [self._row(tx, row, actor=f"import:{source}") for row in batch]
                done = _with(done, told)
        except BaseException:
            # Where nothing can be written any more, what is told is why the import broke off.
            with suppress(ZtError):
                self._write_down(source, done, actor=actor, complete=False)
            raise
        self._write_down(source, done, actor=actor, complete=True)
        return done

    def _write_down(self, source: Source, done: Loaded, *, actor: str, complete: bool) -> None:
        after = {"rows": done.rows, "loaded": done.loaded, "changed": done.changed, "problems": done.problem_count}
        after["complete"] = complete
        now = self._plane.now()
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            write_down(tx, actor=actor, action="import.loaded", object_=f"import:{source}", after=after, now=now)

    def _row(self, tx: Transaction, row: ImportedDevice | ImportFault, *, actor: str) -> bool | ImportFault:
        """Take in one row; whether the device is another one now."""
        if isinstance(row, ImportFault):
            return row
        _remember(tx, row)
        found = match(row, _candidates(tx, row))
        if isinstance(found, ImportFault):
            return found
        now = self._plane.now()
        held = found.sources.get(row.source)
        taken = take_import(found, row, now=now, names=self._plane.settings.facts)
        if taken.refusal is not None:
            return ImportFault(line=row.line, code=taken.refusal.code, message=taken.refusal.message)
        after = taken.device
        if not taken.changed and held is not None and row.received_at - held.received_at < STALE:
            # Nobody's decision hangs on that hour: the inventory knows it, and sidecars need not.
            tx.devices.put(after)
            return False
        if not taken.changed:
            after = replace(after, version=found.version + 1)
        self._record(tx, after, before=found, actor=actor, action="device.imported", now=now)
        return taken.changed


def _with(done: Loaded, told: Sequence[bool | ImportFault]) -> Loaded:
    """Return what came of an import after one batch more."""
    faults = [one for one in told if isinstance(one, ImportFault)]
    return Loaded(
        rows=done.rows + len(told),
        loaded=done.loaded + len(told) - len(faults),
        changed=done.changed + sum(one is True for one in told),
        problems=(*done.problems, *faults[: MAX_PROBLEMS - len(done.problems)]),
        problem_count=done.problem_count + len(faults),
    )


def _remember(tx: Transaction, row: ImportedDevice) -> None:
    """Keep what the ledger says of a machine that may be enrolled later: whoever approves it then looks here."""
    if row.serial_hash:
        tx.assets.put(
            Asset(
                serial_hash=row.serial_hash,
                source=row.source,
                heard_at=row.received_at,
                model=row.model,
                name=row.name,
                owner=row.owner,
            )
        )


def _candidates(tx: Transaction, row: ImportedDevice) -> list[Device]:
    found = {device.device_id: device for device in tx.devices.of_serial(row.serial_hash)}
    named = tx.devices.get(row.device_id) if row.device_id else None
    if named is not None:
        found[named.device_id] = named
    return list(found.values())


def shown(loaded: Loaded) -> dict[str, Any]:
    """Return what came of an import, as it is answered."""
    plain: dict[str, Any] = msgspec.to_builtins(loaded)
    return plain
