"""Keys of people: registered after a fresh sign-in, by the one who signed in, named, and taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.authenticator import FakeAuthenticator
from tests.passkey_support import KeyOffice, field, options
from tests.passkey_support import office as office
from tests.passkey_support import one_office as one_office
from tests.portal_support import PortalOffice
from tests.unit.test_control_directory import PERSON, RECORD
from zt_engine.control_plane.passkeys import Holder
from zt_engine.core.errors import InputError
from zt_engine.core.webauthn import (
    MAX_KEYS,
    Answered,
    Passkey,
    good_for,
    key_name,
    transports_of,
    used,
    went_back,
)
from zt_engine.pages.keys import TEXTS, kind_of
from zt_engine.pages.portal import HOME


def test_a_person_registers_a_key_after_a_fresh_sign_in(office: KeyOffice) -> None:
    browser = office.browser("tanaka", acr="pwd")

    assert "No key is registered" in (browser.get("/my/keys"), browser.text)[1]
    answer = office.register(browser, name="  USB   key ")

    assert answer.status_code == 200
    assert "The key is registered" in browser.text
    (key,) = office.held()
    assert (key.name, key.subject, key.counter, key.used_at) == ("USB key", "tanaka", 1, None)
    (event,) = [one for one in office.control.audit() if one.action == "passkey.registered"]
    assert (event.actor, json.loads(event.after)["acr"]) == ("person:https://idp.example|tanaka", "pwd")


def test_several_keys_are_one_person_to_the_browser_and_none_is_made_twice(office: KeyOffice) -> None:
    browser, first = office.browser("tanaka"), FakeAuthenticator()
    office.register(browser, first, name="First")
    office.register(browser, name="Second")

    assert len({key.handle for key in office.held()}) == 1
    taken = office.register(browser, first, name="Again")
    assert (taken.status_code, "PASSKEY_TAKEN" in browser.text) == (422, True)
    assert {key.name for key in office.held()} == {"First", "Second"}


def test_a_key_is_of_whoever_registered_it_first(office: KeyOffice) -> None:
    key = FakeAuthenticator()
    office.register(office.browser("tanaka"), key)

    other = office.browser("suzuki")
    assert office.register(other, key).status_code == 422
    assert office.held("suzuki") == []


@pytest.mark.parametrize("age", [601, 4000])
def test_after_a_stale_sign_in_a_page_leads_to_a_fresh_one(office: KeyOffice, age: int) -> None:
    browser = office.browser("tanaka")
    office.control.clock.advance(age)

    page = browser.get("/my/keys/new")

    assert "Sign in again first" in browser.text
    assert '/.zt/login?to=%2Fmy%2Fkeys%2Fnew&amp;max_age=300"' in page.text


def test_a_sign_in_whose_age_is_unknown_is_not_fresh(office: KeyOffice) -> None:
    browser = office.browser("tanaka", auth_time=None)

    assert "Sign in again first" in (browser.get("/my/keys/new"), browser.text)[1]


def test_a_sign_in_that_aged_on_the_page_registers_nothing(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    office.control.clock.advance(590)
    browser.get("/my/keys/new")
    answer = FakeAuthenticator().create(options(browser.page)).decode()
    form = {"ceremony": field(browser.page, "ceremony"), "name": "Key", "answer": answer}
    office.control.clock.advance(20)

    browser.post("/my/keys/new", form)

    assert "Sign in again first" in browser.text
    assert office.held() == []


def test_where_a_strong_sign_in_is_asked_for_a_weak_one_registers_nothing() -> None:
    with KeyOffice(sign_in=frozenset({"mfa", "phr"})) as office:
        weak, strong = office.browser("tanaka", acr="pwd"), office.browser("suzuki", amr=("pwd", "mfa"))

        assert "not strong enough" in (weak.get("/my/keys/new"), weak.text)[1]
        assert office.register(strong).status_code == 200


def posted(office: KeyOffice, browser: Any, **changed: str) -> str:
    """Post a registration with something changed; returns the words of the answer."""
    browser.get("/my/keys/new")
    answer = FakeAuthenticator().create(options(browser.page)).decode()
    browser.post(
        "/my/keys/new", {"ceremony": field(browser.page, "ceremony"), "name": "Key", "answer": answer, **changed}
    )
    text: str = browser.text
    return text


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ceremony": ""}, "PASSKEY_CHALLENGE"),
        ({"ceremony": "A" * 43}, "PASSKEY_CHALLENGE"),
        ({"answer": ""}, "PASSKEY_INVALID"),
        ({"answer": "{}"}, "PASSKEY_INVALID"),
        ({"name": " "}, "PASSKEY_NAME"),
        ({"name": "x" * 65}, "PASSKEY_NAME"),
        ({"name": "a\u202eb"}, "PASSKEY_NAME"),
    ],
)
def test_what_is_posted_wrongly_registers_nothing(office: KeyOffice, changed: dict[str, str], code: str) -> None:
    assert code in posted(office, office.browser("tanaka"), **changed)
    assert office.held() == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"origin": "https://evil.example"}, "PASSKEY_ORIGIN"),
        ({"rp": "evil.example"}, "PASSKEY_ORIGIN"),
        ({"challenge": "A" * 43}, "PASSKEY_CHALLENGE"),
        ({"verified": False}, "PASSKEY_VERIFICATION"),
    ],
)
def test_what_a_browser_answers_wrongly_registers_nothing(office: KeyOffice, wrong: dict[str, Any], code: str) -> None:
    browser = office.browser("tanaka")
    office.register(browser, **wrong)

    assert code in browser.text
    assert office.held() == []


def test_a_registration_counts_once_in_time_and_for_the_session_that_began_it(office: KeyOffice) -> None:
    browser, other = office.browser("tanaka"), office.browser("suzuki")
    browser.get("/my/keys/new")
    form = {"ceremony": field(browser.page, "ceremony"), "name": "Key"}
    form["answer"] = FakeAuthenticator().create(options(browser.page)).decode()

    other.get("/my/keys/new")
    other.post("/my/keys/new", form)
    assert "PASSKEY_SESSION" in other.text
    browser.get("/my/keys/new")
    browser.post("/my/keys/new", form)
    assert "PASSKEY_CHALLENGE" in browser.text  # it was used up

    browser.get("/my/keys/new")
    late = {"ceremony": field(browser.page, "ceremony"), "name": "Key"}
    late["answer"] = FakeAuthenticator().create(options(browser.page)).decode()
    office.control.clock.advance(300)
    browser.post("/my/keys/new", late)
    assert "PASSKEY_CHALLENGE" in browser.text
    assert (office.held(), office.held("suzuki")) == ([], [])


def test_what_another_site_posts_changes_nothing(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    office.register(browser)
    (key,) = office.held()
    browser.get(f"/my/keys/{key.id}")

    for path in ("name", "remove", "lost"):
        crossed = browser.post(f"/my/keys/{key.id}/{path}", {"name": "x"}, sec_fetch_site="cross-site")
        assert crossed.status_code == 403
        browser.get(f"/my/keys/{key.id}")
        assert browser.post(f"/my/keys/{key.id}/{path}", {"name": "x", "csrf": "forged"}).status_code == 403
        browser.get(f"/my/keys/{key.id}")
    assert office.held() == [key]


def test_there_is_a_bound_to_how_many_keys_somebody_has(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    for number in range(MAX_KEYS):
        office.register(browser, name=f"Key {number}")
    assert len(office.held()) == MAX_KEYS

    browser.get("/my/keys/new")

    assert "PASSKEY_LIMIT" in browser.text


def test_a_key_is_renamed_and_no_two_have_one_name(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    office.register(browser, name="One")
    office.register(browser, name="Two")
    one = next(key for key in office.held() if key.name == "One")

    browser.get(f"/my/keys/{one.id}")
    browser.post(f"/my/keys/{one.id}/name", {"name": "Office"})
    assert "has a new name" in browser.text
    browser.get(f"/my/keys/{one.id}")
    browser.post(f"/my/keys/{one.id}/name", {"name": "Two"})

    assert "PASSKEY_NAME" in browser.text
    assert {key.name for key in office.held()} == {"Office", "Two"}


def test_the_last_key_may_go_and_the_page_says_what_that_means(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    office.register(browser, name="One")
    office.register(browser, name="Two")
    one, two = office.held()

    assert "last key" not in (browser.get(f"/my/keys/{one.id}"), browser.text)[1]
    browser.post(f"/my/keys/{one.id}/remove")
    assert "last key" in (browser.get(f"/my/keys/{two.id}"), browser.text)[1]
    browser.post(f"/my/keys/{two.id}/remove")

    assert office.held() == []
    assert [e.action for e in office.control.audit() if e.action.startswith("passkey.rem")] == ["passkey.removed"] * 2


def test_nobody_sees_or_touches_the_key_of_another(office: KeyOffice) -> None:
    _, key = office.with_key("tanaka")
    browser = office.browser("suzuki")

    assert browser.get(f"/my/keys/{key.id}").status_code == 404
    for path in ("name", "remove", "lost"):
        browser.get("/my/keys")
        browser.get("/.zt/logout")
        assert browser.post(f"/my/keys/{key.id}/{path}", {"name": "x"}).status_code in (403, 404)
    stranger = Holder(
        issuer="https://idp.example", subject="suzuki", name="suzuki", sid="", acr="", amr=(), auth_time=office.now
    )
    with pytest.raises(InputError, match="no such key"):
        office.keys.remove(stranger, key.id, why="lost", now=office.now)
    assert office.held() == [key]


def test_who_leaves_leaves_no_key_behind(office: KeyOffice) -> None:
    office.with_key("tanaka")
    office.with_key("suzuki")
    office.control.call("PUT", PERSON, RECORD)

    left = office.control.call("POST", f"{PERSON}/offboard", {"reason": "retired"})

    assert left.status_code == 200, left.text
    assert office.held("tanaka") == []
    assert len(office.held("suzuki")) == 1
    assert [event.reason for event in office.control.audit() if event.action == "passkey.removed"] == ["retired"]


def test_where_keys_are_not_set_up_the_pages_say_so() -> None:
    with PortalOffice() as office:
        browser = office.browser("tanaka")
        browser.get("/my/keys")
        assert "PASSKEY_OFF" in browser.text
        browser.get("/")
        assert HOME["en"]["mine"] in browser.text
        assert HOME["en"]["keys"] not in browser.text, "nobody is sent to a page that has nothing for them"


def test_where_keys_are_set_up_the_front_page_leads_to_them(office: KeyOffice) -> None:
    browser = office.browser("tanaka")
    browser.get("/")
    assert HOME["en"]["keys"] in browser.text


def test_the_page_has_its_one_script_by_digest_and_no_form_leads_elsewhere(office: KeyOffice) -> None:
    browser = office.browser("tanaka")

    policy = browser.get("/my/keys/new").headers["content-security-policy"]
    plain = browser.get("/my/keys").headers["content-security-policy"]

    assert "script-src 'sha256-" in policy
    assert "form-action 'self';" in policy
    assert "script-src" not in plain


# -- what a key says


def key(**fields: Any) -> Passkey:
    told: dict[str, Any] = {
        "id": "a" * 43, "issuer": "i", "subject": "s", "credential": "c", "public_key": "k", "handle": "h",
        "name": "n", "counter": 0, "backup_eligible": False, "backed_up": False, "created_at": 0,
    }  # fmt: skip
    return Passkey(**(told | fields))


flags = st.booleans()


@given(eligible=flags, copied=flags, attested=flags)
def test_no_key_says_more_than_it_showed(eligible: bool, copied: bool, attested: bool) -> None:
    one = key(backup_eligible=eligible, backed_up=copied, attested=attested)

    assert (one.acr == "phrh") == (one.amr[0] == "hwk") == (attested and not eligible and not copied)
    assert one.acr in ("phr", "phrh")
    assert set(one.amr) <= {"hwk", "swk", "user", "mfa"}
    assert kind_of(one) in TEXTS["ja"]


counters = st.integers(min_value=0, max_value=2**32 - 1)


@given(before=counters, now=counters)
def test_a_counter_grows_or_there_is_none(before: int, now: int) -> None:
    assert went_back(before, now) == (not (now > before or before == now == 0))
    after = used(key(counter=before), Answered(counter=now, backup_eligible=False, backed_up=False), now=7)
    if went_back(before, now):
        assert (after.trouble, after.counter, after.used_at) == ("counter", before, None)
    else:
        assert (after.trouble, after.counter, after.used_at) == ("", now, 7)


@given(eligible=flags, copied=flags, said=flags, now_copied=flags)
def test_a_key_never_becomes_another_kind(eligible: bool, copied: bool, said: bool, now_copied: bool) -> None:
    one = key(backup_eligible=eligible, backed_up=eligible and copied, attested=True)
    shown = Answered(counter=0, backup_eligible=said, backed_up=now_copied)
    if said == eligible and (eligible or not now_copied):
        assert used(one, shown, now=1).acr == one.acr
    else:
        with pytest.raises(InputError, match="something else"):
            used(one, shown, now=1)


def test_a_locked_key_is_good_for_nothing() -> None:
    locked = key(trouble="counter")

    assert good_for([locked], {"phr", "phrh"}) == ()
    with pytest.raises(InputError) as error:
        used(locked, Answered(counter=9, backup_eligible=False, backed_up=False), now=1)
    assert error.value.code == "PASSKEY_LOCKED"


def test_keys_are_good_for_what_they_are() -> None:
    soft, hard = key(), key(attested=True)

    assert good_for([soft, hard], {"phrh"}) == (hard,)
    assert good_for([soft, hard], {"phr"}) == (soft,)
    assert good_for([soft, hard], ()) == ()


@given(st.text())
def test_a_name_can_be_read_and_is_short_or_is_refused(text: str) -> None:
    try:
        name = key_name(text)
    except InputError as error:
        assert error.code == "PASSKEY_NAME"
    else:
        assert name == name.strip()
        assert 0 < len(name) <= 64
        assert name.isprintable()


@given(st.lists(st.text()))
def test_what_a_browser_says_of_transports_can_be_said_to_one(told: list[str]) -> None:
    kept = transports_of(["usb", "<script>", *told, "usb"])

    assert kept[0] == "usb"
    assert len(kept) <= 8
    assert all(name.isascii() and "<" not in name for name in kept)


def test_both_languages_have_the_same_texts() -> None:
    assert TEXTS["ja"].keys() == TEXTS["en"].keys()
