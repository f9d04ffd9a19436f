"""Whoever acts for somebody holds what both hold, and never more (P14)."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.identity_support import BOT, ISSUER, record, refusal, token
from zt_engine.core.identity import (
    Actor,
    Subject,
    SubjectRecord,
    delegated,
    establish,
)
from zt_engine.core.issuer import (
    IssuerMapping,
)


def test_a_bot_that_acts_for_a_user_holds_what_both_hold() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))

    subject = establish(acting, record(groups=("staff", "chiefs")), IssuerMapping(), actor=BOT)

    assert (subject.type, subject.id) == ("user", "tanaka")
    assert (subject.groups, subject.roles, subject.compartments, subject.clearance) == (("staff",), (), (), 100)
    assert subject.delegate is not None
    assert (subject.delegate.type, subject.delegate.id, subject.delegate.clearance) == ("workload", "bot", 100)


def test_a_delegate_without_a_record_is_refused() -> None:
    assert refusal(token(actor=Actor(ISSUER, "bot")), record(), IssuerMapping()) == "DELEGATE_UNKNOWN"


def test_a_delegate_that_is_not_active_is_refused() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))
    suspended = msgspec.structs.replace(BOT, status="suspended")

    assert refusal(acting, record(), IssuerMapping(), actor=suspended) == "DELEGATE_INACTIVE"


@pytest.mark.parametrize("actor", [Actor(ISSUER, "other"), Actor("https://other.example", "bot")])
def test_the_delegates_record_is_the_delegates(actor: Actor) -> None:
    assert refusal(token(actor=actor), record(), IssuerMapping(), actor=BOT) == "SUBJECT_MISMATCH"


def test_a_user_who_is_not_active_cannot_be_acted_for() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))

    assert refusal(acting, record(status="suspended"), IssuerMapping(), actor=BOT) == "SUBJECT_INACTIVE"


_texts = st.frozensets(st.sampled_from(["a", "b", "c", "d"])).map(lambda texts: tuple(sorted(texts)))
_scalar = st.sampled_from(["", "JP", "US"])
_records = st.builds(
    SubjectRecord,
    id=st.just("tanaka"),
    issuer=st.just(ISSUER),
    version=st.just(1),
    status=st.just("active"),
    type=st.sampled_from(["user", "workload"]),
    groups=_texts,
    roles=_texts,
    compartments=_texts,
    clearance=st.integers(0, 1000),
    org=_scalar,
    nationality=_scalar,
    employment=_scalar,
    valid_until=st.none() | st.integers(0, 10),
)


def exceeds(subject: Subject, principal: SubjectRecord) -> bool:
    """Whether the subject holds anything the principal does not."""
    return (
        subject.clearance > principal.clearance
        or any(not set(getattr(subject, n)) <= set(getattr(principal, n)) for n in ("groups", "roles", "compartments"))
        or any(getattr(subject, n) not in ("", getattr(principal, n)) for n in ("org", "nationality", "employment"))
        or ending(subject.valid_until) > ending(principal.valid_until)
    )


def ending(valid_until: int | None) -> float:
    return math.inf if valid_until is None else valid_until


@given(_records, _records)
def test_p14_a_delegated_principal_never_exceeds_either(user: SubjectRecord, actor: SubjectRecord) -> None:
    subject = establish(token(actor=Actor(ISSUER, "tanaka")), user, IssuerMapping(), actor=actor)

    assert not exceeds(subject, user)
    assert not exceeds(subject, actor)


@given(_records, _records)
def test_delegating_twice_to_the_same_actor_changes_nothing(user: SubjectRecord, actor: SubjectRecord) -> None:
    once = establish(token(actor=Actor(ISSUER, "tanaka")), user, IssuerMapping(), actor=actor)

    assert delegated(once, actor) == once
