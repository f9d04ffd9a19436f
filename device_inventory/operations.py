"""What is done to a device: each operation takes a `Device` and returns the next one, or refuses with its own code.

INVARIANT: every operation that succeeds raises `version` by one. A key that was revoked stays in `keys`, revoked, for
ever; a device that is revoked or retired keeps no live key and leads nowhere. Nobody is the one who approves the
device he holds.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from device_inventory.device import DeviceRecordError, DeviceStatus, next_status
from device_inventory.facts import CATALOGUE, DAY
from device_inventory.inventory import KEY_FACT, Device, HeldKey, live_keys
from device_inventory.invitation import Invitation
from device_inventory.notice import RETENTION_DAYS

MAX_LIVE_KEYS: Final = 4
RENEWAL_GRACE: Final = 7 * DAY
"""How long after its end a certificate may still ask for the next one; what it opens meanwhile is nothing."""
KEPT_AFTER_END: Final = 30 * DAY
BYOD_CEILING: Final = 200
"""A device of one's own is never good for secret papers, whatever the invitation says."""

# The former holder of a key in software may have a copy of it.
_COPYABLE: Final = frozenset({"file", "os_keystore"})
_RENEWING: Final[frozenset[DeviceStatus]] = frozenset({"enrolled", "active"})


def _refuse(code: str, message: str, *, field: str = "status") -> DeviceRecordError:
    return DeviceRecordError(code, message, field=field)


def _changed(device: Device, now: int, **members: Any) -> Device:
    # `published` is forgotten: what sidecars are told next is compared with nothing.
    return replace(device, version=device.version + 1, changed_at=now, published="", **members)


def enrolled(
    invitation: Invitation,
    key: HeldKey,
    *,
    device_id: str,
    now: int,
    name: str = "",
    helper_key: dict[str, str] | None = None,
) -> Device:
    """Return the device that an invitation and a certified key make: `enrolled`, and good for nothing yet."""
    ceiling = min(invitation.ceiling, BYOD_CEILING) if invitation.ownership == "byod" else invitation.ceiling
    return Device(
        tenant=invitation.tenant,
        device_id=device_id,
        version=1,
        status=next_status("invited", "enroll"),
        ownership=invitation.ownership,
        kind=invitation.kind,
        owner=invitation.assigned,
        # A shared device stands for itself: whoever sits at it signs in as himself.
        assigned=() if invitation.kind == "shared" or not invitation.assigned else (invitation.assigned,),
        name=name,
        sponsor=invitation.sponsor,
        ends_at=invitation.device_ends_at,
        ceiling=ceiling,
        approval_required=invitation.approval,
        helper_key=helper_key,
        keys=(key,),
        replaces=invitation.replaces,
        created_at=now,
        changed_at=now,
    )


def admit_key(spki: str, holder: Device | None, *, device_id: str = "") -> None:
    """Refuse a public key that another device holds (KEY_IN_USE) or that was ever revoked (KEY_REVOKED)."""
    if holder is None:
        return
    if any(key.spki == spki and key.revoked_at is not None for key in holder.keys):
        raise _refuse("KEY_REVOKED", "this key was revoked; make a new one", field="keys")
    if holder.device_id != device_id:
        raise _refuse("KEY_IN_USE", "another device holds this key", field="keys")


def activate(device: Device, *, now: int) -> Device:
    """Put an enrolled device into service after its first report; APPROVAL_PENDING, DEVICE_NOT_REPORTED."""
    _ready(device, now)
    return _changed(device, now, status=next_status(device.status, "activate"))


def approve(device: Device, *, by: str, now: int, also: Collection[str] = (), reason: str = "") -> Device:
    """Have a second person approve a device; it is active then if it has reported, or after its first report.

    `by` is who approves, `also` the other names that person goes by. APPROVER_IS_HOLDER for whoever holds it or answers
    for it, APPROVER_IS_GIVER for whoever gave it to its holder.
    """
    names = {by, *also} - {""}
    if not by or names & {device.owner, *device.assigned, device.sponsor}:
        raise _refuse("APPROVER_IS_HOLDER", "somebody else than its holder has to approve a device", field="by")
    if names & {*device.given_by}:
        raise _refuse("APPROVER_IS_GIVER", "somebody else than who gave it to its holder has to approve it", field="by")
    if device.status not in ("enrolled", "quarantined") or not device.approval_required or device.approved_by:
        raise _refuse("APPROVAL_NOT_PENDING", f"a device that is `{device.status}` waits for no approval")
    status: DeviceStatus = device.status
    if status == "enrolled" and device.report_received_at:
        status = next_status(status, "activate")
    return _changed(device, now, status=status, approved_by=by, reason=reason)


