"""Sends the probes and judges them. The bytes go out over plain sockets: no client library repairs them."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import msgspec

from zt_engine.corpus.execution import IDENTITY, IDENTITY_HEADER, MARK, Execution, Witness
from zt_engine.corpus.probe import LISTENERS, Expect, Probe, Step
from zt_engine.corpus.tunnel import over_h2
from zt_engine.corpus.verdict import Outcome, Permitted, Scope, faults, written
from zt_engine.corpus.wire import Address, Answer, compose, fill, read_answer

PARALLEL = 12
UNMARKED = "unmarked"
CONNECT_SECONDS = 10.0


class Records(Protocol):
    """A backend that bears witness."""

    def __call__(self) -> Iterable[Execution]:
        """Return what was executed since this was last asked."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the probes go and what stands there for their placeholders."""

    addresses: Mapping[str, Address]
    """By the `to` of a step; `front` is always there."""
    values: Mapping[str, str]
    """What is missing makes a probe that uses it not applicable."""
    scope: Scope
    lacks: frozenset[str] = frozenset()
    """What a probe may need and this proxy does not have."""
    may_lose_identity: bool = False
    """This proxy lets a client name identity headers in `Connection`; a backend has to refuse a request without."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one probe."""

    probe: Probe
    outcome: Outcome
    details: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


class _Run:
    """One probe under way: its connections and what was answered."""

    def __init__(self, probe: Probe, place: Place, serial: str) -> None:
        self.probe = probe
        self.place = place
        self.serial = serial
        self.answers: list[Answer] = []
        self._answered: list[int] = []
        self._sock: socket.socket | None = None
        self._kept = bytearray()

    def mark(self, at: int) -> str:
        return f"{self.probe.id}.{at}.{self.serial}"

    def values(self, at: int) -> dict[str, str]:
        mark = self.mark(at)
        return {
            "identity": IDENTITY_HEADER,
            **self.place.values,
            "id": f"{self.probe.id}-{self.serial}",
            "mark": f"{MARK}: {mark}",
        }

    def answers_of(self, at: int) -> list[Answer]:
        return [answer for number, answer in zip(self._answered, self.answers, strict=True) if number == at]

    def send(self, at: int, step: Step) -> None:
        """Send one step; whatever goes wrong on the way is an answer of status 0."""
        raw = compose(step.send, self.values(at))
        if step.over:
            raw = over_h2(raw, first=3 if step.same else 1)
        if not step.same or self._sock is None:
            self.close()
            try:
                self._sock = self.place.addresses[step.to].connect(CONNECT_SECONDS)
            except OSError as error:
                self._answer(at, Answer(0, str(error).encode()))
                return
        with suppress(OSError):  # a proxy may answer and hang up while it is being sent to
            self._sock.settimeout(step.patience)
            self._sock.sendall(raw)
        deadline = time.monotonic() + step.patience
        bodiless = raw.startswith(b"HEAD ")
        for _ in range(step.answers):
            self._answer(at, read_answer(self._sock, bodiless=bodiless, deadline=deadline, kept=self._kept))

    def _answer(self, at: int, answer: Answer) -> None:
        self._answered.append(at)
        self.answers.append(answer)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock, self._kept = None, bytearray()


def run(
    probes: Sequence[Probe],
    place: Place,
    *,
    records: Records | None,
    witness: Callable[[], Witness] | None = None,
    change: Callable[[], None] | None = None,
    parallel: int = PARALLEL,
) -> tuple[Report, ...]:
    """Send every probe and return what came of each, in their order; the last report may be about unmarked requests.

    `records` are the executions of the backend, `witness` is asked for the allows once all is sent, `change` changes
    the world between the steps before and after it. What is not given is not judged.
    """
    lacking = {probe.id: _lacks(probe, place, records, change) for probe in probes}
    sent = [probe for probe in probes if not lacking[probe.id]]
    done: dict[str, Report] = {}
    strays: list[Report] = []
    if records is not None:
        list(records())  # what was executed before is none of ours
        done, strays = _sent(sent, place, records=records, witness=witness, change=change, parallel=parallel)
        again = [probe for probe in sent if _worth_repeating(done[probe.id])]
        if again:
            repeated, more = _sent(again, place, records=records, witness=witness, change=None, parallel=1)
            done, strays = {**done, **repeated}, strays + more
    reports = [
        done.get(probe.id) or Report(probe=probe, outcome=Outcome.NOT_APPLICABLE, details=(lacking[probe.id],))
        for probe in probes
    ]
    return (*reports, *strays)


