"""What signals do by themselves: the rules, and where each of them stands for one principal.

A *switch* watches a number or level: after `samples` signals at `enter` or above within `WINDOW` its effects are in
force, for `dwell` at least, and until nothing above `exit` was heard for `hold`. Silence is calm, since sources tell
what happens and not what does not. A *risk* watches a level that a source judged: low and medium cost points that fade,
high costs the most and closes the gate, and does not fade: it is cleared.

INVARIANT (S1): what is in force stays so for `dwell + hold`, 45 minutes or more, whatever is said meanwhile.
INVARIANT (S4, S5): where a rule stands is a join of what was heard (the newest of each level, the set of samples), so
neither the order of signals within a window nor hearing one twice changes what is in force.
Times are epoch seconds; `now` is the control plane's clock, `at` the source's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from zt_engine.core.errors import InputError

ScopeKind = Literal["tenant", "subject", "device", "service"]
Level = Literal["cleared", "low", "medium", "high"]

LEVELS: Final[tuple[Level, ...]] = ("cleared", "low", "medium", "high")
"""In the order of their ranks, 0 to 3."""
WINDOW: Final = 600
"""How late a sample may come, and how far apart those are that count together. INVARIANT: shorter than any `dwell`."""
AHEAD: Final = 60
"""How far a source's clock may be ahead of ours."""
ACCEPTED: Final = 7 * 86_400
"""How old a risk may be when it is heard: a source that was cut off tells what still is, and not only what is new."""
MIN_DWELL: Final = 900
MIN_HOLD: Final = 1_800
PENALTIES: Final = (5, 20, 60)
"""What low, medium and high add to the score a label asks for."""
FULL: Final = 3_600
HALF_LIFE: Final = 43_200
HIGH: Final = 2
CLOSING: Final = ("deny", "ceiling")
"""The kinds of effects that keep somebody out, whatever they prove."""


class Signal(Struct, frozen=True, kw_only=True):
    """Something a source noticed: `level` or `value`. `id` is unique for its source, whose name it begins with."""

    id: str
    kind: str
    at: int
    principal: str
    """`tenant`, or a term of a scope: `subject:ID`, `device:ID`, `service:ID`."""
    level: Level | None = None
    value: int | None = None
    exercise: bool = False


class Switch(Struct, frozen=True, kw_only=True):
    """A rule that is in force or not. `enter` and `exit` are ranks of levels where `levels` says so."""

    id: str
    signal: str
    scope: ScopeKind
    enter: int
    exit: int
    effects: tuple[str, ...]
    levels: bool = False
    samples: int = 1
    dwell: int = MIN_DWELL
    hold: int = MIN_HOLD
    ttl: int = 3_600
    severity: str = ""


class Risk(Struct, frozen=True, kw_only=True):
    """A rule whose penalty fades, except for high, which has its `gate` besides."""

    id: str
    signal: str
    scope: ScopeKind
    gate: tuple[str, ...]
    dwell: int = MIN_DWELL
    hold: int = MIN_HOLD
    ttl: int = 86_400
    severity: str = ""


Rule = Switch | Risk
"""`ttl` is how long an overlay of it lasts unless the control plane renews it."""


class SwitchState(Struct, frozen=True, kw_only=True, tag="switch"):
    """Idle without `until`, firing while `hot` has samples, active and cooling until `until`."""

    hot: tuple[tuple[int, str], ...] = ()
    """When and by which signals it was hot, while these are too few."""
    since: int = 0
    until: int = 0
    let_go: int = 0
    """What was noticed until then is settled: a person has let go of it."""


class Mark(Struct, frozen=True):
    """When a level was noticed last, and when that was heard."""

    seen: int = 0
    heard: int = 0


class RiskState(Struct, frozen=True, kw_only=True, tag="risk"):
    """The newest of each level: low, medium, high, and that it was cleared."""

    marks: tuple[Mark, Mark, Mark] = (Mark(), Mark(), Mark())
    cleared: int = 0
    let_go: int = 0


State = SwitchState | RiskState


