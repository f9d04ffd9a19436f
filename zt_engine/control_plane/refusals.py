"""What the device domain refuses is the caller's fault, and is told by the domain's own codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from device_inventory.device import DeviceRecordError
from zt_engine.core.errors import InputError


@contextmanager
def refusals() -> Iterator[None]:
    """Raise InputError with code and field for every DeviceRecordError of the block."""
    try:
        yield
    except DeviceRecordError as error:
        raise InputError(error.code, error.message, where=error.field) from None
