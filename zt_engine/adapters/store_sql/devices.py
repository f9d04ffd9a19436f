"""Devices, with the keys they were ever certified for and the people they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, delete, func, select, update

from device_inventory.device import DeviceStatus
from device_inventory.inventory import Device
from zt_engine.adapters.store_sql.columns import Name, Number
from zt_engine.adapters.store_sql.failures import CONFLICT
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import device_certificates, device_keys, device_people, devices
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.ports.inventory import DeviceFilter

_decode: Final = msgspec.json.Decoder(Device).decode

_mine: Final = devices.c.tenant == THIS_TENANT
_get: Final = select(devices.c.body).where(_mine, devices.c.id == bindparam("id", type_=Name()))
_of_key: Final = select(device_keys.c.device_id).where(
    device_keys.c.tenant == THIS_TENANT, device_keys.c.spki == bindparam("spki", type_=Name())
)
_of_certificate: Final = select(device_certificates.c.device_id).where(
    device_certificates.c.tenant == THIS_TENANT, device_certificates.c.x5t == bindparam("x5t", type_=Name())
)
_of_serial: Final = (
    select(devices.c.body)
    .where(_mine, devices.c.serial_hash == bindparam("serial_hash", type_=Name()))
    .order_by(devices.c.id)
)
_of_owner: Final = (
    select(devices.c.body)
    .where(
        _mine,
        devices.c.id.in_(
            select(device_people.c.device_id).where(
                device_people.c.tenant == THIS_TENANT, device_people.c.subject == bindparam("subject", type_=Name())
            )
        ),
    )
    .order_by(devices.c.id)
)

_reported: Final = (
    select(func.count().label("counted"))
    .select_from(devices)
    .where(
        _mine,
        devices.c.status == bindparam("status", type_=Name()),
        devices.c.reported_at > bindparam("after", type_=Number()),
        devices.c.reported_at <= bindparam("until", type_=Number()),
    )
)
_put: Final = Upsert(devices, when=lambda row: devices.c.version < row.version)
_renew: Final = update(devices).where(
    _mine,
    devices.c.id == bindparam("this_id", type_=Name()),
    devices.c.version == bindparam("this_version", type_=Number()),
)
_claim_key: Final = Upsert(device_keys, when=lambda row: device_keys.c.device_id == row.device_id)
_claim_certificate: Final = Upsert(
    device_certificates, when=lambda row: device_certificates.c.device_id == row.device_id
)
_add_person: Final = Upsert(device_people)
_drop_person: Final = delete(device_people).where(
    device_people.c.tenant == THIS_TENANT,
    device_people.c.device_id == bindparam("this_id", type_=Name()),
    device_people.c.subject == bindparam("this_subject", type_=Name()),
)
_people: Final = select(device_people.c.subject).where(
    device_people.c.tenant == THIS_TENANT, device_people.c.device_id == bindparam("id", type_=Name())
)


class SqlDevices:
    """The devices of a tenant. What was read under a lock is remembered, so that a report writes only what changed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: dict[str, Device] = {}

    def get(self, device_id: str) -> Device | None:
        """Return a device, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=device_id)
        return None if row is None else self._read(row)

    def put(self, device: Device) -> None:
        """Insert or replace; STORE_CONFLICT when its version did not grow, or a key of it is another device's.

        The version of a device that was read in this very transaction may stay: nobody else had it meanwhile.
        """
        before = self._held.get(device.device_id)
        columns = _columns(device)
        if before is None:
            done = self._session.upsert(_put, id=device.device_id, **columns)
        else:
            done = device.version >= before.version and (
                self._session.change(_renew, this_id=device.device_id, this_version=before.version, **columns) == 1
            )
        if not done:
            raise self._session.refuse(CONFLICT)
        self._claim(before, device)
        self._assign(before, device)
        self._held[device.device_id] = device

    def of_key(self, spki: str) -> Device | None:
        """Return the device a public key was ever certified for, whatever became of either; locked likewise."""
        row = self._session.first(_of_key, spki=spki)
        return None if row is None else self.get(row.device_id)

    def of_certificate(self, x5t: str) -> Device | None:
        """Return the device a certificate was issued to; locked likewise."""
        row = self._session.first(_of_certificate, x5t=x5t)
        return None if row is None else self.get(row.device_id)

    def of_serial(self, serial_hash: str) -> Sequence[Device]:
        """Return every device with this hardware serial, newest first."""
        if not serial_hash:  # not known is not the same
            return ()
        found = [self._read(row) for row in self._session.locked_rows(_of_serial, serial_hash=serial_hash)]
        return tuple(sorted(found, key=lambda device: (device.created_at, device.device_id), reverse=True))

    def page(self, wanted: DeviceFilter, *, after: str, limit: int) -> Sequence[Device]:
        """Return up to `limit` devices with ids above `after`, in the order of their ids."""
        query = select(devices.c.body).where(_mine, devices.c.id > after)
        if wanted.status is not None:
            query = query.where(devices.c.status == wanted.status)
        if wanted.ownership is not None:
            query = query.where(devices.c.ownership == wanted.ownership)
        if wanted.owner:
            query = query.where(devices.c.owner == wanted.owner)
        if wanted.text:
            query = query.where(devices.c.search.contains(wanted.text.casefold(), autoescape=True))
        rows = self._session.locked_rows(query.order_by(devices.c.id).limit(limit))
        return tuple(self._read(row) for row in rows)

    def of_owner(self, owner: str) -> Sequence[Device]:
        """Return every device enrolled for or assigned to a person, in the order of their ids."""
        return tuple(self._read(row) for row in self._session.locked_rows(_of_owner, subject=owner))

    def reported(self, status: DeviceStatus, *, after: int, until: int) -> int:
        """Count the devices of a status whose last report was received after one instant and not after another."""
        row = self._session.first(_reported, status=status, after=after, until=until)
        return 0 if row is None else int(row.counted)

    def _read(self, row: Row[Any]) -> Device:
        device = _decode(row.body)
        if self._session.writing:
            self._held[device.device_id] = device
        return device

    def _claim(self, before: Device | None, device: Device) -> None:
        # INVARIANT: a row of either table is never removed nor given to another device, so no key comes back.
        known = () if before is None else before.keys  # few, and a key with its JWK has no hash
        for key in device.keys:
            if key in known:
                continue
            mine = self._session.upsert(_claim_key, spki=key.spki, device_id=device.device_id)
            if not mine or not self._session.upsert(_claim_certificate, x5t=key.x5t, device_id=device.device_id):
                raise self._session.refuse(CONFLICT)

    def _assign(self, before: Device | None, device: Device) -> None:
        wanted = _people_of(device)
        if before is not None:
            held = _people_of(before)
        else:
            held = {row.subject for row in self._session.rows(_people, id=device.device_id)}
        for subject in sorted(held - wanted):
            self._session.change(_drop_person, this_id=device.device_id, this_subject=subject)
        for subject in sorted(wanted - held):
            self._session.upsert(_add_person, subject=subject, device_id=device.device_id)


def _people_of(device: Device) -> set[str]:
    return {name for name in (device.owner, *device.assigned) if name}


def _columns(device: Device) -> dict[str, object]:
    searched = (device.device_id, device.name, device.model, device.owner)
    return {
        "version": device.version,
        "status": device.status,
        "ownership": device.ownership,
        "owner": device.owner,
        "serial_hash": device.serial_hash,
        "created_at": device.created_at,
        "reported_at": device.report_received_at,
        "search": "\n".join(text.replace("\n", " ") for text in searched).casefold(),
        "body": encode(device),
    }
