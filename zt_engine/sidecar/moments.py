"""A principal during one decision tick: its parts of the policy input and its trust, computed once.

`time` is the tick's end and every age is measured to it, so that a decision is one pure function for the whole tick
and nothing looks fresher than it will be when the tick is over.
"""

from __future__ import annotations

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.fact_sheet import FactSheet, fact_sheet
from device_inventory.facts import FUTURE_TOLERANCE
from device_inventory.fleet import Freeze
from device_inventory.standstill import Standstill, stand_still
from zt_engine.core.generations import Generations
from zt_engine.core.identity import Binding, Subject
from zt_engine.core.policy_input import NEVER, DelegateInput, SubjectInput, fragment
from zt_engine.core.tick import Tick, tick_at
from zt_engine.core.trust import Pillar, context_points
from zt_engine.core.trust_model import TrustModel
from zt_engine.core.trust_readings import Readings, pillar_at, read_device, read_subject
from zt_engine.sidecar.principals import Principal
from zt_engine.sidecar.sheets import MAX_SHEETS, Sheets

AUTH_AGE = b'"auth_age":'
"""In JSON these bytes are a member's name and nothing else: a quote within a text is escaped."""

NO_DEVICE = (
    b'{"assigned":false,"facts":{},"id":"","key_protection":"","ownership":"byod","report_age":%d,"status":"unknown"}'
    % NEVER
)
"""The device part without a device: of the two possible owners the one who is trusted less."""


class Moment:
    """What is the same for every request of one principal in one tick."""

    __slots__ = (
        "contexts", "device", "device_json", "freeze", "frozen", "maker", "report_age", "since", "subject",
        "subject_json", "tick_end", "tick_start", "until",
    )  # fmt: skip

    def __init__(self, maker: Moments, tick: Tick) -> None:
        self.maker = maker
        self.tick_start, self.tick_end, self.since, self.until = tick
        self.device_json = NO_DEVICE
        self.subject_json = b""
        self.device = Pillar(0, 0, 0)
        self.subject = Pillar(0, 0, 0)
        self.report_age = NEVER
        self.freeze: Freeze | None = None
        self.frozen: Frozen | None = None
        """The device while its ageing stands still; None: it does not."""
        self.contexts: dict[tuple[str, str], Pillar] = {}


class Frozen:
    """The part of a moment that stands still: the device as it was at `as_of`, for labels up to a rank."""

    __slots__ = ("as_of", "device", "device_json", "record", "report_age", "up_to")

    def __init__(self, still: Standstill, up_to: int) -> None:
        self.record = still.record
        self.as_of = still.at
        self.up_to = up_to
        self.device_json = NO_DEVICE
        self.device = Pillar(0, 0, 0)
        self.report_age = NEVER


class _Profile(msgspec.Struct, frozen=True):
    """What a subject and its sign-in say under one trust model, before the clock is asked."""

    maker: Moments
    strongest: str | None
    binding: Binding
    readings: Readings
    form: tuple[bytes, bytes]
    """The subject part of the input before and behind the age of the sign-in."""


