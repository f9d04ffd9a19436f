"""Where a key was lost: every session it ever raised ends, and the page says so only where it was done."""

from __future__ import annotations

import pytest

from tests.passkey_support import BEFORE, KeyOffice
from tests.passkey_support import office as office
from tests.passkey_support import one_office as one_office
from zt_engine.pages.keys import TEXTS


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


@pytest.mark.parametrize("done", ["added", "renamed", "removed", "lost"])
def test_a_link_cannot_claim_that_something_was_done(office: KeyOffice, done: str) -> None:
    _, kept = office.with_key()
    said, browser, other = TEXTS["en"][f"done_{done}"], office.browser("tanaka"), office.browser("suzuki")
    path = {"renamed": "name", "removed": "remove", "lost": "lost"}.get(done)
    if path is not None:
        for link in (f"/my/keys?done={done}", f"/my/keys?done={done}&key={kept.id}"):
            browser.get(link)
            assert said not in browser.text
        browser.get(f"/my/keys/{kept.id}")
        browser.post(f"/my/keys/{kept.id}/{path}", {"name": "Office"})
        assert said in browser.text
    for asker, link in (
        (browser, f"/my/keys?done={done}"),
        (browser, f"/my/keys?done={done}&key="),
        (browser, f"/my/keys?done=everything&key={kept.id}"),
        (other, f"/my/keys?done={done}&key={kept.id}"),
    ):
        assert asker.get(link).status_code == 200
        assert said not in asker.text


def test_what_something_has_followed_is_not_confirmed_again(office: KeyOffice) -> None:
    _, kept = office.with_key()
    browser, link = office.browser("tanaka"), f"/my/keys?done=added&key={kept.id}"
    assert "The key is registered" in (browser.get(link), browser.text)[1]

    browser.get(f"/my/keys/{kept.id}")
    browser.post(f"/my/keys/{kept.id}/remove")

    assert "The key is registered" not in (browser.get(link), browser.text)[1]
