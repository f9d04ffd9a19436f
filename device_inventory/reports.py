"""Taking in what was verified: a report becomes facts, by the method its channel earns and at the server's time.

INVARIANT: nothing in a report says how far it is to be believed. What the agent signs is a self-report, what the
registered root helper signs is its word, what a verified quote shows is attested; a report that names a method is
malformed. Nor can a report make evidence newer than it is: it counts from its receipt, or from when it says it was
collected if that was more than five minutes before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.claims import Claim, Claims, Report, read_helper_claims, read_report
from device_inventory.consistency import (
    Finding,
    changes,
    conflicts,
    drift,
    follow,
    registered,
    remembered,
    toggled,
)
from device_inventory.device import DeviceStatus, next_status
from device_inventory.facts import CATALOGUE, FUTURE_TOLERANCE, FactEnvelope, FactValue, Method, badness
from device_inventory.inventory import (
    AGENT,
    HELPER,
    QUOTE,
    REPORTS_NEEDED,
    Device,
    SourceFacts,
    facts_digest,
    proven,
    standing,
)
from device_inventory.notice import allowed

__all__ = [
    "MAX_EVIDENCE_AGE",
    "REPORTS_APART",
    "Claim",
    "Claims",
    "Finding",
    "Ingested",
    "Report",
    "ingest",
    "read_helper_claims",
    "read_report",
    "settled",
]

MAX_EVIDENCE_AGE: Final = 300
"""Evidence that was collected longer ago counts from when it was collected."""
REPORTS_APART: Final = 600
"""How far apart the reports are that show that a new device agrees with itself."""

REPORTING: Final[frozenset[DeviceStatus]] = frozenset({"enrolled", "active", "quarantined"})
_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {AGENT: "self_report", HELPER: "signed_agent", QUOTE: "attested"}
)
_KEPT_FINDINGS: Final = frozenset({"DEVICE_CLONED"})
"""What only somebody who looked at the device takes away."""
ANOTHER_BOOT: Final = "earlier"
"""Names no boot there is: boots have an id of the kernel's own making."""


class Ingested(Struct, frozen=True, kw_only=True):
    """What came of a report. The device is to be stored even when the report was refused."""

    device: Device
    changed: bool
    """Whether sidecars have to be told by `device.changed`; `device.seen` is enough otherwise."""
    confirmed: tuple[str, ...] = ()
    """Facts that hold at `report_received_at`: what `device.seen` lists."""
    findings: tuple[Finding, ...] = ()
    refusal: Finding | None = None
    """Why nothing was taken from the report: REPORT_FOREIGN, REPORT_STATUS, REPORT_SEQ, DEVICE_CLONED."""


def ingest(
    device: Device,
    report: Report,
    *,
    helper: Claims | None = None,
    attested: Mapping[str, FactValue] | None = None,
    now: int,
    names: Collection[str] = CATALOGUE.keys(),
) -> Ingested:
    """Take in a report whose signature and nonce hold.

    `helper` is what the device's registered helper signed with it, `attested` what a verified quote shows; `names` are
    the facts sidecars are told, which decides what is a change to them.
    """
    refusal = _foreign(device, report)
    if refusal is not None:
        return Ingested(device=device, changed=False, refusal=refusal)
    streams, step = follow(device.streams, held_seq=device.report_seq, boot_id=report.boot_id, seq=report.seq, now=now)
    device = replace(device, streams=streams)
    if step == "cloned":
        return _cloned(device, now)
    if step == "behind":
        message = f"the last one accepted was {device.report_seq}"
        return Ingested(device=device, changed=False, refusal=Finding(code="REPORT_SEQ", message=message))
    findings: list[Finding] = []
    taken = _next_boot(replace(device, report_seq=report.seq, report_received_at=now), report.boot_id)
    taken = _take(taken, AGENT, report.claims, now=now, full=not report.delta, findings=findings)
    if helper is not None:
        # What takes long to look for the helper leaves out until it has looked, so it never withdraws by silence.
        taken = _take(taken, HELPER, helper, now=now, full=False, findings=findings)
    if attested:
        proofs = {
            name: Claim(status="observed", value=value, collected_at=now) for name, value in sorted(attested.items())
        }
        taken = _take(taken, QUOTE, Claims(facts=proofs), now=now, full=False, findings=findings)
    version = replace(taken.sources[AGENT], version=report.collector_version)
    taken = replace(taken, sources=MappingProxyType({**taken.sources, AGENT: version}))
    return settled(device, taken, findings, now=now, names=names, counts=helper is not None or bool(attested))


def settled(
    before: Device,
    taken: Device,
    findings: Iterable[Finding],
    *,
    now: int,
    names: Collection[str],
    counts: bool,
) -> Ingested:
    """Hold what was taken in against everything else, and decide what sidecars have to be told.

    `counts`: whether this can be one of the consistent reports of a device that has yet to prove itself.
    """
    found = [*findings]
    for source in taken.sources.values():
        found += drift(taken, source.facts)
    for source in taken.sources.values():
        taken = registered(taken, source.facts)
    found += conflicts(taken, now=now)
    found += toggled(taken, now=now)
    codes = {finding.code for finding in found}
    taken = _counted(taken, now=now, counts=counts, consistent=not any(map(_contradicts, found)))
    if not proven(taken) and counts:
        found.append(Finding(code="REPORT_UNCONFIRMED", message="a second report has to agree, 10 minutes later"))
    if any(finding.fact == "device.serial_hash" for finding in found) and taken.status in ("enrolled", "active"):
        # Another serial is another machine.
        taken = replace(taken, status=next_status(taken.status, "quarantine"), reason="REGISTRATION_DRIFT")
    kept = {*codes, *(code for code in taken.findings if code in _KEPT_FINDINGS)}
    taken = replace(taken, findings=tuple(sorted(kept)))
    facts = standing(taken, names=names, now=now)
    digest = facts_digest(facts, taken.boot_id)
    changed = digest != before.published or taken.status != before.status
    if changed:
        taken = replace(taken, version=before.version + 1, changed_at=now, published=digest)
    return Ingested(
        device=taken,
        changed=changed,
        confirmed=tuple(
            sorted(name for name, fact in facts.items() if fact.received_at == now and fact.status == "observed")
        ),
        findings=tuple(found),
    )


