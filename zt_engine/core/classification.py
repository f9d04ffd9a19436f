"""What a piece of data may never lose: labels, and the algebra by which they meet.

A label is not one number. It is a rank (confidentiality), integrity and availability, and sets: handling caveats,
compartments (need-to-know), purposes, the orgs or nationalities it may go to. `join` is used whenever objects meet in
one answer, and makes the result at least as strict as each part (L1, L2). Ranks mean something only inside one
scheme: labels of two schemes join to `UNKNOWN`, and nobody dominates that.

Laws L1-L6, tested as properties in `tests/unit/test_classification.py`:
L1 join is commutative, associative, idempotent, and the scheme's bottom label changes nothing;
L2 whoever may read a whole may read each part; L3 `dominates`; L4 a delegated principal has the smaller rights;
L5 a label falls only at its declassification, only by a synchronised clock; L6 an overdue review lowers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

RANK_C2 = 200
"""The highest rank that a grant may raise to and that onboarding may observe."""

RANK_UNKNOWN = 1_000_000

NOBODY = "!nobody"
"""What an empty intersection of recipients is written as, so that an empty list can only mean *no restriction*."""


class Declassify(Struct, frozen=True, kw_only=True):
    """From the instant `at` (epoch seconds) the label has the code and rank given here, and not before."""

    at: int
    code: str
    rank: int


class Label(Struct, frozen=True, kw_only=True):
    """One label of one scheme; every tuple is sorted and without repetition.

    `rel_to` and `audience` are `None` when nothing is restricted; `audience` names `org:ID`, `group:ID`, `subject:ID`.
    `compartments` and `purpose` must *all* be held or declared. `review_at` and `max_until` raise tasks only (L6).
    """

    scheme: str
    code: str
    rank: int
    integrity: int = 1
    availability: int = 1
    caveats: tuple[str, ...] = ()
    compartments: tuple[str, ...] = ()
    purpose: tuple[str, ...] = ()
    rel_to: tuple[str, ...] | None = None
    audience: tuple[str, ...] | None = None
    declassify: Declassify | None = None
    review_at: int | None = None
    max_until: int | None = None


UNKNOWN = Label(scheme="", code="UNKNOWN", rank=RANK_UNKNOWN, rel_to=(NOBODY,), audience=(NOBODY,))
"""The label of what nobody labelled, or labelled in words we have no map for: dominated by no one."""


class Level(Struct, frozen=True, kw_only=True):
    """One step of a scheme's order, with the names people know it by."""

    code: str
    rank: int
    ja: str
    en: str


class Scheme(Struct, frozen=True, kw_only=True):
    """A closed vocabulary of levels and caveats; ranks are unique within it.

    `maps` says which level a foreign label (`corp.confidential`) has here; what is not in it stays unknown.
    """

    id: str
    levels: Mapping[str, Level]
    caveats: frozenset[str]
    maps: Mapping[str, str]

    def ranks(self) -> dict[str, int]:
        return {code: level.rank for code, level in self.levels.items()}

    def label(self, code: str, *, scheme: str | None = None) -> Label:
        """Give the plain label for a code of this scheme, or of another one that has a map; otherwise `UNKNOWN`."""
        ours = code if scheme is None or scheme == self.id else self.maps.get(f"{scheme}.{code}")
        level = self.levels.get(ours) if ours is not None else None
        if level is None:
            return UNKNOWN
        return Label(scheme=self.id, code=level.code, rank=level.rank)


class Holder(Struct, frozen=True, kw_only=True):
    """What a subject brings to a label: the least it needs to be compared with one."""

    ceiling: int
    id: str = ""
    compartments: frozenset[str] = frozenset()
    org: str = ""
    nationality: str = ""
    groups: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()


def join(a: Label, b: Label) -> Label:
    """Give the least label that is as strict as both; labels of two schemes cannot be compared and give `UNKNOWN`."""
    if a.scheme != b.scheme or RANK_UNKNOWN in (a.rank, b.rank):
        return UNKNOWN
    top = a if a.rank >= b.rank else b
    return Label(
        scheme=a.scheme,
        code=top.code,
        rank=top.rank,
        integrity=max(a.integrity, b.integrity),
        availability=max(a.availability, b.availability),
        caveats=_union(a.caveats, b.caveats),
        compartments=_union(a.compartments, b.compartments),
        purpose=_union(a.purpose, b.purpose),
        rel_to=_intersection(a.rel_to, b.rel_to),
        audience=_intersection(a.audience, b.audience),
        declassify=_join_declassify(a, b),
        review_at=_earliest(a.review_at, b.review_at),
        max_until=_earliest(a.max_until, b.max_until),
    )