class Declared(Struct, frozen=True):
    """An overlay that was declared for a rule."""

    id: str
    effect: str
    not_after: int
    since: int = 0


class Held(Struct, frozen=True, kw_only=True):
    """Where one rule stands for one principal, and which overlays say so. `id` begins the ids of these."""

    id: str
    version: int
    rule: str
    principal: str
    exercise: bool
    state: State
    declared: tuple[Declared, ...] = ()
    due: int = 0
    """When it has to be looked at again, whatever is heard."""


class Rules:
    """The rules of a control plane, by the signals they are about."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._by_id = {rule.id: rule for rule in rules}

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, rule_id: str) -> Rule | None:
        """Return a rule."""
        return self._by_id.get(rule_id)

    def of(self, signal: Signal) -> tuple[Rule, ...]:
        """Return the rules about a signal and its kind of principal."""
        kind = signal.principal.partition(":")[0]
        return tuple(rule for rule in self._by_id.values() if rule.signal == signal.kind and rule.scope == kind)


def begin(rule: Rule) -> State:
    """Return where a rule stands before anything was heard."""
    return SwitchState() if isinstance(rule, Switch) else RiskState()


def fits(rule: Rule, state: State) -> bool:
    """Whether this is a state of such a rule: the rules may be others by now."""
    return isinstance(rule, Switch) == isinstance(state, SwitchState)


def check(rule: Rule, signal: Signal, *, now: int) -> None:
    """Refuse what a rule cannot take: InputError SIGNAL_TIME, SIGNAL_SHAPE."""
    oldest = now - (WINDOW if isinstance(rule, Switch) else ACCEPTED)
    if not oldest <= signal.at <= now + AHEAD:
        away = f"{now - signal.at} seconds old" if signal.at <= now else f"{signal.at - now} seconds ahead"
        text = f"it is {away} at {now} here; `{rule.id}` takes {now - oldest} seconds at most, {AHEAD} ahead"
        raise InputError("SIGNAL_TIME", text)
    if (signal.level is None) == (isinstance(rule, Risk) or rule.levels):
        raise InputError("SIGNAL_SHAPE", f"`{rule.id}` is about a {'level' if signal.level is None else 'value'}")


def take(rule: Rule, state: State, signal: Signal, *, now: int) -> State:
    """Return where a rule stands after a signal that `check` let pass."""
    if state.let_go > now + AHEAD:
        state = begin(rule)  # our clock was ahead when a person let go: nothing was noticed then
    if signal.at <= state.let_go:
        return state
    if isinstance(rule, Switch):
        assert isinstance(state, SwitchState)
        return _sample(rule, aged(rule, state, now=now), signal, now=now)
    assert isinstance(state, RiskState)
    return _level(state, signal, now=now)


def aged(rule: Switch, state: SwitchState, *, now: int) -> SwitchState:
    """Return where a switch stands when nothing was heard but time has passed."""
    hot = tuple(sample for sample in state.hot if sample[0] >= now - WINDOW)
    over = state.until != 0 and now >= state.until
    return replace(state, hot=hot, since=0 if over else state.since, until=0 if over else state.until)


def effects(rule: Rule, state: State, *, now: int) -> tuple[str, ...]:
    """Return the effects that are in force."""
    if isinstance(rule, Switch):
        assert isinstance(state, SwitchState)
        return rule.effects if now < state.until else ()
    assert isinstance(state, RiskState)
    points = [_points(rule, state, rank, now=now) for rank in range(len(PENALTIES))]
    most = max(points)
    gate = rule.gate if points[HIGH] else ()
    return (f"threshold:+{most}", *gate) if most else ()


def closes(rule: Rule, state: State, *, now: int) -> bool:
    """Whether what is in force keeps somebody out: a high risk, or a switch that denies or lowers a ceiling."""
    if isinstance(rule, Switch):
        return any(effect.partition(":")[0] in CLOSING for effect in effects(rule, state, now=now))
    assert isinstance(state, RiskState)
    return _points(rule, state, HIGH, now=now) > 0


def cleared_at(rule: Rule, state: State, *, now: int) -> int | None:
    """Return when the last of a risk ends because all of it was cleared; None while something holds or nothing does."""
    if isinstance(rule, Switch) or not isinstance(state, RiskState):
        return None
    live = [mark for rank, mark in enumerate(state.marks) if _points(rule, state, rank, now=now)]
    if not live or any(mark.seen >= state.cleared for mark in live):
        return None
    return max(mark.heard for mark in live) + rule.dwell + rule.hold


def let_go(state: State, *, now: int) -> State:
    """Return where a rule stands after a person has let go of it: what was noticed until now is settled."""
    if isinstance(state, SwitchState):
        return SwitchState(let_go=now)
    newest = max(now, *(mark.seen for mark in state.marks))
    marks = tuple(replace(mark, heard=0) for mark in state.marks)
    return RiskState(marks=(marks[0], marks[1], marks[2]), cleared=newest + 1, let_go=newest)


def changes_at(rule: Rule, state: State, *, now: int) -> int | None:
    """Return when something ends or fades by itself; None: nothing more does, and it can be forgotten."""
    if isinstance(rule, Switch):
        assert isinstance(state, SwitchState)
        ends = [state.until, *(at + WINDOW + 1 for at, _ in state.hot), state.let_go + WINDOW + 1]
        return min((end for end in ends if end > now), default=None)
    assert isinstance(state, RiskState)
    known = [mark.seen for mark in state.marks]
    ends = [max(*known, state.cleared, state.let_go) + ACCEPTED + 1]
    for rank, mark in enumerate(state.marks):
        if _points(rule, state, rank, now=now):
            ends += [mark.heard + rule.dwell + rule.hold] if mark.seen < state.cleared else []
            ends += [] if rank == HIGH else [mark.seen + FULL + HALF_LIFE * (_halvings(now - mark.seen) + 1)]
            ends += [now + ACCEPTED] if rank == HIGH else []
    return min((end for end in ends if end > now), default=None)


def penalty(full: int, age: int) -> int:
    """Return what is left of a penalty: all of it for an hour, half of it 12 hours later, in steps, down to nothing.

    The steps are never below the curve they stand for, and what is less than a point is nothing.
    """
    halved = 2 ** min(_halvings(age), 16)
    return -(-full // halved) if full >= halved else 0


def _halvings(age: int) -> int:
    return max(0, age - FULL) // HALF_LIFE


def _sample(rule: Switch, state: SwitchState, signal: Signal, *, now: int) -> SwitchState:
    number = _number(signal)
    if state.until:
        until = max(state.until, signal.at + rule.hold) if number > rule.exit else state.until
        return replace(state, until=until)
    if number < rule.enter:
        return state
    hot = tuple(sorted({*state.hot, (signal.at, signal.id)}))
    if len(hot) < rule.samples:
        return replace(state, hot=hot)
    # Every sample so far is earlier than `now + dwell`: it is `dwell` that counts, and not which of them came last.
    return replace(state, hot=(), since=now, until=now + rule.dwell + rule.hold)


def _level(state: RiskState, signal: Signal, *, now: int) -> RiskState:
    rank = _number(signal) - 1
    if rank < 0:
        return replace(state, cleared=max(state.cleared, signal.at))
    if signal.at <= state.marks[rank].seen:
        return state
    marks = list(state.marks)
    marks[rank] = Mark(signal.at, now)
    return replace(state, marks=(marks[0], marks[1], marks[2]))


def _points(rule: Risk, state: RiskState, rank: int, *, now: int) -> int:
    """What a level costs now; one that was cleared costs until `dwell + hold` after it was heard last."""
    mark = state.marks[rank]
    if not mark.seen or (mark.seen < state.cleared and now >= mark.heard + rule.dwell + rule.hold):
        return 0
    return PENALTIES[rank] if rank == HIGH else penalty(PENALTIES[rank], now - mark.seen)


def _number(signal: Signal) -> int:
    return LEVELS.index(signal.level) if signal.level is not None else signal.value or 0
