"""Device records as the engine reads them: the inventory's strict reader, with the file named when it refuses."""

from __future__ import annotations

from device_inventory.device import DeviceRecord, DeviceRecordError
from device_inventory.device_json import read_device
from zt_engine.core.errors import ConfigError, Problem


def decode_device(raw: bytes, *, where: str) -> DeviceRecord:
    """Return the record in `raw`; ConfigError (DEVICE_RECORD_*) names `where` and the field.

    Whoever keeps records must not keep the older version of one that is refused: it may have said `revoked`.
    """
    try:
        return read_device(raw)
    except DeviceRecordError as error:
        place = f"{where}: {error.field}" if error.field else where
        raise ConfigError((Problem(code=error.code, message=error.message, where=place),)) from error