def _contradicts(finding: Finding) -> bool:
    if finding.code == "SOURCE_CONFLICT":
        # Two names of one version are no contradiction in what the device is.
        return CATALOGUE[finding.fact].order != "none"
    return finding.code in ("REGISTRATION_DRIFT", "FACT_FLAPPING")


def _foreign(device: Device, report: Report) -> Finding | None:
    if report.device != device.device_id:
        return Finding(code="REPORT_FOREIGN", message="the report is about another device than its key's")
    if device.status not in REPORTING:
        return Finding(code="REPORT_STATUS", message=f"a device that is `{device.status}` reports nothing")
    return None


def _cloned(device: Device, now: int) -> Ingested:
    refusal = Finding(code="DEVICE_CLONED", message="two machines report with one key")
    # Which of the two is the copy cannot be told, and both are this device: out of service they go together.
    isolated = device.status != "quarantined"
    device = replace(
        device,
        status=next_status(device.status, "quarantine") if isolated else device.status,
        version=device.version + 1 if isolated else device.version,
        changed_at=now if isolated else device.changed_at,
        published="" if isolated else device.published,
        findings=tuple(sorted({*device.findings, refusal.code})),
        reason=refusal.code if isolated else device.reason,
        consistent_reports=0,
        first_report_at=0,
    )
    return Ingested(device=device, changed=isolated, findings=(refusal,), refusal=refusal)


def _next_boot(device: Device, boot_id: str) -> Device:
    """Void what was true of the boot before, whoever said it; what is reported again says so of the new one."""
    if device.boot_id in ("", boot_id):
        return replace(device, boot_id=boot_id)
    sources = {
        name: replace(
            held, facts=MappingProxyType({fact: _of_boot(fact, envelope) for fact, envelope in held.facts.items()})
        )
        for name, held in device.sources.items()
    }
    return replace(device, boot_id=boot_id, sources=MappingProxyType(sources))


def _of_boot(name: str, envelope: FactEnvelope) -> FactEnvelope:
    kind = CATALOGUE.get(name)
    if kind is None or kind.freshness != "boot" or envelope.boot_id:
        return envelope
    return replace(envelope, boot_id=ANOTHER_BOOT)


def _take(device: Device, source: str, claims: Claims, *, now: int, full: bool, findings: list[Finding]) -> Device:
    """Take in what one channel says; in a full report, what it no longer speaks of is not collected any more."""
    held = device.sources.get(source, SourceFacts(source=source, received_at=now))
    facts = dict(held.facts)
    may = allowed(device.ownership)
    for name in claims.unknown:
        findings.append(Finding(code="REPORT_FACT_UNKNOWN", fact=name, message="is no fact that is known here"))
    said = dict(claims.facts)
    if full:
        gone = Claim(status="not_collected", value=None, collected_at=now)
        said = dict.fromkeys(facts, gone) | said
    for name, claim in said.items():
        if name in may:
            facts[name] = _received(name, facts.get(name), claim, _METHODS[source], now=now, findings=findings)
        elif name in claims.facts:
            message = "is not collected from such a device"
            findings.append(Finding(code="REPORT_FACT_REFUSED", fact=name, message=message))
    for name in claims.confirmed:
        fact = facts.get(name)
        if fact is None or fact.boot_id:
            findings.append(Finding(code="REPORT_FACT_MISSING", fact=name, message="is not known here any more"))
        else:
            facts[name] = replace(fact, received_at=now)
    history = remembered(device.history, changes(source, held.facts, facts, now=now))
    taken = replace(held, received_at=now, facts=MappingProxyType(facts))
    sources = MappingProxyType({**device.sources, source: taken})
    return replace(device, sources=sources, history=history)


def _received(
    name: str,
    held: FactEnvelope | None,
    claim: Claim,
    method: Method,
    *,
    now: int,
    findings: list[Finding],
) -> FactEnvelope:
    if claim.collected_at > now + FUTURE_TOLERANCE:
        findings.append(Finding(code="CLOCK_SKEW", fact=name, message="was collected in the future"))
    received_at = now if claim.collected_at >= now - MAX_EVIDENCE_AGE else claim.collected_at
    if held is not None and not held.boot_id:
        if received_at < held.received_at:
            return held  # an old report, told again, says nothing new
        if claim.status != "observed" and held.status == "observed" and badness(name, held.value) != 0:
            # INVARIANT: withholding never improves anything. What was bad, or has no better and worse, stays and ages;
            # otherwise the better word of another source would take its place.
            return held
    return FactEnvelope(status=claim.status, value=claim.value, method=method, received_at=received_at)


def _counted(device: Device, *, now: int, counts: bool, consistent: bool) -> Device:
    if not counts or device.consistent_reports >= REPORTS_NEEDED:
        return device
    if not consistent:
        return replace(device, consistent_reports=0, first_report_at=0)
    if not device.consistent_reports:
        return replace(device, consistent_reports=1, first_report_at=now)
    if now - device.first_report_at >= REPORTS_APART:
        return replace(device, consistent_reports=REPORTS_NEEDED)
    return device
