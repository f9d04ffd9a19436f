"""The laws L1-L6 of the label algebra, for any labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zt_engine.core.classification import (
    NOBODY,
    UNKNOWN,
    Declassify,
    Holder,
    Label,
    Level,
    Scheme,
    delegated,
    dominates,
    effective_label,
    join,
    join_all,
    overdue,
)

Value = TypeVar("Value")
RANKS = {"C0": 0, "C1": 100, "C2": 200, "C3-S": 300, "C3-TS": 400, "CX": 900}
SCHEME = Scheme(
    id="jp-gov",
    levels={code: Level(code=code, rank=rank, ja=code, en=code) for code, rank in RANKS.items()},
    caveats=frozenset({"no_copy", "no_forward"}),
    maps={"corp.confidential": "C2"},
)
C0 = SCHEME.label("C0")


def _subsets(*names: str) -> list[tuple[str, ...]]:
    return [found for size in range(len(names) + 1) for found in combinations(sorted(names), size)]


# Each of these is one draw: a set that is drawn name by name takes a dozen.
def _some(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(_subsets(*names))


def _recipients(*names: str) -> st.SearchStrategy[tuple[str, ...] | None]:
    return _or_none([found for found in _subsets(*names) if found])


def _or_none(values: Sequence[Value]) -> st.SearchStrategy[Value | None]:
    """Half of the time none."""
    return st.sampled_from([*values, *(None for _ in values)])


FALLS = {
    code: _or_none(
        [Declassify(at=at, code=to, rank=RANKS[to]) for to in RANKS if RANKS[to] < RANKS[code] for at in range(1, 10)]
    )
    for code in RANKS
    if RANKS[code]
}


CODES = st.sampled_from(sorted(RANKS))
STEPS = st.integers(1, 2)
CAVEATS = _some("no_copy", "no_forward")
COMPARTMENTS = _some("case:1", "case:2")
PURPOSES = _some("audit", "investigation")
REL_TO = _recipients("JPN", "USA", "mofa")
AUDIENCES = _recipients("org:mofa", "group:na1", "subject:tanaka")
DATES = _or_none(range(1, 10))


@st.composite
def labels(draw: st.DrawFn) -> Label:
    code = draw(CODES)
    return Label(
        scheme="jp-gov",
        code=code,
        rank=RANKS[code],
        integrity=draw(STEPS),
        availability=draw(STEPS),
        caveats=draw(CAVEATS),
        compartments=draw(COMPARTMENTS),
        purpose=draw(PURPOSES),
        rel_to=draw(REL_TO),
        audience=draw(AUDIENCES),
        declassify=draw(FALLS[code]) if code in FALLS else None,
        review_at=draw(DATES),
        max_until=draw(DATES),
    )


def _subset(*names: str) -> st.SearchStrategy[frozenset[str]]:
    return st.sampled_from([frozenset(found) for found in _subsets(*names)])


holders = st.builds(
    Holder,
    ceiling=st.sampled_from([0, 50, 100, 200, 250, 300, 900, 10**9]),
    id=st.sampled_from(["", "tanaka", "suzuki", NOBODY]),
    compartments=_subset("case:1", "case:2"),
    org=st.sampled_from(["", "mofa", NOBODY]),
    nationality=st.sampled_from(["", "JPN", "USA", NOBODY]),
    groups=_subset("na1", "", NOBODY),
    purposes=_subset("audit", "investigation"),
)
times = st.integers(0, 10)


@given(labels(), labels(), labels())
def test_l1_joining_needs_no_order_and_no_brackets(a: Label, b: Label, c: Label) -> None:
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))


@given(labels())
def test_l1_joining_with_itself_or_with_the_bottom_changes_nothing(a: Label) -> None:
    assert join(a, a) == a
    assert join(a, C0) == a


@given(st.lists(labels(), min_size=1, max_size=4), labels(), holders)
def test_l2_whoever_may_read_a_whole_may_read_it_without_one_part(
    parts: list[Label], more: Label, holder: Holder
) -> None:
    without = join_all(parts[0], parts[1:])
    whole = join(without, more)

    assert not dominates(holder, whole) or dominates(holder, without)


@given(labels(), labels(), holders, times)
def test_l2_holds_at_every_instant(a: Label, b: Label, holder: Holder, now: int) -> None:
    whole = effective_label(join(a, b), tick_start=now, clock_synchronised=True)
    part = effective_label(a, tick_start=now, clock_synchronised=True)

    assert not dominates(holder, whole) or dominates(holder, part)


@given(labels(), holders)
def test_l3_every_clause_is_needed(label: Label, holder: Holder) -> None:
    expected = (
        holder.ceiling >= label.rank
        and set(label.compartments) <= holder.compartments
        and set(label.purpose) <= holder.purposes
        and (label.rel_to is None or bool({holder.org, holder.nationality} & set(label.rel_to)))
        and (
            label.audience is None
            or bool(
                {f"org:{holder.org}", f"subject:{holder.id}", *map("group:{}".format, holder.groups)}
                & set(label.audience)
            )
        )
    )

    assert dominates(holder, label) == expected


@given(labels(), labels(), holders)
def test_an_empty_intersection_of_recipients_is_nobody_and_not_everybody(a: Label, b: Label, holder: Holder) -> None:
    whole = join(replace(a, rel_to=("JPN",)), replace(b, rel_to=("USA",)))

    assert whole.rel_to == (NOBODY,)
    assert not dominates(holder, whole)


@given(holders, holders, labels())
def test_l4_a_delegate_can_do_no_more_than_the_user_and_no_more_than_itself(
    user: Holder, bot: Holder, label: Label
) -> None:
    together = delegated(user, bot)

    if dominates(together, label):
        assert dominates(user, label)
        assert bot.ceiling >= label.rank
        assert set(label.compartments) <= bot.compartments


@given(labels(), times)
def test_l5_the_rank_falls_at_the_declassification_and_nothing_else_changes(label: Label, now: int) -> None:
    later = effective_label(label, tick_start=now, clock_synchronised=True)

    if label.declassify is not None and now >= label.declassify.at:
        assert (later.code, later.rank) == (label.declassify.code, label.declassify.rank)
        assert replace(later, code=label.code, rank=label.rank, declassify=label.declassify) == label
    else:
        assert later == label


@given(labels(), times)
def test_l5_a_clock_that_is_not_synchronised_declassifies_nothing(label: Label, now: int) -> None:
    assert effective_label(label, tick_start=now, clock_synchronised=False) == label


@given(labels(), times)
def test_l6_an_overdue_review_raises_a_task_and_lowers_nothing(label: Label, now: int) -> None:
    dated = replace(label, declassify=None, review_at=1, max_until=2)
    codes = overdue(dated, now=now)

    assert codes == (("LABEL_REVIEW_OVERDUE",) if now >= 1 else ()) + (("LABEL_TERM_PASSED",) if now >= 2 else ())
    assert effective_label(dated, tick_start=now, clock_synchronised=True) == dated


@given(labels(), labels())
def test_joining_keeps_the_earliest_dates(a: Label, b: Label) -> None:
    dates = [date for date in (a.review_at, b.review_at) if date is not None]

    assert join(a, b).review_at == min(dates, default=None)


@given(labels(), labels())
def test_the_declassification_of_a_whole_is_the_latest_of_its_parts(a: Label, b: Label) -> None:
    falls = [label.declassify.at for label in (a, b) if label.declassify is not None]
    whole = join(a, b).declassify

    assert (whole.at if whole is not None else None) == max(falls, default=None)


@given(labels(), holders)
def test_labels_of_two_schemes_cannot_be_compared(label: Label, holder: Holder) -> None:
    foreign = replace(label, scheme="corp")

    assert join(label, foreign) == UNKNOWN
    assert join(UNKNOWN, label) == UNKNOWN
    assert not dominates(holder, UNKNOWN)


def test_a_foreign_label_means_what_the_map_says_and_otherwise_nothing() -> None:
    assert SCHEME.label("confidential", scheme="corp") == SCHEME.label("C2")
    assert SCHEME.label("restricted", scheme="corp") == UNKNOWN
    assert SCHEME.label("C2", scheme="corp") == UNKNOWN
    assert SCHEME.label("c2") == UNKNOWN


def test_a_level_between_two_others_is_only_another_rank() -> None:
    between = Label(scheme="jp-gov", code="C2-R", rank=250)

    assert join(between, SCHEME.label("C2")).code == "C2-R"
    assert join(between, SCHEME.label("C3-S")).code == "C3-S"