def join_all(first: Label, rest: Iterable[Label]) -> Label:
    """Join one label with any number of others, in any order."""
    for label in rest:
        first = join(first, label)
    return first


def effective_label(label: Label, *, tick_start: int, clock_synchronised: bool) -> Label:
    """Give the label in force during a whole tick: declassified only if its time had come when the tick began (L5).

    Only the rank falls. An unsynchronised clock reaches no declassification.
    """
    change = label.declassify
    if change is None or not clock_synchronised or tick_start < change.at:
        return label
    return Label(
        scheme=label.scheme,
        code=change.code,
        rank=change.rank,
        integrity=label.integrity,
        availability=label.availability,
        caveats=label.caveats,
        compartments=label.compartments,
        purpose=label.purpose,
        rel_to=label.rel_to,
        audience=label.audience,
        review_at=label.review_at,
        max_until=label.max_until,
    )


def dominates(holder: Holder, label: Label) -> bool:
    """Say whether a holder may read what has this label (L3): every clause must hold, and `UNKNOWN` never does."""
    return (
        label.rank != RANK_UNKNOWN
        and holder.ceiling >= label.rank
        and holder.compartments.issuperset(label.compartments)
        and holder.purposes.issuperset(label.purpose)
        and _released_to(holder, label.rel_to)
        and _in_audience(holder, label.audience)
    )


def delegated(user: Holder, delegate: Holder) -> Holder:
    """Give the rights of a delegate acting for a user (L4): the smaller ceiling, the compartments both hold.

    Id, org, nationality, groups and declared purposes stay the user's: a delegate adds nothing to them.
    """
    return Holder(
        ceiling=min(user.ceiling, delegate.ceiling),
        id=user.id,
        compartments=user.compartments & delegate.compartments,
        org=user.org,
        nationality=user.nationality,
        groups=user.groups,
        purposes=user.purposes,
    )


def overdue(label: Label, *, now: float) -> tuple[str, ...]:
    """Name the tasks that a label's dates raise; none of them changes the label (L6)."""
    codes = []
    if label.review_at is not None and now >= label.review_at:
        codes.append("LABEL_REVIEW_OVERDUE")
    if label.max_until is not None and now >= label.max_until:
        codes.append("LABEL_TERM_PASSED")
    return tuple(codes)


def _union(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    if not b or a == b:
        return a
    return tuple(sorted({*a, *b})) if a else b


def _intersection(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if a is None or a == b:
        return b
    if b is None:
        return a
    return tuple(sorted((set(a) & set(b)) - {NOBODY})) or (NOBODY,)


def _earliest(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)


def _join_declassify(a: Label, b: Label) -> Declassify | None:
    """Take the later instant and the higher rank afterwards; a label that never falls keeps its own rank.

    Componentwise maxima of (at, rank afterwards) keep L1 exact, and are never looser than the two labels one by one.
    """
    x, y = a.declassify, b.declassify
    if x is None and y is None:
        return None
    after_a = (a.rank, a.code) if x is None else (x.rank, x.code)
    after_b = (b.rank, b.code) if y is None else (y.rank, y.code)
    rank, code = max(after_a, after_b)
    return Declassify(at=max(x.at if x else 0, y.at if y else 0), code=code, rank=rank)


def _released_to(holder: Holder, rel_to: tuple[str, ...] | None) -> bool:
    if rel_to is None:
        return True
    return any(name in rel_to for name in (holder.nationality, holder.org) if name and name != NOBODY)


def _in_audience(holder: Holder, audience: tuple[str, ...] | None) -> bool:
    if audience is None:
        return True
    names = [f"group:{group}" for group in holder.groups if group]
    names += [f"{kind}:{name}" for kind, name in (("org", holder.org), ("subject", holder.id)) if name]
    return any(name in audience for name in names)
