"""What signals do by themselves: each is taken in by its rules, and what follows is declared, renewed and taken back.

INVARIANT: an overlay is told again when its effect is another one or half of its time is over, never because a signal
was heard: however many there are, sidecars hear of few.
INVARIANT: nothing here touches an overlay that is not its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.signal_overlays import OWNER, in_force, stem
from zt_engine.control_plane.situation import MOST, Declarations
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.signals import (
    Declared,
    Held,
    Rule,
    Rules,
    Signal,
    begin,
    changes_at,
    check,
    cleared_at,
    closes,
    effects,
    fits,
    take,
)
from zt_engine.ports.inventory import Transaction

log = structlog.get_logger()

RULES: Final = "signals"
"""Where the rules stand among `ControlPlane.extras`."""
FOR_PEOPLE: Final = 100
"""How many of the overlays that sidecars read are left to people."""
FOR_CLOSING: Final = 300
"""How many of those that signals have are left to what closes: whoever tells many low risks hides no high one."""
FOR_REAL: Final = 300
"""How many more exercises leave to what is real."""
PAGE: Final = 500
AGAIN: Final = 60
_BY_TIME: Final = "by time"


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that does nothing, and why."""

    id: str
    code: str
    message: str


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a batch: how much was taken in, what was ignored, and which overlays are others now.

    `ends` are overlays that a `cleared` will end and has not yet: the epoch second of each, unless more is noticed.
    """

    taken: int
    ignored: tuple[Ignored, ...]
    overlays: tuple[str, ...]
    ends: dict[str, int] = {}


class _Room:
    """How many overlays signals may still declare in one transaction, and for which of them there was no room."""

    def __init__(self, tx: Transaction) -> None:
        self._left = MOST["overlay"] - FOR_PEOPLE - len(tx.situation.all("overlay"))
        self.refused: list[str] = []

    def take(self, id_: str, *, leaving: int) -> bool:
        """Whether there is room that leaves so many places to others."""
        if self._left <= leaving:
            self.refused.append(id_)
            return False
        self._left -= 1
        return True


class Signals:
    """The signals of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._declarations = Declarations(plane)
        self._kept_by: object = None

    @property
    def _rules(self) -> Rules:
        rules = self._plane.extras.get(RULES)
        return rules if isinstance(rules, Rules) else Rules()

    def take(self, tx: Transaction, some: Sequence[Signal], *, now: int) -> Taken:
        """Take a batch in; what one rule does not take stops nothing else."""
        ignored: list[Ignored] = []
        heard: dict[str, tuple[Rule, list[Signal]]] = {}
        for signal in some:
            rules = self._rules.of(signal)
            if not rules:
                text = f"no rule is about `{signal.kind}` of a `{signal.principal.partition(':')[0]}`"
                ignored.append(Ignored(id=signal.id, code="SIGNAL_UNRULED", message=text))
            for rule in rules:
                try:
                    check(rule, signal, now=now)
                except InputError as error:
                    ignored.append(Ignored(id=signal.id, code=error.code, message=error.message))
                    continue
                id_ = stem(rule, signal.principal, exercise=signal.exercise)
                heard.setdefault(id_, (rule, []))[1].append(signal)
        changed: list[str] = []
        ends: dict[str, int] = {}
        room = _Room(tx)
        for id_ in sorted(heard):  # always in one order, or two batches could wait for each other
            rule, signals = heard[id_]
            before = tx.signals.get(id_)
            after = _heard(id_, rule, before, signals, now=now)
            if after != before:
                changed += self._settle(tx, rule, after, room, why=_why(signals), now=now)
            end = cleared_at(rule, after.state, now=now)
            held = tx.signals.get(id_) if end is not None else None
            ends |= {one.id: end for one in held.declared if end is not None} if held is not None else {}
        if room.refused:
            log.error("signals.full", code="SIGNALS_FULL", overlays=len(room.refused), first=room.refused[0])
            text = f"{len(room.refused)} overlays of this batch wait until others end"
            ignored.append(Ignored(id=some[-1].id, code="SIGNALS_FULL", message=text))
        taken = sum(len(one) for _, one in heard.values())
        return Taken(taken=taken, ignored=tuple(ignored), overlays=tuple(changed), ends=ends)

    def keep(self, *, now: int) -> int:
        """Renew, fade and take back what is due; return how many overlays are others now.

        INVARIANT: one that cannot be kept stops no other. What is in force is looked at whenever the rules are others,
        and before all else when more is due than a turn does, so that no backlog has it end meanwhile.
        """
        tenant = self._plane.settings.tenant
        rules = self._plane.extras.get(RULES)
        anew = rules is not self._kept_by
        with self._plane.store.reading(tenant) as tx:
            due = tx.signals.due(now=now, limit=PAGE)
            if anew or len(due) == PAGE:
                due = tuple(dict.fromkeys((*in_force(tx), *due)))
        changed = 0
        for id_ in due:
            try:
                with self._plane.store.writing(tenant) as tx:
                    changed += self._keep(tx, id_, anew=anew, now=now)
            except UnavailableError as error:
                if error.code != "STORE_CONFLICT":
                    raise  # of a conflict: somebody else has just settled it
            except Exception as error:
                log.exception("signals.not_kept", code="SIGNALS_NOT_KEPT", id=id_, error=type(error).__name__)
        self._kept_by = rules
        return changed

    def _keep(self, tx: Transaction, id_: str, *, anew: bool, now: int) -> int:
        held = tx.signals.get(id_)
        if held is None or (held.due > now and not anew):
            return 0
        rule = self._rules.get(held.rule)
        if rule is None or not fits(rule, held.state):
            return len(self._run_out(tx, held, now=now))
        return len(self._settle(tx, rule, held, _Room(tx), why=_BY_TIME, now=now))

    def _settle(self, tx: Transaction, rule: Rule, held: Held, room: _Room, *, why: str, now: int) -> list[str]:
        """Have exactly those overlays that follow from where a rule stands, and keep where it stands."""
        known = {one.id: one for one in held.declared}
        wanted: dict[str, Declared] = {}
        changed: list[str] = []
        waiting = False
        leaving = 0 if closes(rule, held.state, now=now) else FOR_CLOSING
        leaving = FOR_CLOSING + FOR_REAL if held.exercise else leaving
        for number, effect in enumerate(effects(rule, held.state, now=now), 1):
            id_ = f"{held.id}/{number}"
            old = known.get(id_)
            if old is not None and old.effect == effect and old.since <= now < _renewed_at(rule, old):
                wanted[id_] = old
            elif old is None and not room.take(id_, leaving=leaving):
                waiting = True
            else:
                # A renewal begins when the first one did, or it would not hold yet where a clock is behind ours.
                since = now if old is None else min(old.since or now, now)
                wanted[id_] = Declared(id_, effect, now + rule.ttl, since)
                self._declare(tx, rule, held, wanted[id_], why=why, now=now)
                changed.append(id_)
        changed += self._take_back(tx, [id_ for id_ in known if id_ not in wanted], why=why, now=now)
        ends = [changes_at(rule, held.state, now=now), *(_renewed_at(rule, one) for one in wanted.values())]
        due = min((end for end in (*ends, now + AGAIN if waiting else None) if end is not None), default=None)
        if due is None and held.version:
            tx.signals.remove(held.id)
        elif due is None:
            pass  # nothing came of it, and nothing is known of it
        else:
            declared = tuple(wanted.values())
            tx.signals.put(msgspec.structs.replace(held, version=held.version + 1, declared=declared, due=due))
        return changed

    def _run_out(self, tx: Transaction, held: Held, *, now: int) -> list[str]:
        """Let the overlays of a rule that is no more end by themselves, and forget them then."""
        ended = [one.id for one in held.declared if one.not_after <= now]
        left = tuple(one for one in held.declared if one.not_after > now)
        if left:
            due = min(one.not_after for one in left)
            tx.signals.put(msgspec.structs.replace(held, version=held.version + 1, declared=left, due=due))
        else:
            tx.signals.remove(held.id)
        return self._take_back(tx, ended, why=f"{_BY_TIME}: there is no rule `{held.rule}`", now=now)

    def _declare(self, tx: Transaction, rule: Rule, held: Held, one: Declared, *, why: str, now: int) -> None:
        record = {
            "id": one.id,
            "effect": one.effect,
            "scope": held.principal,
            "not_before": one.since,
            "not_after": one.not_after,
            "cause": rule.id,
            "severity": rule.severity,
            "exercise": held.exercise,
        }
        self._declarations.put(tx, "overlay", one.id, record, actor=OWNER, reason=why, now=now)

    def _take_back(self, tx: Transaction, ids: Sequence[str], *, why: str, now: int) -> list[str]:
        there = tx.situation.all("overlay") if ids else {}
        gone = [id_ for id_ in ids if id_ in there]
        for id_ in gone:
            self._declarations.remove(tx, "overlay", id_, actor=OWNER, reason=why, now=now)
        return gone


def _heard(id_: str, rule: Rule, before: Held | None, signals: Sequence[Signal], *, now: int) -> Held:
    state = before.state if before is not None and fits(rule, before.state) else begin(rule)
    for signal in signals:
        state = take(rule, state, signal, now=now)
    if before is not None:
        return msgspec.structs.replace(before, state=state)
    first = signals[0]
    return Held(
        id=id_, version=0, rule=rule.id, principal=first.principal, exercise=first.exercise, state=state, due=now
    )


def _why(signals: Sequence[Signal]) -> str:
    last = max(signals, key=lambda signal: (signal.at, signal.id))
    said = last.level if last.level is not None else last.value
    return f"{last.kind} {said}: signal {last.id}"


def _renewed_at(rule: Rule, one: Declared) -> int:
    return one.not_after - rule.ttl // 2