class Moments:
    """Makes moments against one trust model; what depends on a record alone is kept for as long as the record."""

    def __init__(self, model: TrustModel, *, facts: tuple[str, ...], tick_seconds: int) -> None:
        self.model = model
        self._facts = facts
        self._tick_seconds = tick_seconds
        self._sheets = Sheets(self._prepare)
        self._still_sheets = Sheets(self._prepare)
        self._stills: Generations[str, tuple[DeviceRecord, Standstill]] = Generations(MAX_SHEETS)

    def of(self, principal: Principal, now: float, *, strongest: str | None, freeze: Freeze | None = None) -> Moment:
        """Return the principal's moment; `strongest` is the best `acr` its issuer can give."""
        moment = principal.tick
        if (
            isinstance(moment, Moment)
            and moment.since <= now < moment.until
            and moment.maker is self
            and moment.freeze is freeze
        ):
            return moment
        moment = Moment(self, self.tick(principal.phase, now))
        moment.freeze = freeze
        tick_end = moment.tick_end
        profile = principal.profile
        if (
            not isinstance(profile, _Profile)
            or profile.maker is not self
            or profile.strongest != strongest
            or profile.binding != principal.binding
        ):
            profile = principal.profile = self._read_subject(principal, strongest)
        moment.subject = pillar_at(profile.readings, tick_end)
        signed_in = principal.subject.auth_time
        before, behind = profile.form
        moment.subject_json = b"%b%d%b" % (before, NEVER if signed_in is None else age(signed_in, tick_end), behind)
        if principal.device is not None:
            self._read_device(moment, principal.device, tick_end, assigned=principal.assigned, sheets=self._sheets)
            if freeze is not None:
                self._stand_still(moment, freeze, principal.device, assigned=principal.assigned)
        principal.tick = moment
        return moment

    def tick(self, phase: int, now: float) -> Tick:
        """Return the tick around `now`; the phase comes from the device, so ticks do not align."""
        return tick_at(now, phase=phase, seconds=self._tick_seconds)

    def context(self, moment: Moment, location: str, path: str) -> Pillar:
        """Return the context pillar for a location and the way the request came."""
        pillar = moment.contexts.get((location, path))
        if pillar is None:
            pillar = context_points(
                self.model,
                location=location,
                path=path,
                in_hours=self.model.in_hours(tick_start=moment.tick_start, tick_end=moment.tick_end),
            )
            moment.contexts[(location, path)] = pillar
        return pillar

    def _read_subject(self, principal: Principal, strongest: str | None) -> _Profile:
        readings = read_subject(self.model, principal.subject, binding=principal.binding, strongest=strongest)
        before, _, behind = subject_fragment(principal.subject, principal.binding, 0).partition(AUTH_AGE + b"0")
        return _Profile(self, strongest, principal.binding, readings, (before + AUTH_AGE, behind))

    def _prepare(self, record: DeviceRecord) -> tuple[FactSheet, Readings]:
        return fact_sheet(record, names=self._facts, ranges=self.model.freshness), read_device(self.model, record)

    def _stand_still(self, moment: Moment, freeze: Freeze, record: DeviceRecord, *, assigned: bool) -> None:
        still = stand_still(freeze, record, tick_start=moment.tick_start, tick_end=moment.tick_end)
        if still is None:
            return
        sheets = self._sheets
        if still.record is not record:
            # The same version of a record is the same one here, so that its sheet is made once.
            known = self._stills.get(record.device_id)
            if known is not None and known[0] is record and known[1].at == still.at:
                still = known[1]
            else:
                self._stills.put(record.device_id, (record, still))
            sheets = self._still_sheets
        moment.frozen = Frozen(still, freeze.up_to)
        self._read_device(moment.frozen, still.record, still.at, assigned=assigned, sheets=sheets)

    def _read_device(
        self, into: Moment | Frozen, record: DeviceRecord, at: int, *, assigned: bool, sheets: Sheets
    ) -> None:
        sheet = sheets.of(record)
        facts, into.device = sheet.at(at)
        into.report_age = age(record.report_received_at, at)
        into.device_json = b'{"assigned":%b,"facts":%b,%b,"report_age":%d,"status":"%b"}' % (
            b"true" if assigned else b"false",
            facts,
            sheet.named,
            into.report_age,
            record.status.encode(),
        )


def age(since: int, tick_end: int) -> int:
    """Return seconds since an instant; what claims to come from the future, beyond any honest skew, never happened."""
    seconds = tick_end - since
    return seconds if seconds >= 0 else 0 if -seconds <= FUTURE_TOLERANCE else NEVER


def subject_fragment(subject: Subject, binding: Binding, auth_age: int) -> bytes:
    """Encode the subject part of the policy input; `auth_age` are seconds since the sign-in."""
    delegate = subject.delegate
    return fragment(
        SubjectInput(
            type=subject.type,
            id=subject.id,
            issuer=subject.issuer,
            groups=list(subject.groups),
            roles=list(subject.roles),
            org=subject.org,
            nationality=subject.nationality,
            amr=list(subject.amr),
            acr=subject.acr,
            auth_age=auth_age,
            compartments=list(subject.compartments),
            clearance=subject.clearance,
            employment=subject.employment,
            valid_until=subject.valid_until,
            binding=binding,
            delegate=None
            if delegate is None
            else DelegateInput(
                type=delegate.type,
                id=delegate.id,
                clearance=delegate.clearance,
                compartments=list(delegate.compartments),
            ),
        )
    )