def quarantine(device: Device, *, now: int, reason: str) -> Device:
    """Take a device out of service to look at it; it may report, and nothing else."""
    return _changed(device, now, status=next_status(device.status, "quarantine"), reason=reason, **_UNPROVEN)


def release(device: Device, *, now: int, reason: str) -> Device:
    """Put a quarantined device back into service: what a report must be is what `activate` demands.

    DEVICE_WITHOUT_KEY when it has none left: it has to be enrolled anew.
    """
    status = next_status(device.status, "release")
    _ready(device, now)
    if not live_keys(device, now=now):
        raise _refuse("DEVICE_WITHOUT_KEY", "the device has no key left; enroll it anew", field="keys")
    # Other hardware that somebody looked at is registered by the next report; the boots are followed from there.
    moved = {"serial_hash": "", "model": ""} if "REGISTRATION_DRIFT" in device.findings else {}
    findings = tuple(code for code in device.findings if code not in _LOOKED_AT)
    return _changed(device, now, status=status, reason=reason, findings=findings, streams=(), **moved, **_UNPROVEN)


def report_lost(device: Device, *, now: int, reason: str = "") -> Device:
    """Mark a device lost. Its keys are not revoked: the status alone denies, and a false alarm can be mended."""
    return _changed(device, now, status=next_status(device.status, "report_lost"), reason=reason, **_UNPROVEN)


def recover(device: Device, *, now: int, reason: str) -> Device:
    """Note that a lost device was found: it is quarantined, since nobody knows where it was."""
    return _changed(device, now, status=next_status(device.status, "recover"), reason=reason, **_UNPROVEN)


def revoke(device: Device, *, now: int, reason: str) -> Device:
    """End a device's registration and revoke its keys. There is no way back: it is enrolled anew, with a new key."""
    return _ended(device, next_status(device.status, "revoke"), now=now, reason=reason)


def retire(device: Device, *, now: int, reason: str) -> Device:
    """Take a device out of the inventory's care for good, and revoke its keys."""
    return _ended(device, next_status(device.status, "retire"), now=now, reason=reason)


def superseded(device: Device, *, by: str, now: int) -> Device:
    """Revoke the device whose re-enrollment was certified, unless that was done before; INVARIANT: first the old one.

    `by` is the new device, which names this one in `replaces`.
    """
    if device.status in ("revoked", "retired"):
        return device
    return revoke(device, now=now, reason=f"re-enrolled as {by}")


def transfer(device: Device, *, to: str, now: int, reason: str, by: Collection[str] = ()) -> Device:
    """Give a device to somebody else: quarantined until it is looked at, and its approval starts over.

    `by` is every name of who gives it; under none of them is that person the one who approves it.
    Keys in software are revoked, since the former holder may have copied them; the device is then enrolled anew.
    TRANSFER_REFUSED for what is no longer in anybody's hands, or for nobody.
    """
    if device.status not in ("enrolled", "active", "quarantined"):
        raise _refuse("TRANSFER_REFUSED", f"a device that is `{device.status}` cannot be given to anybody")
    if not to or to == device.owner:
        raise _refuse("TRANSFER_REFUSED", "name another holder than the present one", field="owner")
    if device.ownership == "byod":
        raise _refuse("TRANSFER_REFUSED", "a device of one's own is not the organisation's to give", field="ownership")
    status = device.status if device.status == "quarantined" else next_status(device.status, "quarantine")
    keys = _keys_revoked(device, {key.spki for key in device.keys if key.protection in _COPYABLE}, now=now)
    assigned = () if device.kind == "shared" else (to,)
    return _changed(
        device,
        now,
        status=status,
        keys=keys,
        owner=to,
        assigned=assigned,
        approved_by="",
        given_by=tuple(sorted(by)),
        reason=reason,
        **_UNPROVEN,
    )


def offboard(device: Device, *, subject: str, now: int, reason: str) -> Device:
    """Take a person who leaves off a device, so that nothing is orphaned; the same device when it was not theirs.

    A device of one's own is retired. What the organisation lent, what a robot runs on and what a sponsor answered for
    is quarantined, without a holder, until somebody transfers it. A shared device only loses the name.
    """
    if subject not in (device.owner, device.sponsor, *device.assigned) or not subject:
        return device
    if device.status in ("revoked", "retired"):
        return device
    holder = subject in (device.owner, device.sponsor)
    assigned = tuple(name for name in device.assigned if name != subject)
    if device.owner == subject and device.ownership == "byod":
        return retire(device, now=now, reason=reason)
    left = _changed(
        device,
        now,
        owner="" if device.owner == subject else device.owner,
        sponsor="" if device.sponsor == subject else device.sponsor,
        assigned=assigned,
        reason=reason,
    )
    if not holder or device.kind == "shared" or device.status not in ("enrolled", "active"):
        return left
    return replace(left, status=next_status(device.status, "quarantine"), **_UNPROVEN)


