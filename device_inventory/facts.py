"""What may be known about a device: fact names, their types, who says so, and how fast they grow old.

A fact is never a bare value. It is an envelope that says whether it was observed at all, by what method, and when it
was received: absence is never a good value, and an old value fades to nothing instead of staying true.

Inventories (installed packages, browser extensions, volumes) are no facts: they are matched where they are received,
and only the result (`vuln.*`, `disk.encrypted`) travels to the places that decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

FactStatus = Literal["observed", "not_collected", "not_supported", "error"]
Method = Literal["attested", "mdm_server", "signed_agent", "self_report", "declared"]
FactType = Literal["boolean", "choice", "count", "number", "text", "list", "instant"]
FreshnessClass = Literal["key", "live", "hourly", "daily", "boot", "feed", "static"]
Order = Literal["true", "false", "low", "high", "empty", "choices", "none"]
FactValue = bool | int | float | str | tuple[str, ...] | None

STATUSES: Final[tuple[FactStatus, ...]] = ("observed", "not_collected", "not_supported", "error")
# Strongest first. The ingest channel sets the method; a report never names its own.
METHODS: Final[tuple[Method, ...]] = ("attested", "mdm_server", "signed_agent", "self_report", "declared")

FRESH: Final = 1000
# A record received this far in our future is a clock difference; beyond it one of the two clocks is wrong.
FUTURE_TOLERANCE: Final = 300


class FactEnvelope(Struct, frozen=True, kw_only=True, gc=False):
    """One fact as it was received: `value` is None unless `status` is `observed`.

    `received_at` is our clock in epoch seconds, never the device's. `boot_id` names the boot a fact was collected in
    when that differs from the record's own; a boot fact of another boot says nothing.
    """

    status: FactStatus
    value: FactValue
    method: Method
    received_at: int
    boot_id: str = ""


class FactKind(Struct, frozen=True, kw_only=True):
    """What the catalogue knows of a fact: its type, which of two values is the worse one, and how it ages."""

    name: str
    type: FactType
    order: Order
    freshness: FreshnessClass
    choices: tuple[str, ...] = ()  # best first


class FreshnessRange(Struct, frozen=True, gc=False):
    """Full confidence up to `full_until` seconds of age, none from `void_from` on, a straight line between."""

    full_until: int
    void_from: int


DAY: Final = 86_400
HOUR: Final = 3_600

# The defaults of a pack that does not say otherwise. `static` facts do not age: they change by an event.
FRESHNESS: Final[Mapping[FreshnessClass, FreshnessRange]] = MappingProxyType(
    {
        "key": FreshnessRange(900, HOUR),
        "live": FreshnessRange(900, 4 * HOUR),
        "hourly": FreshnessRange(HOUR, DAY),
        "daily": FreshnessRange(DAY, 7 * DAY),
        "boot": FreshnessRange(DAY, 7 * DAY),
        "feed": FreshnessRange(3 * DAY, 14 * DAY),
    }
)


def freshness(age: int, limits: FreshnessRange) -> int:
    """Confidence 0..1000 of evidence `age` seconds old, in integers and never growing with age.

    Evidence from the future counts as new within the tolerance and as nothing beyond it.
    """
    if age <= limits.full_until:
        return FRESH if age >= -FUTURE_TOLERANCE else 0
    if age >= limits.void_from:
        return 0
    return (limits.void_from - age) * FRESH // (limits.void_from - limits.full_until)


def confidence(
    name: str,
    envelope: FactEnvelope,
    *,
    boot_id: str,
    now: int,
    ranges: Mapping[FreshnessClass, FreshnessRange] = FRESHNESS,
) -> int:
    """Freshness 0..1000 of one fact of a device that runs boot `boot_id`.

    0 for whatever was not observed, is not in the catalogue (nobody said how it ages), or belongs to another boot.
    """
    kind = CATALOGUE.get(name)
    if kind is None or envelope.status != "observed":
        return 0
    if kind.freshness == "static":
        return FRESH
    if kind.freshness == "boot" and envelope.boot_id not in ("", boot_id):
        return 0
    return freshness(now - envelope.received_at, ranges[kind.freshness])


def badness(name: str, value: FactValue) -> int | None:
    """How bad an observed value is, 0 the best; None where the catalogue gives no order (or the type is off)."""
    kind = CATALOGUE[name]
    match kind.order, value:
        case "true" | "false", bool():
            return int(value is not (kind.order == "true"))
        case "low", int() | float() if not isinstance(value, bool):
            return round(value * 10)  # tenths, for the one fact that has them (CVSS)
        case "high", int() if not isinstance(value, bool):
            return -value
        case "empty", tuple():
            return len(value)
        case "choices", str() if value in kind.choices:
            return kind.choices.index(value)
    return None


def suggestion(name: str) -> str:
    """The catalogued fact a misspelt name most likely means, or an empty string."""
    return next(iter(get_close_matches(name, CATALOGUE, n=1)), "")


def _kinds() -> Mapping[str, FactKind]:
    kinds: dict[str, FactKind] = {}

    def add(type_: FactType, order: Order, ages: FreshnessClass, names: str, choices: str = "") -> None:
        for name in names.split():
            kinds[name] = FactKind(
                name=name,
                type=type_,
                order=order,
                freshness=ages,
                choices=tuple(choices.split(" > ")) if choices else (),
            )

    # identity
    add("choice", "choices", "key", "device.key_protection", "attested_hw > hw > os_keystore > file > none")
    add("text", "none", "static", "device.serial_hash device.model")
    add("choice", "none", "static", "device.ownership", "corp > shared > byod")
    # platform: what is out of support is judged by date, so the date is the fact
    add("text", "none", "daily", "os.family os.id os.version os.build kernel.release os.eol_date")
    add("boolean", "true", "daily", "os.supported")
    # patch
    add("count", "low", "daily", "patch.pending_security patch.oldest_pending_days patch.metadata_age")
    add("instant", "high", "daily", "patch.last_success_at")
    add("boolean", "false", "daily", "patch.reboot_required")
    add("boolean", "true", "daily", "kernel.running_is_latest")
    # vulnerabilities: an old feed means unknown, never "none"
    add("choice", "choices", "daily", "vuln.state", "none_known > kev_open > kev_overdue > unknown")
    add("list", "empty", "daily", "vuln.kev_open vuln.kev_overdue")
    add("number", "low", "daily", "vuln.max_cvss_open")
    add("count", "low", "feed", "vuln.feed_age")
    # storage
    add("boolean", "true", "daily", "disk.encrypted swap.encrypted")
    add("boolean", "false", "daily", "usb_storage.allowed")
    # boot: true of one boot only
    add("boolean", "true", "boot", "boot.secure_boot boot.measured tpm.present")
    add("boolean", "false", "boot", "boot.setup_mode")
    add("text", "none", "boot", "tpm.version")
    add("choice", "choices", "boot", "kernel.lockdown", "confidentiality > integrity > none")
    # protection
    add("boolean", "true", "live", "edr.running edr.healthy av.realtime")
    add("text", "none", "live", "edr.vendor")
    add("count", "low", "live", "av.signature_age_h")
    # network
    add("boolean", "true", "hourly", "firewall.enabled")
    add("choice", "choices", "hourly", "firewall.default_inbound", "drop > reject > allow")
    add("list", "empty", "hourly", "listening.remote_admin")
    # session
    add("boolean", "true", "daily", "screenlock.enabled screenlock.enforced")
    add("count", "low", "daily", "screenlock.idle_seconds")
    add("boolean", "false", "daily", "remote_session_active")
    # privilege
    add("boolean", "false", "daily", "user.is_admin sudo.nopasswd")
    add("list", "empty", "daily", "root_equiv_groups")
    # integrity: a virtual machine is a fact, not a fault
    add("boolean", "false", "hourly", "integrity.rooted ld_preload debugger")
    add("count", "low", "hourly", "kernel.taint")
    add("boolean", "none", "hourly", "vm")
    add("boolean", "true", "hourly", "mac.enforcing")
    # management
    add("boolean", "true", "daily", "mdm.enrolled mdm.compliant")
    add("text", "none", "daily", "mdm.vendor agent.version agent.hash")
    # time
    add("boolean", "true", "hourly", "clock.synchronised")
    add("count", "low", "hourly", "clock.skew_s")
    # the report itself
    add("count", "none", "daily", "report_seq")
    add("choice", "choices", "daily", "collector_scope", "root > user")
    return MappingProxyType(kinds)


CATALOGUE: Final[Mapping[str, FactKind]] = _kinds()