def _worth_repeating(report: Report) -> bool:
    """A decision that came too late is a refusal: an ordinary request that was refused is sent once more, by itself."""
    return report.outcome is Outcome.UNSERVED and not any(step.after for step in report.probe.steps)


def _sent(
    probes: Sequence[Probe],
    place: Place,
    *,
    records: Records,
    witness: Callable[[], Witness] | None,
    change: Callable[[], None] | None,
    parallel: int,
) -> tuple[dict[str, Report], list[Report]]:
    serial = secrets.token_hex(3)
    runs = [_Run(probe, place, serial) for probe in probes]
    try:
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(_before, runs))
            late = [one for one in runs if any(step.after for step in one.probe.steps)]
            if late and change is not None:
                change()
                list(pool.map(_after, late))
    finally:
        for one in runs:
            one.close()
    executed = list(records())
    known = witness() if witness is not None else None
    return {one.probe.id: _judge(one, executed, known) for one in runs}, list(_unmarked(runs, executed))


def _before(one: _Run) -> None:
    for at, step in enumerate(one.probe.steps):
        if step.after:
            return
        one.send(at, step)
    one.close()


def _after(one: _Run) -> None:
    for at, step in enumerate(one.probe.steps):
        if step.after or any(earlier.after for earlier in one.probe.steps[:at]):
            one.send(at, step)


def _lacks(probe: Probe, place: Place, records: Records | None, change: Callable[[], None] | None) -> str:
    own = {"id", "mark", "identity"}
    missing = sorted(
        [f"no {name}" for name in probe.needs & place.lacks]
        + [f"no {{{name}}} was given" for name in probe.placeholders - own - place.values.keys()]
        + [f"the address of `{step.to}` is not known" for step in probe.steps if step.to not in place.addresses]
        + ["nobody changes the world" for step in probe.steps if step.after and change is None]
        + ["no backend bears witness" for _ in [0] if records is None]
    )
    return missing[0] if missing else ""


def _judge(one: _Run, executed: Sequence[Execution], witness: Witness | None) -> Report:
    details: list[str] = []
    served, due = 0, 0
    for at, step in enumerate(one.probe.steps):
        marked = [record for record in executed if record.probe == one.mark(at)]
        permitted = _permitted(step, one.values(at))
        details += faults(permitted, marked, one.place.scope, witness, lossy=one.place.may_lose_identity)
        details += _answered_itself(step, one.answers_of(at))
        served += bool(marked)
        due += step.expect is Expect.EXACT
        if step.expect is Expect.EXACT and not marked and not details:
            details.append(f"step {at + 1} was to be served")
    statuses = tuple(answer.status for answer in one.answers)
    if not details:
        outcome = Outcome.EXACT if served else Outcome.REFUSED
    elif all(text.endswith("was to be served") for text in details):
        outcome = Outcome.UNSERVED
    else:
        outcome = Outcome.VIOLATED
    return Report(probe=one.probe, outcome=outcome, details=tuple(dict.fromkeys(details)), statuses=statuses)


def _answered_itself(step: Step, answers: Iterable[Answer]) -> Iterable[str]:
    """A listener of the decision service says yes to nobody but its proxy."""
    if step.to in LISTENERS and any(answer.status // 100 == 2 for answer in answers):
        yield f"the listener `{step.to}` answered {[answer.status for answer in answers]} to a stranger"


def _permitted(step: Step, values: Mapping[str, str]) -> Permitted:
    names = {values["identity"].lower(), *IDENTITY}
    method, _, path = fill(step.executes, values).partition(" ")
    return Permitted(
        expect=step.expect,
        method=method,
        path=path,
        host=fill(step.host, values),
        subject=fill(step.subject, values),
        device=fill(step.device, values),
        identity=values["identity"].lower(),
        written={name: said for name, said in written(compose(step.send, values)).items() if name in names},
    )


def _unmarked(runs: Sequence[_Run], executed: Iterable[Execution]) -> Iterable[Report]:
    """What reached a backend under no mark of ours is a request nobody sent."""
    marks = {one.mark(at) for one in runs for at in range(len(one.probe.steps))}
    strays = [record for record in executed if record.probe not in marks]
    if strays:
        probe = Probe(id=UNMARKED, number=9, advisory="none", note="requests that reached a backend unmarked", steps=())
        details = tuple(f"{record.stack} executed {record.methods} {record.target}" for record in strays)
        yield Report(probe=probe, outcome=Outcome.VIOLATED, details=details)
