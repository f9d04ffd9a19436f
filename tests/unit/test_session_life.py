"""Whatever happens to a session, in whatever order: it never lives longer than it may, and what ended stays ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.control_support import NOW
from tests.session_support import FakeProvider, Office, sessions
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.ports.sessions import Tokens

WHOLE, RENEWED = 8 * 3600, 900
Mood = Literal["well", "away", "lost", "killed", "ended"]
"""How the provider answers: as it should; not at all; used the token and the line broke, or we were; it is over."""
STEPS = st.lists(
    st.tuples(
        st.integers(1, 700), st.sampled_from(["refresh"] * 8 + ["end"]), st.sampled_from(["well"] * 6 + [
            "away", "lost", "killed", "ended",
        ]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


class Killed(BaseException):
    """The process ends where it stands."""


class Strict(FakeProvider):
    """Turns its tokens over, and ends everything when one comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Mood = "well"
        self.good = self.refresh_token
        self.over = False
        self.lost = 0
        self.thefts = 0

    def refresh(self, refresh_token: str) -> Tokens:
        self.refreshed += 1
        if self.mood == "away":
            raise UnavailableError("SIGN_IN_PROVIDER", "away")
        if refresh_token != self.good:
            self.thefts += not self.over
            self.over = True
        self.over = self.over or self.mood == "ended"
        if self.over:
            raise InputError("SIGN_IN_ENDED", "over")
        self.good = f"t{self.refreshed}"
        if self.mood in ("lost", "killed"):
            self.lost += 1
            raise UnavailableError("SIGN_IN_PROVIDER", "the line broke") if self.mood == "lost" else Killed
        return Tokens(id_token=b"", refresh_token=self.good)


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    made = Office()
    with made.control:
        yield made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_order_of_events_prolongs_a_session_beyond_its_time_or_brings_one_back(
    office: Office, steps: list[tuple[int, str, Mood]]
) -> None:
    provider = office.provider = Strict()
    office.sessions = sessions(office)
    sid, now, over, until = office.signed_in().sid, NOW, False, NOW + RENEWED
    for seconds, what, mood in steps:
        now, provider.mood = now + seconds, mood
        if what == "end":
            office.sessions.end(sid, reason="signed out", actor="tanaka", now=now)
            over = True
            continue
        asked = provider.refreshed
        try:
            record = office.sessions.refresh(sid, now=now)
        except Killed:
            continue
        if record is None:
            assert over or now >= until or provider.over
            over = True
        else:
            assert not over
            assert now < record.until <= min(NOW + WHOLE, now + RENEWED)
            assert record.until >= until
            assert record.until == until or provider.refreshed == asked + 1
            until = record.until
    assert provider.thefts <= provider.lost


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moods=st.lists(st.sampled_from(["well", "well", "away"]), min_size=20, max_size=20))
def test_whoever_works_on_is_logged_out_by_no_provider_that_is_away_for_a_while(
    office: Office, moods: list[Mood]
) -> None:
    provider = office.provider = Strict()
    office.sessions = sessions(office)
    sid = office.signed_in().sid
    silent = 0
    for number, mood in enumerate(moods):
        silent = silent + 1 if mood == "away" else 0
        provider.mood = mood if silent < 3 else "well"
        assert office.sessions.refresh(sid, now=NOW + 120 * (number + 1)) is not None
    assert provider.thefts == 0
