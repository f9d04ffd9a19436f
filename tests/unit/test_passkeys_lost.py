"""A key that was lost takes along every session it ever raised, whatever raised the session since."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.passkey_support import KeyOffice

BEFORE = {"acr": "pwd", "amr": ("pwd",)}


@pytest.fixture(scope="module")
def one_office() -> Iterator[KeyOffice]:
    with KeyOffice() as made:
        yield made


@pytest.fixture
def office(one_office: KeyOffice) -> KeyOffice:
    one_office.forget()
    return one_office


@pytest.mark.parametrize("order", ["ab", "aba", "abab"])
@pytest.mark.parametrize("lost", ["a", "b"])
def test_a_session_that_several_keys_raised_ends_with_each_of_them(office: KeyOffice, order: str, lost: str) -> None:
    keys = {"a": office.with_key(), "b": office.with_key()}
    sid = office.signed_in(**BEFORE)
    for letter in order:
        begun = office.begin(sid)
        office.finish(begun, sid, office.prove(begun, keys[letter][0]))
    held = office.session(sid)
    assert held is not None
    assert sorted((held.raised_by, *held.raised_before)) == sorted(kept.id for _, kept in keys.values())
    browser, path = office.browser("tanaka"), f"/my/keys/{keys[lost][1].id}"

    browser.get(path)
    browser.post(f"{path}/lost")

    assert office.session(sid) is None


def test_of_keys_that_were_removed_since_a_session_keeps_nothing(office: KeyOffice) -> None:
    (first, kept), (second, _) = office.with_key(), office.with_key()
    sid, browser = office.signed_in(**BEFORE), office.browser("tanaka")
    begun = office.begin(sid)
    office.finish(begun, sid, office.prove(begun, first))
    browser.get(f"/my/keys/{kept.id}")
    browser.post(f"/my/keys/{kept.id}/remove")

    begun = office.begin(sid)
    office.finish(begun, sid, office.prove(begun, second))

    held = office.session(sid)
    assert held is not None
    assert held.raised_before == ()
