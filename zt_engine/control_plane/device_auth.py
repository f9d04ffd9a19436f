"""How a device proves itself to a route: a statement for one method and URL, signed by its key, good once and briefly.

`Authorization: ZtDevice <JWS>` with the type `zt-device+jwt`, the certificate's thumbprint as `kid`, and the claims
`{iss: DEVICE, aud: URL of the control plane, htm, htu, iat, exp, jti}`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Final

from fastapi import Request

from device_inventory.device import DeviceStatus
from device_inventory.inventory import Device, HeldKey
from device_inventory.operations import RENEWAL_GRACE
from zt_engine.control_plane.access import DeviceCaller, caller, credential
from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import Transaction

DEVICE_TYPE: Final = "zt-device+jwt"
MAX_SECONDS: Final = 60
SKEW: Final = 30
_PURPOSE: Final = "device-call"
_CALLING: Final[frozenset[DeviceStatus]] = frozenset({"enrolled", "active", "quarantined"})


def _identify(plane: ControlPlane, request: Request, *, grace: int) -> DeviceCaller:
    token = credential(request, "ztdevice")
    now = plane.now()
    x5t = plane.jws.claimed_key(token)
    with plane.store.reading(plane.settings.tenant) as tx:
        device = tx.devices.of_certificate(x5t)
    # Whoever held the key is told what became of the device, and nobody else.
    signed = plane.jws.verify(token, jwk=_held(device, x5t).jwk, typ=DEVICE_TYPE)
    assert device is not None
    if device.status not in _CALLING:
        raise InputError("AUTH_DEVICE_STATUS", f"a device that is `{device.status}` is not served")
    _key(device, x5t, now=now - grace)
    url = plane.settings.url + request.scope["path"]
    expires = _check(signed.claims, device, url=url, method=request.method, plane=plane, now=now)
    digest = hashlib.sha256(f"{x5t}\n{signed.claims['jti']}".encode()).hexdigest()
    with plane.store.writing(plane.settings.tenant) as tx:
        fresh = tx.nonces.first_use(digest, purpose=_PURPOSE, expires_at=expires + SKEW, now=now)
        held = _unchanged(tx, device.device_id, x5t, now=now - grace)
    if not fresh:
        raise InputError("AUTH_REPLAYED", "this statement was used before")
    return DeviceCaller(device=held, key=_key(held, x5t, now=now - grace))


def _held(device: Device | None, x5t: str) -> HeldKey:
    for key in device.keys if device is not None else ():
        if key.x5t == x5t:
            return key
    raise InputError("AUTH_REFUSED", "no device here has such a key")


def _key(device: Device, x5t: str, *, now: int) -> HeldKey:
    key = _held(device, x5t)
    if key.revoked_at is not None:
        raise InputError("AUTH_REFUSED", "the key was revoked")
    if key.not_after <= now:
        raise InputError("AUTH_CERTIFICATE_ENDED", "the device's certificate has ended")
    return key


def _unchanged(tx: Transaction, device_id: str, x5t: str, *, now: int) -> Device:
    """Look again under the lock: what was revoked meanwhile opens nothing."""
    device = tx.devices.get(device_id)
    if device is None or device.status not in _CALLING:
        raise InputError("AUTH_DEVICE_STATUS", "the device is not served any more")
    _key(device, x5t, now=now)
    return device


def _check(
    claims: Mapping[str, object], device: Device, *, url: str, method: str, plane: ControlPlane, now: int
) -> int:
    """Return when the statement ends, once it is for this device, this place and this moment."""
    issued, expires, jti = claims.get("iat"), claims.get("exp"), claims.get("jti")
    expected = (device.device_id, plane.settings.url, method, url)
    if tuple(claims.get(name) for name in ("iss", "aud", "htm", "htu")) != expected:
        raise InputError("AUTH_REFUSED", "the statement is for another device, method or URL")
    if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= MAX_SECONDS:
        raise InputError("AUTH_REFUSED", f"the statement has no `iat` and `exp` within {MAX_SECONDS} seconds")
    if not isinstance(jti, str) or not 16 <= len(jti) <= 128:
        raise InputError("AUTH_REFUSED", "`jti` has 16 to 128 characters")
    if not issued - SKEW <= now < expires + SKEW:
        raise InputError("AUTH_EXPIRED", "the statement is not of this moment: check the device's clock")
    return expires


device_caller = caller("device", partial(_identify, grace=0))
"""The dependency of a route for devices: `Annotated[DeviceCaller, Depends(device_caller)]`."""

renewing_device = caller("device", partial(_identify, grace=RENEWAL_GRACE))
"""The same, with a certificate that has ended a short while ago: what asks for the next one may be late."""