def may_renew(device: Device, *, x5t: str, now: int) -> HeldKey:
    """Return the held key whose certificate may ask for the next one.

    RENEWAL_REFUSED: the device is not in good standing, its own end has come, or the certificate is unknown, revoked or
    too long over.
    """
    if device.status not in _RENEWING:
        raise _refuse("RENEWAL_REFUSED", f"a device that is `{device.status}` renews nothing")
    if device.ends_at is not None and device.ends_at <= now:
        raise _refuse("RENEWAL_REFUSED", "the device's own end has come", field="ends_at")
    for key in device.keys:
        if key.x5t == x5t and key.revoked_at is None and now < key.not_after + RENEWAL_GRACE:
            return key
    raise _refuse("RENEWAL_REFUSED", "the certificate is not one that may be renewed", field="keys")


def renewed(device: Device, key: HeldKey, *, now: int) -> Device:
    """Add the next key. The one before stays valid until it ends or is revoked.

    KEY_REVOKED for a key that was ever revoked here, RENEWAL_TOO_OFTEN beyond four keys at a time.
    """
    if device.status not in _RENEWING:
        raise _refuse("RENEWAL_REFUSED", f"a device that is `{device.status}` renews nothing")
    admit_key(key.spki, device, device_id=device.device_id)
    if len(live_keys(device, now=now)) >= MAX_LIVE_KEYS:
        raise _refuse("RENEWAL_TOO_OFTEN", f"{MAX_LIVE_KEYS} certificates are valid already", field="keys")
    # INVARIANT: a revoked key is never forgotten. One that merely ended is of no use to anybody, and is in time.
    kept = tuple(held for held in device.keys if held.revoked_at is not None or held.not_after + KEPT_AFTER_END > now)
    # A key that ever lay in a file may have been copied there, wherever it is kept since.
    places = [held.protection for held in (*kept, key) if held.spki == key.spki]
    key = replace(key, protection=max(places, key=CATALOGUE[KEY_FACT].choices.index))
    return _changed(device, now, keys=(*kept, key))


def forgotten(device: Device, *, now: int) -> Device:
    """Drop what was collected from a device whose registration ended as long ago as the notice says.

    What remains is that there was such a device, and its keys, so that they never revive. The same device when there is
    nothing to forget.
    """
    over = device.status in ("revoked", "retired") and now - device.changed_at >= RETENTION_DAYS * DAY
    if not over or not (device.sources or device.history):
        return device
    empty = {"sources": MappingProxyType({}), "history": (), "streams": (), "boot_id": "", "findings": ()}
    return replace(device, version=device.version + 1, published="", **empty)


def key_revoked(device: Device, *, x5t: str, now: int, reason: str) -> Device:
    """Revoke one certificate and with it every other one of the same key; KEY_UNKNOWN when it is not the device's."""
    spki = {key.spki for key in device.keys if key.x5t == x5t}
    if not spki:
        raise _refuse("KEY_UNKNOWN", "the device has no such key", field="keys")
    return _changed(device, now, keys=_keys_revoked(device, spki, now=now), reason=reason)


_UNPROVEN: Final[dict[str, Any]] = {"consistent_reports": 0, "first_report_at": 0}
"""What was out of service has to show anew that its reports agree."""
_LOOKED_AT: Final = frozenset({"DEVICE_CLONED", "REGISTRATION_DRIFT"})


def _ready(device: Device, now: int) -> None:
    if device.approval_required and not device.approved_by:
        raise _refuse("APPROVAL_PENDING", "somebody else has to approve the device first", field="approved_by")
    if not device.report_received_at:
        raise _refuse("DEVICE_NOT_REPORTED", "the device has not reported yet", field="report_received_at")


def _ended(device: Device, status: DeviceStatus, *, now: int, reason: str) -> Device:
    keys = _keys_revoked(device, {key.spki for key in device.keys}, now=now)
    return _changed(device, now, status=status, keys=keys, reason=reason, **_UNPROVEN)


def _keys_revoked(device: Device, spki: Collection[str], *, now: int) -> tuple[HeldKey, ...]:
    # INVARIANT: it is keys that are revoked, not certificates: another certificate of the same key ends with it.
    return tuple(
        replace(key, revoked_at=now) if key.spki in spki and key.revoked_at is None else key for key in device.keys
    )
