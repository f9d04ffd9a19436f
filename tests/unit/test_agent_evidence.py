"""A difference is worth what a full report is worth, and no report says more than was seen, or newer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.evidence import FRESH, OLDEST, after, difference, everything, merged, telling
from device_inventory.agent.state import Told
from tests.fakes.agent_machine import told

NOW = 1_790_000_000
NAMES = ("disk.encrypted", "os.id", "patch.pending_security", "vuln.kev_open")
VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from(["a", "b"]), st.just(["x"]))
FACTS = st.dictionaries(st.sampled_from(NAMES), st.builds(told, VALUES, st.integers(NOW - 2 * FRESH, NOW)))


def server(held: dict[str, Told], facts: dict[str, Told], confirmed: tuple[str, ...], now: int) -> dict[str, Told]:
    """What a server makes of a difference: confirmed facts are as of now."""
    kept = held | {name: told(held[name].value, now) for name in confirmed}
    return kept | facts


@given(FACTS, FACTS)
def test_what_the_agent_thinks_the_server_knows_is_what_it_knows(
    before: dict[str, Told], seen: dict[str, Told]
) -> None:
    words = difference(before, seen, now=NOW)

    assert after(before, words, full=False, now=NOW) == server(before, dict(words.facts), words.confirmed, NOW)


@given(FACTS, FACTS)
def test_after_a_difference_the_server_has_every_value_that_was_seen(
    before: dict[str, Told], seen: dict[str, Told]
) -> None:
    words = difference(before, seen, now=NOW)
    held = server(before, dict(words.facts), words.confirmed, NOW)

    assert {name: (held[name].status, held[name].value) for name in seen} == {
        name: (fact.status, fact.value) for name, fact in seen.items()
    }


@given(FACTS, FACTS)
def test_nothing_is_confirmed_that_was_not_observed_just_now(before: dict[str, Told], seen: dict[str, Told]) -> None:
    for name in difference(before, seen, now=NOW).confirmed:
        assert seen[name].status == "observed"
        assert seen[name].collected_at >= NOW - FRESH
        assert seen[name].value == before[name].value


@given(FACTS, FACTS)
def test_what_is_told_is_exactly_what_was_seen(before: dict[str, Told], seen: dict[str, Told]) -> None:
    words = difference(before, seen, now=NOW)

    assert all(seen[name] == fact for name, fact in words.facts.items())
    assert not set(words.confirmed) & set(words.facts)
    assert dict(everything(seen).facts) == seen


def test_one_and_true_are_not_the_same_value() -> None:
    words = difference({"os.id": told(1, NOW - 900)}, {"os.id": told(True, NOW)}, now=NOW)

    assert words.facts["os.id"].value is True


@given(FACTS, FACTS)
def test_the_newest_word_is_kept_and_what_is_too_old_is_not(older: dict[str, Told], newer: dict[str, Told]) -> None:
    kept = merged(older, newer, now=NOW)

    assert all(kept[name] == fact for name, fact in newer.items())
    assert all(kept[name] == fact for name, fact in older.items() if name not in newer)
    assert merged(older, {}, now=NOW + OLDEST + 1) == {}


def test_numbers_that_move_by_themselves_are_no_reason_to_report() -> None:
    before = {"clock.skew_s": told(1, NOW), "disk.encrypted": told(True, NOW)}
    seen = {"clock.skew_s": told(2, NOW), "disk.encrypted": told(False, NOW)}

    assert telling(before, seen) == ("disk.encrypted",)
